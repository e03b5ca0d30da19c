//! Which functions there are, and in which version: what scans and probes come to. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::event::Event;
use crate::plugins::identity::Identity;
use crate::plugins::scan::{Candidate, Scan};

/// A library that was checked and lies in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// First 12 hexadecimal digits of its hash.
    pub hash: String,
    /// Where workers load it from.
    pub library: PathBuf,
    /// Version of its crate.
    pub crate_version: String,
    /// What its author should know.
    pub warning: Option<String>,
}

/// One function.
#[derive(Debug, Clone)]
struct Entry {
    candidate: Candidate,
    probing: bool,
    version: Option<Version>,
    changed: Duration,
    refused: Option<String>,
}

/// All of them.
#[derive(Debug, Default)]
pub struct Catalog {
    entries: BTreeMap<String, Entry>,
    scanned: bool,
    told: BTreeSet<String>,
}

/// What a scan changed.
#[derive(Debug, Default)]
pub struct Scanned {
    /// Files to probe.
    pub probe: Vec<Candidate>,
    /// What to tell.
    pub events: Vec<Event>,
}

impl Catalog {
    /// Takes in a scan: new and changed files are to be probed, functions without a file are gone. What a directory
    /// that cannot be read held before stays.
    pub fn scanned(&mut self, scan: Scan) -> Scanned {
        let mut out = Scanned::default();
        self.tell(&scan, &mut out.events);
        let failed: Vec<PathBuf> = scan.failed_dirs.into_iter().map(|(dir, _)| dir).collect();
        let present: BTreeSet<&str> = scan.candidates.keys().map(|name| name.as_str()).collect();
        self.entries.retain(|function, entry| {
            let stays = present.contains(function.as_str()) || failed.contains(&entry.candidate.dir);
            if !stays {
                out.events.push(Event::FunctionGone { function: function.clone() });
            }
            stays
        });
        for (name, candidate) in &scan.candidates {
            if self.is_news(name.as_str(), candidate) {
                out.probe.push(candidate.clone());
            }
        }
        self.scanned = true;
        out
    }

    /// Whether the file has to be probed; remembers it as being probed then.
    fn is_news(&mut self, function: &str, candidate: &Candidate) -> bool {
        match self.entries.get_mut(function) {
            Some(entry) if entry.candidate.identity == candidate.identity => {
                entry.candidate = candidate.clone();
                false
            }
            Some(entry) => {
                entry.candidate = candidate.clone();
                entry.probing = true;
                true
            }
            None => {
                let entry = Entry {
                    candidate: candidate.clone(),
                    probing: true,
                    version: None,
                    changed: Duration::ZERO,
                    refused: None,
                };
                self.entries.insert(function.to_owned(), entry);
                true
            }
        }
    }

    /// What a scan saw beside libraries, each said once for as long as it is seen.
    fn tell(&mut self, scan: &Scan, events: &mut Vec<Event>) {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let files = scan.not_taken.iter().map(|(file, reason)| {
            let reason = reason.to_string();
            Event::FileNotTaken { path: path(file), reason }
        });
        let warnings = scan.warnings.iter().map(|warning| Event::FileWarning { text: warning.to_string() });
        let dirs = scan.failed_dirs.iter();
        let dirs = dirs.map(|(dir, reason)| Event::DirectoryFailed { path: path(dir), reason: reason.clone() });
        let seen: Vec<(String, Event)> = files.chain(warnings).chain(dirs).map(|event| (event.line(), event)).collect();
        let now: BTreeSet<String> = seen.iter().map(|(line, _)| line.clone()).collect();
        events.extend(seen.into_iter().filter(|(line, _)| !self.told.contains(line)).map(|(_, event)| event));
        self.told = now;
    }

    /// Takes in what a probe found. A refusal never takes away the version that is served. Returns the events, and
    /// whether there is a new version.
    pub fn probed(
        &mut self,
        function: &str,
        identity: &Identity,
        result: Result<Version, String>,
        now: Duration,
    ) -> (Vec<Event>, bool) {
        // A file that changed again meanwhile has a probe of its own under way.
        let Some(entry) = self.entries.get_mut(function).filter(|entry| entry.candidate.identity == *identity) else {
            return (Vec::new(), false);
        };
        entry.probing = false;
        let path = entry.candidate.path.to_string_lossy().into_owned();
        let old = entry.version.as_ref().map(|version| version.hash.clone());
        match result {
            Err(reason) => {
                entry.refused = Some(reason.clone());
                (vec![Event::LibraryRefused { function: function.to_owned(), path, reason, serving: old }], false)
            }
            Ok(version) if old.as_ref() == Some(&version.hash) => {
                entry.refused = None;
                (Vec::new(), false)
            }
            Ok(version) => {
                entry.refused = None;
                entry.changed = now;
                let warning = version.warning.clone();
                let warning = warning.map(|text| Event::LibraryWarning { function: function.to_owned(), text });
                let found = Event::FunctionFound {
                    function: function.to_owned(),
                    version: version.hash.clone(),
                    crate_version: version.crate_version.clone(),
                    path,
                    replaces: old,
                };
                entry.version = Some(version);
                (std::iter::once(found).chain(warning).collect(), true)
            }
        }
    }

    /// Whether the first scan and all its probes are over.
    pub fn is_settled(&self) -> bool {
        self.scanned && self.entries.values().all(|entry| !entry.probing)
    }

    /// The functions that can be served, by name.
    pub fn functions(&self) -> Vec<String> {
        let usable = self.entries.iter().filter(|(_, entry)| entry.version.is_some());
        usable.map(|(function, _)| function.clone()).collect()
    }

    /// The version of a function, where it has one.
    pub fn version(&self, function: &str) -> Option<&Version> {
        self.entries.get(function)?.version.as_ref()
    }

    /// When the version of a function came.
    pub fn changed(&self, function: &str) -> Duration {
        self.entries.get(function).map_or(Duration::ZERO, |entry| entry.changed)
    }

    /// Files that were refused: function, path and reason.
    pub fn refused(&self) -> impl Iterator<Item = (&str, String, &str)> {
        self.entries.iter().filter_map(|(function, entry)| {
            let path = entry.candidate.path.to_string_lossy().into_owned();
            entry.refused.as_deref().map(|reason| (function.as_str(), path, reason))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::name::FunctionName;

    fn identity(ino: u64) -> Identity {
        Identity { dev: 1, ino, size: 2, mtime: (0, 0), ctime: (0, 0) }
    }

    fn scan(files: &[(&str, u64)]) -> Scan {
        let candidates = files.iter().map(|(name, ino)| {
            let function = FunctionName::new(name).unwrap();
            let path = PathBuf::from(format!("/w/{name}.so"));
            (function.clone(), Candidate { function, dir: "/w".into(), path, identity: identity(*ino) })
        });
        Scan { candidates: candidates.collect(), ..Scan::default() }
    }

    fn version(hash: &str) -> Version {
        Version { hash: hash.into(), library: "/s".into(), crate_version: "0.1.0".into(), warning: None }
    }

    fn probed_names(out: &Scanned) -> Vec<&str> {
        out.probe.iter().map(|c| c.function.as_str()).collect()
    }

    #[test]
    fn new_changed_unchanged_and_gone_files() {
        let mut catalog = Catalog::default();
        assert_eq!(probed_names(&catalog.scanned(scan(&[("a", 1), ("b", 1)]))), ["a", "b"]);
        assert!(!catalog.is_settled());
        catalog.probed("a", &identity(1), Ok(version("h1")), Duration::ZERO);
        catalog.probed("b", &identity(1), Ok(version("h2")), Duration::ZERO);
        assert!(catalog.is_settled());
        assert_eq!(catalog.functions(), ["a", "b"]);
        let again = catalog.scanned(scan(&[("a", 1), ("b", 2)]));
        assert_eq!(probed_names(&again), ["b"]);
        let gone = catalog.scanned(scan(&[("a", 1)]));
        assert_eq!(gone.events, [Event::FunctionGone { function: "b".into() }]);
        assert_eq!(catalog.functions(), ["a"]);
    }

    #[test]
    fn a_refused_file_never_takes_the_good_version_away() {
        let mut catalog = Catalog::default();
        catalog.scanned(scan(&[("a", 1)]));
        catalog.probed("a", &identity(1), Ok(version("good")), Duration::ZERO);
        catalog.scanned(scan(&[("a", 2)]));
        let (events, news) = catalog.probed("a", &identity(2), Err("it is a text file".into()), Duration::ZERO);
        assert!(!news);
        assert!(matches!(&events[0], Event::LibraryRefused { serving: Some(hash), .. } if hash == "good"));
        assert_eq!(catalog.version("a").unwrap().hash, "good");
        assert_eq!(catalog.refused().count(), 1);
    }

    #[test]
    fn the_probe_of_a_file_that_changed_meanwhile_says_nothing() {
        let mut catalog = Catalog::default();
        catalog.scanned(scan(&[("a", 1)]));
        catalog.scanned(scan(&[("a", 2)]));
        assert_eq!(catalog.probed("a", &identity(1), Ok(version("old")), Duration::ZERO), (Vec::new(), false));
        assert!(!catalog.is_settled());
    }

    #[test]
    fn the_same_content_in_a_new_file_is_no_new_version() {
        let mut catalog = Catalog::default();
        catalog.scanned(scan(&[("a", 1)]));
        assert!(catalog.probed("a", &identity(1), Ok(version("h")), Duration::ZERO).1);
        catalog.scanned(scan(&[("a", 2)]));
        assert_eq!(catalog.probed("a", &identity(2), Ok(version("h")), Duration::ZERO), (Vec::new(), false));
    }

    #[test]
    fn a_directory_that_cannot_be_read_keeps_what_it_held_and_is_said_once() {
        let mut catalog = Catalog::default();
        catalog.scanned(scan(&[("a", 1)]));
        catalog.probed("a", &identity(1), Ok(version("h")), Duration::ZERO);
        let failed = || Scan { failed_dirs: vec![("/w".into(), "permission denied".into())], ..Scan::default() };
        assert_eq!(catalog.scanned(failed()).events.len(), 1);
        assert_eq!(catalog.scanned(failed()).events.len(), 0);
        assert_eq!(catalog.functions(), ["a"]);
    }
}
