//! What is reported about files: each condition once while it lasts, and nothing about libraries that others need.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Catalog, FunctionEntry};
use crate::plugins::identity::FileIdentity;
use crate::plugins::listing::SkipReason;
use crate::plugins::name::{FunctionName, SkippedFile};
use crate::plugins::scan::{ScanResult, ScanWarning};
use crate::plugins::siblings::SiblingPlace;
use crate::supervisor::event::{Event, seconds};

/// Something that a scan found.
#[derive(Debug)]
struct ScanNotice {
    event: Event,
    /// The file or directory that is not reported if a library needs it, or something in it.
    perhaps_needed: Option<PathBuf>,
    /// Whose library it would be.
    function: Option<FunctionName>,
}

impl ScanNotice {
    /// Whether it is a warning for as long as it is so.
    fn is_warning(&self) -> bool {
        match self.event {
            Event::DirectoryFailed { .. } | Event::DirectoryEmptied { .. } => true,
            Event::FileSkipped { leaves_unserved, .. } => leaves_unserved,
            // A directory named twice does no harm.
            Event::FileWarning { .. } => self.function.is_some(),
            _ => false,
        }
    }
}

/// What is to be reported.
#[derive(Debug, Default)]
pub(super) struct Announcements {
    seen: Vec<ScanNotice>,
    /// Files that are not served since another one has the same function.
    ignored: BTreeMap<FunctionName, Vec<PathBuf>>,
    /// Lines that were reported.
    reported: BTreeSet<String>,
    /// Libraries in subdirectories, by worker directory.
    below: Vec<(PathBuf, Vec<PathBuf>)>,
    /// What was reported about these.
    reported_below: BTreeSet<String>,
}

impl Catalog {
    /// Takes in what a scan saw beside libraries.
    pub(super) fn record_notices(
        &mut self,
        scan: &ScanResult,
        emptied: &BTreeSet<PathBuf>,
        single: &BTreeMap<&PathBuf, Duration>,
    ) {
        let path = |path: &PathBuf| path.to_string_lossy().into_owned();
        let plain = |event| ScanNotice { event, perhaps_needed: None, function: None };
        let files = scan.skipped.iter().map(|(file, reason)| {
            // A known function has a report of its own.
            let missed =
                |function: &str| !self.entries.contains_key(function) && !self.saved.last_good.contains_key(function);
            let mut missing = scan.unserved_obstacles().filter(|one| missed(one.function.as_str()));
            let function = missing.find(|one| one.path == *file).map(|one| one.function.clone());
            let leaves_unserved = function.is_some();
            let event = Event::FileSkipped { leaves_unserved, path: path(file), reason: reason.to_string() };
            let perhaps_needed = matches!(
                reason,
                SkipReason::Name(SkippedFile::Versioned(_) | SkippedFile::NoLibrary)
                    | SkipReason::Directory
                    | SkipReason::PassedOver(_)
            );
            ScanNotice { event, perhaps_needed: perhaps_needed.then(|| file.clone()), function }
        });
        let warnings = scan.warnings.iter().filter_map(|warning| {
            let event = Event::FileWarning { text: warning.to_string() };
            match warning {
                ScanWarning::TwoFiles { function, passed_over, .. } => {
                    let (perhaps_needed, function) = (Some(passed_over.clone()), Some(function.clone()));
                    Some(ScanNotice { event, perhaps_needed, function })
                }
                ScanWarning::SameDirectory { .. } => Some(plain(event)),
                ScanWarning::Below { .. } => None,
            }
        });
        let mut ignored: BTreeMap<FunctionName, Vec<PathBuf>> = BTreeMap::new();
        for warning in &scan.warnings {
            if let ScanWarning::TwoFiles { function, passed_over, .. } = warning {
                ignored.entry(function.clone()).or_default().push(passed_over.clone());
            }
        }
        let below = scan.warnings.iter().filter_map(|warning| match warning {
            ScanWarning::Below { dir, libraries } => Some((dir.clone(), libraries.clone())),
            _ => None,
        });
        self.announcements.below = below.collect();
        self.announcements.ignored = ignored;
        let dirs = scan.failed_dirs.iter();
        let dirs = dirs.map(|(dir, reason)| Event::DirectoryFailed { path: path(dir), reason: reason.clone() });
        let single = single.iter().map(|(dir, wait)| (*dir, Some(seconds(*wait))));
        let emptied = emptied.iter().map(|dir| (dir, None)).chain(single);
        let emptied = emptied.map(|(dir, seconds)| Event::DirectoryEmptied { path: path(dir), seconds });
        self.announcements.seen = files.chain(warnings).chain(dirs.chain(emptied).map(plain)).collect();
        let now: BTreeSet<String> = self.announcements.seen.iter().map(|seen| seen.event.line()).collect();
        self.announcements.reported.retain(|line| now.contains(line));
    }

    /// The events to emit now. Files that a library may turn out to need wait for the probes that are under way.
    pub(super) fn new_events(&mut self) -> Vec<Event> {
        let is_settled = self.is_settled();
        let mut events = Vec::new();
        let seen = std::mem::take(&mut self.announcements.seen);
        for seen in &seen {
            let is_due = match &seen.perhaps_needed {
                None => true,
                Some(path) => is_settled && !self.is_needed(path),
            };
            if is_due && self.announcements.reported.insert(seen.event.line()) {
                events.push(seen.event.clone());
            }
        }
        self.announcements.seen = seen;
        if is_settled {
            events.extend(self.new_warnings_below());
            let mut unreported = Vec::new();
            self.entries.change_all(|_, entry| {
                unreported.extend(entry.unreported.take().map(|event| (entry.candidate.path.clone(), event)));
            });
            events.extend(unreported.into_iter().filter(|(path, _)| !self.is_needed(path)).map(|(_, event)| event));
        }
        events
    }

    /// What is wrong with the worker directories, a sentence each: libraries that were removed, but for those of functions
    /// that are `left_out`, what is in the place of a library and is none, second files of one function, and directories
    /// that cannot be read or were emptied.
    pub(crate) fn warnings(&self, left_out: impl Fn(&FunctionName) -> bool) -> Vec<String> {
        let removed = self.removed.iter().filter(|(function, _)| !left_out(function)).map(|(function, path)| {
            let path = path.display();
            format!("{function}: its library {path} was removed; put it back, or reload (SIGHUP) if you meant it")
        });
        let seen = self.announcements.seen.iter().filter(|notice| {
            notice.is_warning()
                && !notice.function.as_ref().is_some_and(&left_out)
                && !notice.perhaps_needed.as_ref().is_some_and(|path| self.may_be_needed(path))
        });
        removed.chain(seen.map(|notice| notice.event.line())).collect()
    }

    /// Files of a function that are not served, since another one is.
    pub(crate) fn ignored_files(&self, function: &str) -> Vec<String> {
        let files = self.announcements.ignored.get(function).into_iter().flatten();
        let ignored = files.filter(|path| !self.may_be_needed(path));
        ignored.map(|path| path.to_string_lossy().into_owned()).collect()
    }

    /// Whether a library has another looked for at this path, or may turn out to.
    fn may_be_needed(&self, path: &Path) -> bool {
        !self.is_settled() || self.is_needed(path)
    }

    /// Libraries in subdirectories that nothing needs, for as long as they are the same.
    fn new_warnings_below(&mut self) -> Vec<Event> {
        let warning = |(dir, libraries): &(PathBuf, Vec<PathBuf>)| {
            let libraries: Vec<PathBuf> = libraries.iter().filter(|path| !self.is_needed(path)).cloned().collect();
            let dir = dir.clone();
            (!libraries.is_empty()).then(|| ScanWarning::Below { dir, libraries }.to_string())
        };
        let now: BTreeSet<String> = self.announcements.below.iter().filter_map(warning).collect();
        let before = std::mem::replace(&mut self.announcements.reported_below, now.clone());
        now.difference(&before).map(|text| Event::FileWarning { text: text.clone() }).collect()
    }

    /// Whether a library has another looked for at this path, or below it.
    pub(super) fn is_needed(&self, path: &Path) -> bool {
        self.entries.values().flat_map(|entry| &entry.beside).any(|beside| beside.path.starts_with(path))
    }

    /// Whether a file is nothing but a library that another one needs.
    pub(super) fn is_for_others(&self, entry: &FunctionEntry) -> bool {
        entry.version.is_none() && self.is_needed(&entry.candidate.path)
    }

    /// Where the library that a function's file holds has others looked for, and what was there.
    pub(crate) fn set_sibling_places(&mut self, function: &str, identity: &FileIdentity, beside: Vec<SiblingPlace>) {
        if let Some(entry) = self.entries.get_mut(function).filter(|entry| entry.candidate.identity == *identity) {
            entry.beside = beside;
        }
    }
}

/// Whether something is there now that was not when a library was probed, or is another; it is as it is now then.
pub(super) fn has_changed(beside: &mut [SiblingPlace], now: &BTreeMap<PathBuf, Option<FileIdentity>>) -> bool {
    let mut changed = false;
    for one in beside {
        if let Some(identity) = now.get(&one.path).filter(|identity| **identity != one.identity) {
            one.identity = *identity;
            changed = true;
        }
    }
    changed
}
