//! Tracks which functions exist, and in which version, from the results of scans and probes. Pure.

mod announcements;
mod entries;
mod entry;
mod missing;
mod pins;
mod probe_failure;

use crate::plugins::version_records::VersionFacts;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::event::{Event, seconds};
use crate::config::ManagerCommand;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::identity::FileIdentity;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::{Candidate, Obstacle, ScanResult, ScanWarning};
use crate::plugins::version_records::Pin;

use announcements::{Announcements, has_changed};
use entries::Entries;
use entry::FunctionEntry;
use missing::{MissingFunctions, REFILL};
pub(crate) use pins::PinChange;
pub(crate) use probe_failure::ProbeFailure;
use probe_failure::ProbeRetry;

/// A library that was checked and is in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckedVersion {
    /// First 12 hexadecimal digits of its hash.
    pub hash: ShortHash,
    /// Where workers load it from.
    pub library: PathBuf,
    /// What its probe found out.
    pub facts: VersionFacts,
    /// A note for its author.
    pub warning: Option<String>,
}

/// What survives a restart of the manager.
#[derive(Debug, Default)]
pub(crate) struct SavedVersions {
    /// The last good version of every function.
    pub last_good: BTreeMap<FunctionName, CheckedVersion>,
    /// Versions that were rejected: function and hash, and why.
    pub rejected: BTreeMap<FunctionVersion, String>,
    /// Functions that were rolled back and are pinned to an earlier version.
    pub pinned: BTreeMap<FunctionName, Pin>,
    /// Functions of which a library is in the store.
    pub stored: BTreeSet<FunctionName>,
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Catalog {
    entries: Entries,
    saved: SavedVersions,
    /// For messages that tell the user which command to run.
    command: ManagerCommand,
    missing: MissingFunctions,
    was_scanned: bool,
    announcements: Announcements,
    /// Directories that were emptied and are being, or may be, filled again.
    emptied: BTreeSet<PathBuf>,
    /// Directories that a reload took out of the configuration: their functions are removed.
    dropped: BTreeSet<PathBuf>,
    /// Functions whose library was removed since the start or the last reload, and where it was.
    removed: BTreeMap<FunctionName, PathBuf>,
}

/// What a probe changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct ProbeChanges {
    /// What to report.
    pub events: Vec<Event>,
    /// Whether the version to be served, or to be tried, has changed.
    pub needs_plan: bool,
    /// A version that is served from now on without a canary, because no version was served before.
    pub good: Option<CheckedVersion>,
    /// What happens to the function's pin.
    pub pin: PinChange,
}

/// What a scan changed.
#[derive(Debug, Default)]
pub(crate) struct ScanChanges {
    /// Files to probe.
    pub probe: Vec<Candidate>,
    /// What to report.
    pub events: Vec<Event>,
    /// Functions that were removed; everything about them is to be forgotten.
    pub gone: Vec<FunctionName>,
    /// When to scan again: a file is missing, perhaps because it is being replaced.
    pub rescan_at: Option<Duration>,
}

impl Catalog {
    /// An empty catalog with what earlier managers recorded, for a manager with this command line.
    pub(crate) fn new(memory: SavedVersions, command: ManagerCommand) -> Self {
        Self { missing: MissingFunctions::of(&memory), saved: memory, command, ..Self::default() }
    }

    /// Applies a scan: new and changed files are to be probed, and functions whose file has been missing for `grace`
    /// are removed and forgotten. The functions of a directory that cannot be read, or that was emptied, stay.
    pub(crate) fn apply_scan(&mut self, scan: &ScanResult, grace: Duration, now: Duration) -> ScanChanges {
        let mut out = ScanChanges::default();
        let (emptied, single) = self.emptied_directories(scan);
        self.record_notices(scan, &emptied, &single.iter().map(|dir| (dir, grace.saturating_mul(REFILL))).collect());
        // A directory that cannot be read now will probably be filled file by file.
        let failed = scan.failed_dirs.iter().map(|(dir, _)| dir);
        self.emptied.extend(emptied.iter().chain(failed).cloned());
        for obstacle in scan.unserved_obstacles() {
            out.events.extend(self.refuse_obstacle(obstacle, now));
        }
        for (name, candidate) in &scan.candidates {
            if self.needs_probe(name, candidate, &scan.beside) {
                out.probe.push(candidate.clone());
            }
        }
        self.forget_missing(scan, &emptied, &single, grace, now, &mut out);
        self.was_scanned = true;
        let reported = self.new_events();
        out.events.splice(0..0, reported);
        out
    }

    /// These are the worker directories from now on.
    pub(crate) fn set_worker_dirs(&mut self, dirs: &[PathBuf]) {
        let held = self.entries.values().map(|entry| &entry.candidate.dir);
        self.dropped = held.filter(|dir| !dirs.contains(dir)).cloned().collect();
        self.emptied.retain(|dir| dirs.contains(dir));
        // A reload acknowledges removals.
        self.removed.clear();
    }

    /// Directories that no longer hold a library. First those that held several, or could not be read: that is more
    /// likely an unfinished copy or an unmounted file system than an intention to serve nothing. Then those that held
    /// one library, so it could be either: such a file gets more time to come back than one that is missing from a
    /// directory that still holds others.
    fn emptied_directories(&self, scan: &ScanResult) -> (BTreeSet<PathBuf>, BTreeSet<PathBuf>) {
        let mut held: BTreeMap<&PathBuf, usize> = BTreeMap::new();
        let for_itself = self.entries.values().filter(|entry| !self.is_for_others(entry));
        for_itself.for_each(|entry| *held.entry(&entry.candidate.dir).or_default() += 1);
        // Something in the place of a file is no removal.
        let is_place = |path: &PathBuf| self.entries.values().any(|entry| entry.candidate.path == *path);
        // Another directory has a file for the same function now.
        let is_passed_over = |file: &PathBuf| {
            let mut warnings = scan.warnings.iter();
            warnings.any(|w| matches!(w, ScanWarning::TwoFiles { passed_over, .. } if passed_over == file))
        };
        held.retain(|dir, _| {
            let holds = scan.candidates.values().any(|candidate| candidate.dir == **dir)
                || scan.obstacles.iter().any(|obstacle| obstacle.dir == **dir && is_place(&obstacle.path))
                || self
                    .entries
                    .values()
                    .any(|entry| entry.candidate.dir == **dir && is_passed_over(&entry.candidate.path));
            !holds && !self.dropped.contains(*dir) && !scan.failed_dirs.iter().any(|(failed, _)| failed == *dir)
        });
        let (several, single): (Vec<_>, Vec<_>) =
            held.into_iter().partition(|(dir, count)| *count > 1 || self.emptied.contains(*dir));
        let dirs = |held: Vec<(&PathBuf, usize)>| held.into_iter().map(|(dir, _)| dir.clone()).collect();
        (dirs(several), dirs(single))
    }

    /// There is something other than a file at the path of a function's library: refused like a bad library, reported
    /// once.
    fn refuse_obstacle(&mut self, obstacle: &Obstacle, now: Duration) -> Option<Event> {
        let Obstacle { function, dir, path, reason } = obstacle;
        let last_good = self.saved.last_good.get(function).cloned();
        // A probe that is under way speaks of a file that is gone; the next one is news whatever it is.
        let identity = FileIdentity { dev: 0, ino: 0, size: 0, mtime: (0, 0), ctime: (0, 0) };
        let place = Candidate { function: function.clone(), dir: dir.clone(), path: path.clone(), identity };
        if last_good.is_some() {
            self.entries.add(function, || FunctionEntry::new(place.clone()));
        }
        let entry = self.entries.get_mut(function).filter(|entry| entry.candidate.path == *path)?;
        let reason = reason.to_string();
        if entry.refused.as_ref() == Some(&reason) {
            return None;
        }
        entry.candidate = place;
        (entry.probing, entry.content_is_current) = (false, false);
        entry.next = None;
        entry.refused = Some(reason.clone());
        entry.retry = None;
        if entry.version.is_none() {
            (entry.version, entry.changed) = (last_good, now);
        }
        let serving = entry.version.as_ref().map(|version| version.hash);
        let path = path.to_string_lossy().into_owned();
        Some(Event::LibraryRefused {
            function: function.clone(),
            path,
            reason,
            serving,
            again: None,
            is_repeated: false,
        })
    }

    /// Whether the file, or a sibling library that it needs, has to be probed. If so, records it as being probed.
    fn needs_probe(
        &mut self,
        function: &FunctionName,
        candidate: &Candidate,
        beside: &BTreeMap<PathBuf, Option<FileIdentity>>,
    ) -> bool {
        match self.entries.get_mut(function) {
            Some(entry) if entry.candidate.identity == candidate.identity => {
                entry.candidate = candidate.clone();
                let changed = has_changed(&mut entry.beside, beside);
                if changed {
                    entry.has_changed();
                }
                changed
            }
            Some(entry) => {
                entry.candidate = candidate.clone();
                entry.has_changed();
                entry.tries_rejected = false;
                true
            }
            None => {
                self.entries.add(function, || FunctionEntry::new(candidate.clone()));
                true
            }
        }
    }

    /// Applies the result of a probe. A refusal never displaces the version that is served. A good file for a function
    /// that is already served is only its next version, until a canary has tried it.
    pub(crate) fn apply_probe(
        &mut self,
        function: &FunctionName,
        identity: &FileIdentity,
        result: Result<CheckedVersion, ProbeFailure>,
        now: Duration,
    ) -> ProbeChanges {
        // A file that changed again meanwhile has a probe of its own under way.
        let Some(entry) = self.entries.get_mut(function).filter(|entry| entry.candidate.identity == *identity) else {
            return ProbeChanges::default();
        };
        entry.probing = false;
        let mut changes = match result {
            Err(failure) => self.refuse(function, failure, now),
            Ok(version) => self.found(function, version, now),
        };
        changes.events.extend(self.new_events());
        changes
    }

    /// A file that cannot be served. If nothing is served yet, the last good version is served. If the same file was
    /// only probed again, with the same result, that is not reported again.
    fn refuse(&mut self, function: &FunctionName, failure: ProbeFailure, now: Duration) -> ProbeChanges {
        let fallback = self.saved.last_good.get(function).cloned();
        let is_needed = self.entries.get(function).is_some_and(|entry| self.is_needed(&entry.candidate.path));
        let ProbeFailure { reason, kind, is_no_plugin } = failure;
        let mut others = self.entries.iter().filter(|(name, _)| *name != function);
        let is_repeated = kind.is_shared() && others.any(|(_, other)| other.refused.as_ref() == Some(&reason));
        let Some(entry) = self.entries.get_mut(function) else { return ProbeChanges::default() };
        let is_reported = entry.retry.is_some() && entry.refused.as_ref() == Some(&reason);
        entry.retry = ProbeRetry::after(entry.retry, kind, now);
        entry.refused = Some(reason.clone());
        entry.next = None;
        let needs_plan = entry.version.is_none() && fallback.is_some();
        if needs_plan {
            (entry.version, entry.changed) = (fallback, now);
        }
        let serving = entry.version.as_ref().map(|version| version.hash);
        let path = entry.candidate.path.to_string_lossy().into_owned();
        let again = entry.retry.map(|retry| seconds(retry.wait()));
        let refused = Event::LibraryRefused { function: function.clone(), path, reason, serving, again, is_repeated };
        // A library that another one may turn out to need is not reported.
        let is_dependency = (is_no_plugin || is_needed) && entry.version.is_none();
        entry.is_dependency = is_dependency;
        entry.unreported = (is_dependency && !is_reported).then(|| refused.clone());
        let events = if is_reported || is_dependency { Vec::new() } else { vec![refused] };
        ProbeChanges { events, needs_plan, ..ProbeChanges::default() }
    }

    fn found(&mut self, function: &FunctionName, version: CheckedVersion, now: Duration) -> ProbeChanges {
        let pin = self.judge_pin(function, version.hash);
        let is_pinned = self.is_pinned(function);
        let mark = FunctionVersion { function: function.clone(), hash: version.hash };
        let bad = self.saved.rejected.get(&mark).filter(|_| !self.may_serve_rejected(&mark)).cloned();
        let last_good = self.saved.last_good.get(function).cloned();
        let Some(entry) = self.entries.get_mut(function) else { return ProbeChanges::default() };
        entry.tries_rejected = false;
        let known = entry.content.as_ref().is_some_and(|content| content.hash == version.hash);
        (entry.content, entry.content_is_current) = (Some(version.clone()), true);
        if let Some(reason) = bad {
            let retry = self.command.on_function("retry", function);
            let text =
                format!("holds version {}, rejected before because {reason}; `{retry}` tries it again", version.hash);
            return ProbeChanges { pin, ..self.refuse(function, text.into(), now) };
        }
        (entry.refused, entry.retry, entry.unreported, entry.is_dependency) = (None, None, None, false);
        if entry.version.is_none() {
            // What was good before is served while the new file is tried, also over a restart.
            entry.version = last_good;
            entry.changed = now;
        }
        if is_pinned && entry.version.is_some() {
            return ProbeChanges { pin, needs_plan: !known, ..ProbeChanges::default() };
        }
        let old = entry.version.as_ref().map(|version| version.hash);
        if old.as_ref() == Some(&version.hash) {
            let needs_plan = entry.next.take().is_some() || !known;
            // After a restart: what is served, and what its author should know.
            let events = if known { Vec::new() } else { entry.announce(function, &version, None) };
            entry.version = Some(version);
            return ProbeChanges { events, pin, needs_plan, ..ProbeChanges::default() };
        }
        let events = entry.announce(function, &version, old);
        let good = if old.is_none() {
            (entry.version, entry.changed) = (Some(version.clone()), now);
            Some(version)
        } else {
            entry.next = Some(version);
            None
        };
        ProbeChanges { events, needs_plan: true, good, pin }
    }

    /// The function's file, to be probed once more; `None` if it is being probed.
    pub(crate) fn probe_again(&mut self, function: &str) -> Option<Candidate> {
        let entry = self.entries.get_mut(function).filter(|entry| !entry.probing)?;
        entry.probing = true;
        entry.retry = None;
        Some(entry.candidate.clone())
    }

    /// Files to probe again although they have not changed, because they failed for a transient reason. Nothing waits
    /// for such a probe.
    pub(crate) fn retries(&mut self, now: Duration) -> Vec<Candidate> {
        self.entries.change_unsettled(|entry| {
            let is_due = entry.removed_at.is_none() && entry.retry.as_mut()?.begin(now);
            is_due.then(|| entry.candidate.clone())
        })
    }

    /// When the next of them is due.
    pub(crate) fn retry_due(&self) -> Option<Duration> {
        let there = self.entries.unsettled().filter(|(_, entry)| entry.removed_at.is_none());
        there.filter_map(|(_, entry)| entry.retry?.due()).min()
    }

    /// Whether a refused file will be probed again even if it does not change.
    pub(crate) fn has_retries(&self) -> bool {
        self.entries.unsettled().any(|(_, entry)| entry.retry.is_some())
    }

    /// New versions that wait for a canary or have one, by function.
    pub(crate) fn pending(&self) -> impl Iterator<Item = FunctionVersion> {
        self.entries.unsettled().filter_map(|(function, entry)| {
            Some(FunctionVersion { function: function.clone(), hash: entry.next.as_ref()?.hash })
        })
    }

    /// The version to try, if there is one.
    pub(crate) fn next(&self, function: &str) -> Option<&CheckedVersion> {
        self.entries.get(function)?.next.as_ref()
    }

    /// Promotes a new version after its canary: it is served from now on.
    pub(crate) fn promote(&mut self, function: &FunctionName, now: Duration) -> Option<CheckedVersion> {
        let entry = self.entries.get_mut(function)?;
        let version = entry.next.take()?;
        (entry.version, entry.changed) = (Some(version.clone()), now);
        self.saved.last_good.insert(function.clone(), version.clone());
        Some(version)
    }

    /// Rejects a new version after its canary: it is not tried again until the content of its file changes.
    pub(crate) fn reject(&mut self, version: &FunctionVersion, reason: &str) {
        let FunctionVersion { function, hash } = version;
        self.saved.rejected.insert(version.clone(), reason.to_owned());
        if let Some(entry) = self.entries.get_mut(function) {
            entry.next = None;
            entry.refused = Some(format!("holds version {hash}, rejected because {reason}"));
        }
    }

    /// Forgets that a version was rejected: it has proved itself.
    pub(crate) fn clear_rejection(&mut self, version: &FunctionVersion) -> bool {
        self.saved.rejected.remove(version).is_some()
    }

    /// Whether a version that was rejected is tried again on request, or is in service all the same.
    fn may_serve_rejected(&self, version: &FunctionVersion) -> bool {
        let FunctionVersion { function, hash } = version;
        let is_tried = self.entries.get(function).is_some_and(|entry| entry.tries_rejected);
        is_tried || self.is_next(function, *hash) || self.served(function).is_some_and(|served| served.hash == *hash)
    }

    /// Forgets a pin, and gives the version in the function's file another chance if it was rejected. Returns the file, to be probed
    /// unconditionally: what it lacked, such as a library it needs, may be there now.
    pub(crate) fn retry(&mut self, function: &str) -> Option<Candidate> {
        self.saved.pinned.remove(function);
        if let Some(entry) = self.entries.get_mut(function) {
            entry.tries_rejected = true;
        }
        self.probe_again(function)
    }

    /// Why the function's file is refused, or its version was rejected, if so. Worded to follow the file's path in a
    /// sentence.
    pub(crate) fn refusal(&self, function: &str) -> Option<&str> {
        self.entries.get(function)?.refused.as_deref()
    }

    /// The name, if there is a file for a function of that name.
    pub(crate) fn name_of(&self, function: &str) -> Option<FunctionName> {
        self.entries.get_key_value(function).map(|(function, _)| function.clone())
    }

    /// Why a version was rejected, if it was.
    pub(crate) fn rejection(&self, version: &FunctionVersion) -> Option<&str> {
        self.saved.rejected.get(version).map(String::as_str)
    }

    /// Whether the first scan and all its probes are over.
    pub(crate) fn is_settled(&self) -> bool {
        self.was_scanned && self.probing().next().is_none()
    }

    /// Whether the worker directories were read.
    pub(crate) fn was_scanned(&self) -> bool {
        self.was_scanned
    }

    /// Functions whose files are being probed.
    pub(crate) fn probing(&self) -> impl Iterator<Item = &FunctionName> {
        self.entries.unsettled().filter(|(_, entry)| entry.probing).map(|(function, _)| function)
    }

    /// Whether the function's file is being probed.
    pub(crate) fn is_probing(&self, function: &str) -> bool {
        self.entries.get(function).is_some_and(|entry| entry.probing)
    }

    /// The functions that can be served, by name.
    pub(crate) fn functions(&self) -> Vec<FunctionName> {
        let usable = self.entries.iter().filter(|(_, entry)| entry.version.is_some());
        usable.map(|(function, _)| function.clone()).collect()
    }

    /// Whether there is a file for a function, even if it is not served.
    pub(crate) fn holds(&self, function: &str) -> bool {
        self.entries.contains_key(function)
    }

    /// The version of a function, if it has one.
    pub(crate) fn version(&self, function: &str) -> Option<&CheckedVersion> {
        self.entries.get(function)?.version.as_ref()
    }

    /// The version of a function that is served, by name.
    pub(crate) fn serving(&self, function: &str) -> Option<FunctionVersion> {
        let (function, entry) = self.entries.get_key_value(function)?;
        Some(FunctionVersion { function: function.clone(), hash: entry.version.as_ref()?.hash })
    }

    /// Whether this version of a function is served.
    pub(crate) fn is_serving(&self, function: &str, hash: ShortHash) -> bool {
        self.version(function).is_some_and(|version| version.hash == hash)
    }

    /// Whether this version of a function, served or to be tried, brings Go's runtime along.
    pub(crate) fn has_go(&self, version: &FunctionVersion) -> bool {
        let known = self.version(&version.function).into_iter().chain(self.next(&version.function));
        known.filter(|known| known.hash == version.hash).any(|known| known.facts.has_go)
    }

    /// The functions whose version in service brings Go's runtime along.
    pub(crate) fn serving_with_go(&self) -> impl Iterator<Item = &FunctionName> {
        let has_go = |entry: &FunctionEntry| entry.version.as_ref().is_some_and(|version| version.facts.has_go);
        self.entries.iter().filter(move |(_, entry)| has_go(entry)).map(|(function, _)| function)
    }

    /// Whether this version of a function is to be tried.
    pub(crate) fn is_next(&self, function: &str, hash: ShortHash) -> bool {
        self.next(function).is_some_and(|next| next.hash == hash)
    }

    /// When the version of a function was added.
    pub(crate) fn changed(&self, function: &str) -> Duration {
        self.entries.get(function).map_or(Duration::ZERO, |entry| entry.changed)
    }

    /// Files that were refused, except libraries that only others need: function, path, and the reason, worded to
    /// follow the path.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&FunctionName, String, &str)> {
        let for_itself = self.entries.iter().filter(|(_, entry)| !self.is_for_others(entry));
        for_itself.filter_map(|(function, entry)| {
            let path = entry.candidate.path.to_string_lossy().into_owned();
            entry.refused.as_deref().map(|reason| (function, path, reason))
        })
    }
}

#[cfg(test)]
mod tests;
