//! Rollbacks: an earlier version is served without a canary, since it was good before. The caller waits until every
//! planned worker serves it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::workers::AlikeWorkers;
use super::{Action, Core, ManagerPhase, RequestOrigin, group_key};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::catalog::CheckedVersion;
use crate::supervisor::event::{Event, ServedVersion, seconds};
use crate::supervisor::rollback::{RollbackChoice, StoredForRollback};

/// Rollbacks whose version is not served by every planned worker yet, by function.
#[derive(Debug, Default)]
pub(super) struct Rollbacks(BTreeMap<FunctionName, PendingRollback>);

/// A rollback that is under way.
#[derive(Debug)]
pub(crate) struct PendingRollback {
    /// The version that is to be served.
    pub version: ShortHash,
    /// When it began.
    pub since: Duration,
    /// Who asked for it.
    pub asked: RequestOrigin,
}

/// How many of the planned workers already serve a version.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Progress {
    Pending,
    /// Every planned worker serves the version; how many old ones are still in a job.
    Done {
        version: ShortHash,
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
            return Err(self.no_such_function(function));
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

    /// Why a version was rejected, if it was and has not proved itself since.
    pub(super) fn why_rejected(&self, function: &FunctionName, hash: ShortHash) -> Option<String> {
        self.catalog.rejection(&FunctionVersion { function: function.clone(), hash }).map(str::to_owned)
    }

    /// Why no worker is planned for a function that has a library, if none is.
    fn unplanned(&self, function: &str) -> Option<String> {
        if let Some(pause) = self.pause_of(function) {
            let resume = self.config.command.on_function("resume", function);
            return Some(format!("{function} is paused by {} since {}: run `{resume}` first", pause.by, pause.since));
        }
        let excluded = self.plan.excluded.iter().find(|(name, _)| name == function);
        if let Some((_, reason)) = excluded {
            return Some(format!("no worker serves {function}: {reason}"));
        }
        let is_planned = self.plan.planned(function) > 0 || self.catalog.version(function).is_none();
        (!is_planned).then(|| format!("no worker serves {function}: count and dedicated_count leave none for it"))
    }

    /// The versions that a rollback of the function can go to; `stored` and `served` are hashes, the latest first.
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
            pending: self.catalog.pending_file(function),
            under_way: self.rollback_under_way(function).map(|rollback| rollback.version),
        }
    }

    /// The rollback of a function that is not complete yet.
    pub(crate) fn rollback_under_way(&self, function: &str) -> Option<&PendingRollback> {
        self.commands.rollbacks.0.get(function)
    }

    /// Serves an earlier version, and cancels the version in the function's file.
    pub(super) fn roll_back(
        &mut self,
        function: &FunctionName,
        version: CheckedVersion,
        asked: RequestOrigin,
        now: Duration,
    ) {
        let called_off = self.catalog.pending_file(function).filter(|file| file.version != Some(version.hash));
        let (from, hash) = (self.served(function), version.hash);
        self.end_retry(function, format!("a rollback to version {hash} took its place"));
        let before = self.commands.rollbacks.0.remove(function);
        // A rollback to the same version that is already under way continues as this one.
        let since = match before {
            Some(PendingRollback { version, since, .. }) if version == hash => since,
            Some(other) => {
                self.fail_rollback(function.clone(), &other, replaced_by(hash));
                now
            }
            None => now,
        };
        let request = asked.request;
        self.report(Event::RolledBack { function: function.clone(), request, version: hash, from, called_off });
        // Earlier failures do not count against another version.
        self.failures.forget(function);
        self.discard_failures(function, now);
        let pin = self.catalog.pin(function, version.clone(), now);
        self.push_action(Action::Pin { function: function.clone(), pin: Some(pin) });
        self.set_last_good(function, version);
        self.commands.rollbacks.0.insert(function.clone(), PendingRollback { version: hash, since, asked });
        self.replan(now);
    }

    /// Another request supersedes a rollback that is under way.
    pub(super) fn end_rollback(&mut self, function: &str, reason: String) {
        if let Some((function, rollback)) = self.commands.rollbacks.0.remove_entry(function) {
            self.fail_rollback(function, &rollback, reason);
        }
    }

    fn fail_rollback(&mut self, function: FunctionName, rollback: &PendingRollback, reason: String) {
        let (request, version) = (rollback.asked.request, rollback.version);
        self.report(Event::RollbackFailed { function, request, version, reason });
    }

    /// Reports rollbacks that are complete, and those that failed.
    pub(super) fn finish_rollbacks(&mut self, now: Duration) {
        let pending = std::mem::take(&mut self.commands.rollbacks.0);
        for (function, rollback) in pending {
            let PendingRollback { version, since, asked } = rollback;
            match self.rollback_progress(&function, version, now) {
                Progress::Pending => drop(self.commands.rollbacks.0.insert(function, rollback)),
                Progress::Done { workers, draining, .. } => {
                    let (request, seconds) = (asked.request, seconds(now.saturating_sub(since)));
                    let rejected = self.why_rejected(&function, version);
                    let served = ServedVersion { function, request, version, workers, draining, seconds, rejected };
                    self.report(Event::RollbackFinished(served));
                }
                Progress::Failed(reason) => self.fail_rollback(function, &rollback, reason),
            }
        }
    }

    fn rollback_progress(&self, function: &FunctionName, version: ShortHash, now: Duration) -> Progress {
        match self.catalog.version(function) {
            Some(other) if other.hash != version => Progress::Failed(replaced_by(other.hash)),
            _ => self.version_progress(function, now),
        }
    }

    /// How many of the planned workers already serve the function's current version.
    pub(super) fn version_progress(&self, function: &FunctionName, now: Duration) -> Progress {
        if let Some(reason) = self.why_never_served(function) {
            return Progress::Failed(reason);
        }
        let Some(version) = self.catalog.version(function).map(|version| version.hash) else {
            return Progress::Pending;
        };
        let (mut workers, mut draining, mut old, mut on_their_way) = (0, 0, 0, 0);
        for (functions, AlikeWorkers { totals, .. }) in self.workers.serving_alike(function) {
            if functions.version_of(function) == Some(version) {
                workers += totals.serving;
                on_their_way += totals.live - totals.serving;
            } else {
                old += totals.serving;
                draining += totals.all - totals.live;
            }
        }
        let planned = self.plan.planned(function) as usize;
        if old == 0 && workers >= planned {
            return Progress::Done { version, workers, draining };
        }
        let lacks = workers < planned && on_their_way == 0;
        match lacks.then(|| self.why_none_starts(function, now)).flatten() {
            None => Progress::Pending,
            Some(reason) if workers == 0 => Progress::Failed(reason),
            Some(reason) => Progress::Failed(format!(
                "{workers} of {planned} workers serve it, and the others cannot be started: {reason}"
            )),
        }
    }

    /// Why no version of the function will be served, regardless of its file.
    pub(super) fn why_never_served(&self, function: &FunctionName) -> Option<String> {
        if self.is_draining() {
            return Some("the manager is stopping".into());
        }
        match self.catalog.holds(function) {
            true => self.unplanned(function),
            false => Some("its library was removed from worker_dir".into()),
        }
    }

    /// Why no worker with the function can be started for now, if so: the function or each of its groups backs off, or
    /// the system refuses to create a process.
    pub(super) fn why_none_starts(&self, function: &FunctionName, now: Duration) -> Option<String> {
        let failure = || {
            let known = self.failures.reasons.get(function).map(String::as_str).or(self.failures.last_of(function));
            known.unwrap_or("its workers failed").to_owned()
        };
        if self.is_backing_off(function, now) || self.is_not_restarted(function) {
            return Some(failure());
        }
        let groups = self.plan.groups.iter().filter(|group| group.functions.contains(function)).map(group_key);
        let reasons = groups.map(|key| {
            let refused = self.spawns.refusal_of(&key, now).map(str::to_owned);
            refused.or_else(|| self.is_group_backing_off(&key, now).then(failure))
        });
        // One group that may start workers is enough.
        reasons.collect::<Option<Vec<String>>>()?.pop()
    }
}

fn replaced_by(version: ShortHash) -> String {
    format!("version {version} took its place")
}
