//! Rollbacks: an earlier version is served without a canary, since it was good before, and the caller waits until it
//! is.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{Action, Core, ManagerPhase};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::catalog::CheckedVersion;
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::rollback::{RollbackChoice, StoredForRollback};

/// Rollbacks whose version is not served by every planned worker yet, by function.
#[derive(Debug, Default)]
pub(super) struct Rollbacks(BTreeMap<FunctionName, PendingRollback>);

#[derive(Debug)]
struct PendingRollback {
    version: ShortHash,
    since: Duration,
}

/// How far a rollback is.
#[derive(Debug, PartialEq, Eq)]
enum Progress {
    Pending,
    /// Every planned worker serves the version; how many old ones are still in a job.
    Done {
        workers: usize,
        draining: usize,
    },
    Failed(String),
}

impl Core {
    /// Whether a function can be rolled back at all.
    ///
    /// # Errors
    /// One sentence: why no worker would serve it.
    pub(crate) fn may_roll_back(&self, function: &str) -> Result<FunctionName, String> {
        match self.phase {
            ManagerPhase::Starting => Err("the manager is still starting: try again when it serves".into()),
            _ => self.may_retry(function),
        }
    }

    /// Whether another version of the function could be served.
    ///
    /// # Errors
    /// One sentence: why not.
    pub(crate) fn may_retry(&self, function: &str) -> Result<FunctionName, String> {
        if self.is_draining() {
            return Err("the manager is stopping".into());
        }
        let Some(name) = self.catalog.name_of(function) else {
            return Err(format!("there is no function {function}: no library of it is in worker_dir"));
        };
        if self.catalog.is_missing(function) {
            return Err(format!(
                "the library of {function} was removed from worker_dir, and the function with it: copy a library there \
                 to serve it again"
            ));
        }
        match self.phase {
            // There is no plan yet.
            ManagerPhase::Starting => Ok(name),
            _ => self.unplanned(function).map_or(Ok(name), Err),
        }
    }

    /// Why no worker is planned for a function that has a library, if that is so.
    fn unplanned(&self, function: &str) -> Option<String> {
        let excluded = self.plan.excluded.iter().find(|(name, _)| name == function);
        if let Some((_, reason)) = excluded {
            return Some(format!("no worker serves {function}: {reason}"));
        }
        let is_planned = self.plan.planned(function) > 0 || self.catalog.version(function).is_none();
        (!is_planned).then(|| format!("no worker serves {function}: count and dedicated_count leave none for it"))
    }

    /// What a rollback of the function can lead to; `stored` and `served` are hashes, the latest first.
    pub(crate) fn rollback_choice(
        &self,
        function: &FunctionName,
        stored: Vec<ShortHash>,
        served: Vec<ShortHash>,
    ) -> RollbackChoice {
        let rejected =
            |hash| self.catalog.rejection(&FunctionVersion { function: function.clone(), hash }).map(str::to_owned);
        RollbackChoice {
            stored: stored.into_iter().map(|hash| StoredForRollback { rejected: rejected(hash), hash }).collect(),
            served,
            current: self.served(function),
            pinned: self.catalog.is_pinned(function),
            untried: self.catalog.untried(function),
        }
    }

    /// Serves an earlier version, and calls off what the function's file holds.
    pub(super) fn roll_back(&mut self, function: &FunctionName, version: CheckedVersion, now: Duration) {
        let called_off = self.catalog.untried(function).filter(|file| file.version != Some(version.hash));
        let (from, hash) = (self.served(function), version.hash);
        if let Some(PendingRollback { version, .. }) =
            self.rollbacks.0.remove(function).filter(|one| one.version != hash)
        {
            let (function, reason) = (function.clone(), replaced_by(hash));
            self.report(Event::RollbackFailed { function, version, reason });
        }
        self.report(Event::RolledBack { function: function.clone(), version: hash, from, called_off });
        // Earlier failures do not count against another version.
        self.failures.forget(function);
        let pin = self.catalog.pin(function, version.clone(), now);
        self.do_next(Action::Pin { function: function.clone(), pin: Some(pin) });
        self.do_next(Action::SetLastGood { function: function.clone(), version });
        self.rollbacks.0.insert(function.clone(), PendingRollback { version: hash, since: now });
        self.replan(now);
    }

    /// Reports rollbacks that are complete, and those that come to nothing.
    pub(super) fn finish_rollbacks(&mut self, now: Duration) {
        let pending = std::mem::take(&mut self.rollbacks.0);
        for (function, rollback) in pending {
            let PendingRollback { version, since } = rollback;
            match self.rollback_progress(&function, version, now) {
                Progress::Pending => drop(self.rollbacks.0.insert(function, rollback)),
                Progress::Done { workers, draining } => {
                    let seconds = seconds(now.saturating_sub(since));
                    self.report(Event::RollbackFinished { function, version, workers, draining, seconds });
                }
                Progress::Failed(reason) => self.report(Event::RollbackFailed { function, version, reason }),
            }
        }
    }

    fn rollback_progress(&self, function: &FunctionName, version: ShortHash, now: Duration) -> Progress {
        match self.catalog.version(function) {
            None => return Progress::Failed("its library was removed from worker_dir".into()),
            Some(other) if other.hash != version => {
                return Progress::Failed(replaced_by(other.hash));
            }
            Some(_) => {}
        }
        if let Some(reason) = self.unplanned(function) {
            return Progress::Failed(reason);
        }
        if self.is_draining() {
            return Progress::Failed("the manager is stopping".into());
        }
        let its = self.workers.values().filter_map(|worker| {
            let served = worker.functions.iter().find(|served| served.function == *function)?;
            Some((worker, served.hash == version))
        });
        let (mut workers, mut draining, mut old, mut on_their_way) = (0, 0, 0, 0);
        for (worker, has_version) in its {
            match has_version {
                true if worker.state.is_serving() => workers += 1,
                true if worker.state.is_live() => on_their_way += 1,
                true => {}
                false if worker.state.is_serving() => old += 1,
                false if !worker.state.is_live() => draining += 1,
                false => {}
            }
        }
        let planned = self.plan.planned(function) as usize;
        if old == 0 && workers >= planned {
            return Progress::Done { workers, draining };
        }
        let has_failed = self.is_backing_off(function, now) || self.is_not_restarted(function);
        match self.failures.reasons.get(function).filter(|_| has_failed && on_their_way == 0 && workers == 0) {
            Some(reason) => Progress::Failed(reason.clone()),
            None => Progress::Pending,
        }
    }
}

fn replaced_by(version: ShortHash) -> String {
    format!("version {version} took its place")
}
