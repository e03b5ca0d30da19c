//! What is remembered of versions over a restart: those that were rejected, and those served on request.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::state_file::{self, StateRead};

/// The file's format; a later one is set aside and begun anew.
const FORMAT: u32 = 1;

/// The marks of one manager.
#[derive(Debug)]
pub struct Marks {
    file: PathBuf,
    content: Content,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Content {
    /// Function, hash, reason.
    bad: Vec<(String, String, String)>,
    /// Function to hash that is served, and hash of the content that was said against.
    pinned: BTreeMap<String, (String, String)>,
}

impl Marks {
    /// Reads the marks of a state directory; with a warning where there was something that could not be read.
    pub fn open(state_dir: &Path) -> (Self, Option<String>) {
        let file = state_dir.join("versions.json");
        let StateRead { content, warning } = state_file::read(&file, FORMAT);
        (Self { file, content }, warning)
    }

    /// Versions that were rejected: function, hash, reason.
    pub fn bad(&self) -> impl Iterator<Item = &(String, String, String)> {
        self.content.bad.iter()
    }

    /// Functions served in an earlier version: function, and hash of that and of the content it was said against.
    pub fn pinned(&self) -> impl Iterator<Item = (&String, &(String, String))> {
        self.content.pinned.iter()
    }

    /// Remembers that a version is bad.
    ///
    /// # Errors
    /// The file cannot be written; it is remembered until the manager ends.
    pub fn set_bad(&mut self, function: &str, hash: &str, reason: &str) -> io::Result<()> {
        self.content.bad.retain(|(name, other, _)| name != function || other != hash);
        self.content.bad.push((function.to_owned(), hash.to_owned(), reason.to_owned()));
        self.write()
    }

    /// Forgets what is held against a function.
    ///
    /// # Errors
    /// As [`Marks::set_bad`].
    pub fn forgive(&mut self, function: &str) -> io::Result<()> {
        self.content.bad.retain(|(name, ..)| name != function);
        self.write()
    }

    /// Forgets everything about a function.
    ///
    /// # Errors
    /// As [`Marks::set_bad`].
    pub fn forget(&mut self, function: &str) -> io::Result<()> {
        let before = self.content.bad.len();
        self.content.bad.retain(|(name, ..)| name != function);
        let pin = self.content.pinned.remove(function);
        if pin.is_none() && before == self.content.bad.len() { Ok(()) } else { self.write() }
    }

    /// Remembers, or forgets, that an earlier version is served.
    ///
    /// # Errors
    /// As [`Marks::set_bad`].
    pub fn pin(&mut self, function: &str, pin: Option<(String, String)>) -> io::Result<()> {
        let before = match pin {
            Some(pin) => self.content.pinned.insert(function.to_owned(), pin),
            None if !self.content.pinned.contains_key(function) => return Ok(()),
            None => self.content.pinned.remove(function),
        };
        drop(before);
        self.write()
    }

    /// Writes what there is to a new state directory.
    ///
    /// # Errors
    /// As [`Marks::set_bad`].
    pub fn save(&self) -> io::Result<()> {
        if self.content.bad.is_empty() && self.content.pinned.is_empty() { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        state_file::write(&self.file, FORMAT, &self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_survive_a_restart_and_rubbish_does_not_stop_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut marks, warning) = Marks::open(dir.path());
        assert_eq!(warning, None);
        marks.set_bad("a", "h1", "killed by SIGSEGV").unwrap();
        marks.set_bad("a", "h1", "again").unwrap();
        marks.set_bad("b", "h2", "x").unwrap();
        marks.pin("c", Some(("h3".into(), "h4".into()))).unwrap();
        marks.forgive("b").unwrap();
        marks.set_bad("d", "h5", "x").unwrap();
        marks.pin("d", Some(("h6".into(), "h5".into()))).unwrap();
        marks.forget("d").unwrap();
        let (marks, _) = Marks::open(dir.path());
        assert_eq!(marks.bad().collect::<Vec<_>>(), [&("a".to_owned(), "h1".to_owned(), "again".to_owned())]);
        assert_eq!(marks.pinned().count(), 1);
        std::fs::write(dir.path().join("versions.json"), b"\xff rubbish").unwrap();
        let (marks, warning) = Marks::open(dir.path());
        assert_eq!(marks.bad().count(), 0);
        assert!(warning.is_some());
    }
}
