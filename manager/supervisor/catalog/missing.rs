//! Functions whose file is missing: how long the manager waits for it, and when it forgets the function.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use super::{Catalog, SavedVersions, ScanChanges};
use crate::plugins::name::FunctionName;
use crate::plugins::scan::ScanResult;
use crate::supervisor::event::Event;

/// Files come back to an emptied directory one after another. The grace of a missing file is multiplied by this while
/// they do, and for the only file of a directory.
pub(super) const REFILL: u32 = 20;

/// Functions of which an earlier manager left records or libraries, and of which no file was found yet; with the time
/// at which they are forgotten, once that is known.
#[derive(Debug, Default)]
pub(super) struct MissingFunctions(BTreeMap<FunctionName, Option<Duration>>);

impl MissingFunctions {
    /// All functions of which something is remembered.
    pub(super) fn of(memory: &SavedVersions) -> Self {
        let good = memory.last_good.keys().chain(memory.pinned.keys()).chain(&memory.stored);
        let bad = memory.rejected.keys().map(|version| &version.function);
        Self(good.chain(bad).map(|function| (function.clone(), None)).collect())
    }

    /// Those whose file has been missing for so long that it was removed while no manager ran. A directory that cannot
    /// be read may hold any of them; if several are all missing, that means as little as an emptied directory.
    fn forgotten(
        &mut self,
        scan: &ScanResult,
        is_there: impl Fn(&str) -> bool,
        wait: Duration,
        now: Duration,
    ) -> Vec<FunctionName> {
        self.0.retain(|function, _| !is_there(function));
        let unclear = !scan.failed_dirs.is_empty() || (scan.candidates.is_empty() && self.0.len() > 1);
        for (function, at) in &mut self.0 {
            let in_place = scan.obstacles.iter().any(|obstacle| obstacle.function == *function);
            *at = if unclear || in_place { None } else { Some(at.unwrap_or(now.saturating_add(wait))) };
        }
        self.0.extract_if(.., |_, at| at.is_some_and(|at| now >= at)).map(|(function, _)| function).collect()
    }

    fn next_due(&self) -> Option<Duration> {
        self.0.values().flatten().min().copied()
    }
}

impl Catalog {
    /// Marks what is missing, and removes what has been missing for `grace`, or for longer in an emptied directory.
    pub(super) fn forget_missing(
        &mut self,
        scan: &ScanResult,
        emptied: &BTreeSet<PathBuf>,
        single: &BTreeSet<PathBuf>,
        grace: Duration,
        now: Duration,
        out: &mut ScanChanges,
    ) {
        let unseen: Vec<&PathBuf> = scan.failed_dirs.iter().map(|(dir, _)| dir).chain(emptied).collect();
        let filled: BTreeSet<&PathBuf> = out.probe.iter().map(|candidate| &candidate.dir).collect();
        let refilled = &self.emptied;
        self.entries.change_all(|function, entry| {
            let dir = &entry.candidate.dir;
            let is_there = scan.candidates.keys().any(|name| name == function)
                || unseen.contains(&dir)
                || scan.skipped.iter().any(|(path, _)| *path == entry.candidate.path);
            let refills = refilled.contains(dir);
            let wait = if refills || single.contains(dir) { grace.saturating_mul(REFILL) } else { grace };
            entry.removed_at = match entry.removed_at {
                _ if is_there => None,
                Some(at) if !(refills && filled.contains(dir)) => Some(at),
                _ => Some(now.saturating_add(wait)),
            };
        });
        let gone = self.entries.extract_if(|_, entry| entry.removed_at.is_some_and(|at| now >= at));
        for (function, entry) in gone {
            // What was never a function is not reported as removed.
            if entry.version.is_some() || !entry.is_dependency {
                // Removing what was never served needs no warning.
                let is_expected = self.dropped.contains(&entry.candidate.dir) || entry.version.is_none();
                if !is_expected {
                    self.removed.insert(function.clone(), entry.candidate.path.clone());
                }
                let path = entry.candidate.path.to_string_lossy().into_owned();
                out.events.push(Event::FunctionRemoved { function: function.clone(), path, is_expected });
            }
            out.gone.push(function);
        }
        self.removed.retain(|function, _| !self.entries.contains_key(function));
        let entries = &self.entries;
        let waits = |dir: &PathBuf| entries.values().any(|e| e.removed_at.is_some() && e.candidate.dir == *dir);
        self.emptied.retain(|dir| unseen.contains(&dir) || waits(dir));
        let is_there = |function: &str| entries.contains_key(function);
        out.gone.extend(self.missing.forgotten(scan, is_there, grace.saturating_mul(REFILL), now));
        out.gone.iter().for_each(|function| self.saved.forget(function));
        out.rescan_at = self.entries.values().filter_map(|entry| entry.removed_at).chain(self.missing.next_due()).min();
    }
}

impl SavedVersions {
    /// What a function was does not matter to a later file of its name.
    fn forget(&mut self, function: &str) {
        self.last_good.remove(function);
        self.pinned.remove(function);
        self.rejected.retain(|version, _| version.function != *function);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::identity::FileIdentity;
    use crate::plugins::listing::SkipReason;
    use crate::plugins::scan::{Candidate, Obstacle};

    const WAIT: Duration = Duration::from_secs(1);

    fn scan(names: &[&str]) -> ScanResult {
        let identity = FileIdentity { dev: 1, ino: 1, size: 2, mtime: (0, 0), ctime: (0, 0) };
        let candidates = names.iter().map(|name| {
            let function = FunctionName::new(name).unwrap();
            (function.clone(), Candidate { function, dir: "/w".into(), path: format!("/w/{name}.so").into(), identity })
        });
        ScanResult { candidates: candidates.collect(), ..ScanResult::default() }
    }

    /// What becomes of `names` whose files are not there, at once and after the wait.
    fn forgotten(names: &[&str], scan: &ScanResult) -> [Vec<FunctionName>; 2] {
        let stored = names.iter().map(|name| (*name).into()).collect();
        let mut absent = MissingFunctions::of(&SavedVersions { stored, ..SavedVersions::default() });
        let is_there = |name: &str| scan.candidates.keys().any(|function| function == name);
        [Duration::ZERO, WAIT].map(|now| absent.forgotten(scan, is_there, WAIT, now))
    }

    #[test]
    fn what_was_removed_while_no_manager_ran_is_forgotten_unless_it_may_be_out_of_sight() {
        let obstacle = |name| Obstacle {
            function: FunctionName::new(name).unwrap(),
            dir: "/w".into(),
            path: "/w/a.so".into(),
            reason: SkipReason::Dangling("nowhere".into()),
        };
        let failed = ScanResult { failed_dirs: vec![("/w2".into(), "is gone".into())], ..scan(&["b"]) };
        let in_place = ScanResult { obstacles: vec![obstacle("a")], ..scan(&["b"]) };
        for (what, names, scan, expected) in [
            ("one beside others", &["a", "b"][..], scan(&["b"]), &["a"][..]),
            ("several beside others", &["a", "b", "c"], scan(&["b"]), &["a", "c"]),
            ("the only one", &["a"], scan(&[]), &["a"]),
            ("all of several", &["a", "b"], scan(&[]), &[]),
            ("a directory that cannot be read", &["a", "b"], failed, &[]),
            ("a link to nothing", &["a", "b"], in_place, &[]),
            ("all there", &["a", "b"], scan(&["a", "b"]), &[]),
        ] {
            let [at_once, later] = forgotten(names, &scan);
            assert_eq!((at_once, later), (vec![], expected.iter().map(|name| (*name).into()).collect()), "{what}");
        }
    }
}
