//! A build that runs, and what it made: the libraries are put where the manager looks.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use serde::Deserialize;

use super::project::Project;
use crate::system::errors::reason;

/// Where to put libraries.
#[derive(Debug)]
pub(super) struct InstallDirectory {
    /// Where the manager looks.
    pub worker_dir: PathBuf,
    /// A directory that only this run uses.
    pub own: PathBuf,
}

/// A build that runs.
#[derive(Debug)]
pub(super) struct RunningBuild {
    child: Child,
    /// Of cargo; otherwise empty.
    messages: File,
    began: Instant,
}

/// A build that ended.
#[derive(Debug)]
pub(super) struct FinishedBuild {
    /// Whether it worked.
    pub status: ExitStatus,
    /// How long it took.
    pub took: Duration,
    messages: String,
}

impl RunningBuild {
    /// A build that has just been started, as the leader of a process group.
    pub(super) fn new(child: Child, messages: File) -> Self {
        Self { child, messages, began: Instant::now() }
    }

    /// How it ended, if it has.
    ///
    /// # Errors
    /// The system's; none is known.
    pub(super) fn ended(&mut self) -> io::Result<Option<FinishedBuild>> {
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let mut bytes = Vec::new();
        self.messages.rewind()?;
        self.messages.read_to_end(&mut bytes)?;
        let messages = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Some(FinishedBuild { status, took: self.began.elapsed(), messages }))
    }

    /// Kills it, and the compilers with it.
    pub(super) fn kill(&mut self) {
        // An error means that it has just ended.
        let _ = killpg(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl FinishedBuild {
    /// Puts a project's libraries where the manager looks, each by a rename. Returns where they were built. Reads and
    /// writes a few megabytes, and blocks for that long.
    ///
    /// # Errors
    /// It built no library, or one cannot be copied; the error is a sentence.
    pub(super) fn install(&self, project: &Project, place: &InstallDirectory) -> Result<Vec<PathBuf>, String> {
        let libraries = project.libraries(&self.messages)?;
        libraries.iter().try_for_each(|library| install(library, place))?;
        Ok(libraries)
    }
}

fn install(library: &Path, InstallDirectory { worker_dir, own }: &InstallDirectory) -> Result<(), String> {
    let name = library.file_name().unwrap_or_default();
    let mut part = OsString::from(".");
    part.push(name);
    part.push(".part");
    // The manager logs a line about each file that it skips, so half a library is better kept elsewhere. A rename works
    // only within one file system, so the directory above is tried first; the last resort always works.
    let by = |dir: &Path| copy_and_rename(library, &dir.join(&part), &worker_dir.join(name));
    let above = worker_dir.parent().unwrap_or(worker_dir);
    by(own).or_else(|_| by(above)).or_else(|_| by(worker_dir)).map_err(|error| {
        format!("{} cannot be put into {}: {}", library.display(), worker_dir.display(), reason(&error))
    })
}

fn copy_and_rename(library: &Path, part: &Path, done: &Path) -> io::Result<()> {
    let renamed = fs::copy(library, part).and_then(|_| fs::rename(part, done));
    if renamed.is_err() {
        let _ = fs::remove_file(part);
    }
    renamed
}

/// The parts of cargo's messages that we need.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    target: Made,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

#[derive(Default, Deserialize)]
struct Made {
    #[serde(default)]
    crate_types: Vec<String>,
}

/// The libraries to load among what cargo reports, only those of the crate itself. Pure.
pub(super) fn cargo_libraries(messages: &str, crate_dir: &Path) -> Vec<PathBuf> {
    let parsed = messages.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let ours = parsed.filter(|message| {
        message.reason == "compiler-artifact"
            && message.manifest_path.starts_with(crate_dir)
            && message.target.crate_types.iter().any(|kind| kind == "cdylib")
    });
    let is_library = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "so");
    ours.flat_map(|message| message.filenames).filter(is_library).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crates_own_libraries_are_found() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","manifest_path":"/dep/Cargo.toml","target":{"crate_types":["cdylib"]},"filenames":["/t/libdep.so"]}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-message","manifest_path":"/c/Cargo.toml","target":{"crate_types":["cdylib"]}}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/c/Cargo.toml","target":{"crate_types":["bin"]},"filenames":["/t/c"]}"#,
            "\n",
            r#"{"reason":"compiler-artifact","manifest_path":"/c/Cargo.toml","target":{"crate_types":["cdylib","rlib"]},"filenames":["/t/libc.so","/t/libc.rlib"],"fresh":true}"#,
            "\n",
            r#"{"reason":"build-finished","success":true}"#,
        );
        assert_eq!(cargo_libraries(messages, Path::new("/c")), [PathBuf::from("/t/libc.so")]);
        assert_eq!(cargo_libraries("", Path::new("/c")), Vec::<PathBuf>::new());
    }

    #[test]
    fn a_library_is_installed_by_a_rename() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(from.path().join("libf.so"), "new").unwrap();
        fs::write(to.path().join("libf.so"), "old").unwrap();
        let old = File::open(to.path().join("libf.so")).unwrap();
        let place = InstallDirectory { worker_dir: to.path().into(), own: from.path().into() };
        assert_eq!(install(&from.path().join("libf.so"), &place), Ok(()));
        assert_eq!(fs::read(to.path().join("libf.so")).unwrap(), b"new");
        assert_eq!(io::read_to_string(old).unwrap(), "old", "a process that has the old file open keeps it");
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
        assert!(install(Path::new("/nowhere/libg.so"), &place).unwrap_err().contains("cannot be put into"));
        // No such directory: the same as another file system.
        let place = InstallDirectory { own: "/nowhere".into(), ..place };
        assert_eq!(install(&from.path().join("libf.so"), &place), Ok(()));
        assert_eq!(fs::read_dir(to.path()).unwrap().count(), 1);
    }
}
