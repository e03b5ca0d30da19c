//! Read-only views of the core, for status.

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Core, ManagerPhase, StartStage};
use crate::control::VersionState;
use crate::plan::is_excluded;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::function_state::FunctionFacts;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;

/// Why a function has no worker while one finishes its last job, with `rollout_surge = 0`.
const BEFORE_DRAINS: &str = "the worker before it is still draining";

/// A function for status.
#[derive(Debug)]
pub(crate) struct FunctionView {
    /// Its name.
    pub name: FunctionName,
    /// The version in service, if any.
    pub version: Option<ShortHash>,
    /// Version of its crate.
    pub crate_version: String,
    /// Whether it is pinned to that version.
    pub is_pinned: bool,
    /// What is happening with it.
    pub facts: FunctionFacts,
    /// Other files in worker_dir for the same function, which are not served.
    pub ignored_files: Vec<String>,
    /// How many workers it has on request.
    pub scaled_to: Option<u32>,
    /// What is wrong with its queues, and needs attention: a clause each.
    pub queue_warnings: Vec<String>,
    /// Why it is not served as planned.
    pub note: Option<String>,
}

/// A worker for status.
#[derive(Debug)]
pub(crate) struct WorkerView {
    /// Which.
    pub id: WorkerId,
    /// Its process.
    pub pid: i32,
    /// Where it is in its life.
    pub state: WorkerState,
    /// Since when.
    pub since: Duration,
    /// What it serves.
    pub functions: Vec<FunctionVersion>,
    /// Counts the starts.
    pub generation: u64,
    /// When it was started.
    pub born: Duration,
}

impl Core {
    /// Time since the manager's start.
    pub(crate) fn uptime(&self, now: Duration) -> Duration {
        now.saturating_sub(self.startup.began)
    }

    /// Whether the manager is draining.
    pub(crate) fn is_draining(&self) -> bool {
        matches!(self.phase, ManagerPhase::Draining { .. } | ManagerPhase::Finished)
    }

    /// Whether the manager is still starting.
    pub(crate) fn is_starting(&self) -> bool {
        !self.startup.announced
    }

    /// Every function that has a library or is planned.
    pub(crate) fn function_views(&self, now: Duration) -> impl Iterator<Item = FunctionView> {
        let planned = self.plan.groups.iter().flat_map(|group| group.functions.iter().cloned());
        let names: BTreeSet<FunctionName> = planned.chain(self.catalog.functions()).collect();
        names.into_iter().map(move |name| {
            let version = self.catalog.version(&name);
            let facts = self.function_facts(&name, now);
            let (queue_warnings, queue_notes) = self.queue_warnings(&name);
            FunctionView {
                version: version.map(|version| version.hash),
                crate_version: version.map_or_else(String::new, |version| version.facts.crate_version.clone()),
                is_pinned: self.catalog.is_pinned(&name),
                ignored_files: self.catalog.ignored_files(&name),
                scaled_to: self.scaled_to(&name),
                note: self.note(&name, &facts, queue_warnings.iter().cloned().chain(queue_notes)),
                queue_warnings,
                facts,
                name,
            }
        })
    }

    fn function_facts(&self, name: &FunctionName, now: Duration) -> FunctionFacts {
        let current = self.version_in_service(name);
        let tried = self.catalog.next(name).map(|next| next.hash);
        let count = |is_counted: &dyn Fn(Option<ShortHash>) -> bool| {
            let alike = self.workers.serving_alike(name);
            let counted = alike.filter(|(functions, _)| is_counted(functions.version_of(name)));
            counted.map(|(_, alike)| alike.totals.serving).sum::<usize>()
        };
        let pause = self.pause_of(name).cloned();
        let serving = if pause.is_some() { 0 } else { self.serving(name) };
        let backing_off = self.backing_off(name, now).filter(|_| !self.is_draining());
        let fails = (self.is_not_restarted(name) || backing_off.is_some()) && !self.is_draining();
        let excluded = self.plan.excluded.iter().find(|(function, _)| function == name);
        FunctionFacts {
            planned: self.plan.planned(name) as usize,
            serving,
            serving_current: count(&|version| version == current),
            serving_old: count(&|version| version != current && version != tried),
            backing_off,
            start_failure: self.failures.reasons.get(name).filter(|_| fails).cloned(),
            excluded: excluded.map(|(_, reason)| format!("left out, since {reason}")),
            unserved: (serving == 0 && pause.is_none()).then(|| self.why_unserved(name, now)),
            tried,
            pause,
        }
    }

    /// What an operator should know about a function. Problems are also mentioned for a pinned version.
    fn note(&self, name: &FunctionName, facts: &FunctionFacts, queues: impl Iterator<Item = String>) -> Option<String> {
        let pinned = self.catalog.is_pinned(name).then(|| "pinned until its file changes".to_owned());
        let paused = facts.pause.as_ref().map(|pause| format!("paused by {} since {}", pause.by, pause.since));
        let scaled = self.scaled_to(name).map(|workers| format!("scaled to {workers} until the next reload"));
        let refused = self.catalog.refused().find(|(function, ..)| *function == name);
        let problem = facts
            .tried
            .map(|version| format!("version {version} is being tried"))
            .or(facts.start_failure.clone())
            .or(refused.map(|(_, _, reason)| format!("its file {reason}")))
            .or(self.isolation_note(name))
            .or(facts.excluded.clone())
            .or(facts.unserved.clone());
        let ignored = self.catalog.ignored_files(name);
        let ignored = (!ignored.is_empty()).then(|| format!("not served: {}, which holds it too", ignored.join(", ")));
        let notes = [paused, scaled, pinned, problem, ignored].into_iter().flatten();
        let notes: Vec<String> = notes.chain(queues).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }

    /// Why no worker serves a planned function: what is wrong, or how far the start of a worker is.
    pub(super) fn why_unserved(&self, function: &str, now: Duration) -> String {
        if self.is_draining() {
            return "the manager is stopping".into();
        }
        let its = |worker: &&super::WorkerRecord| worker.serves(function);
        let live = self.workers.values().filter(its).filter(|worker| worker.state.is_live());
        let nearest = live.max_by_key(|worker| worker.state.is_loaded());
        let failure = self.failures.reasons.get(function).cloned();
        let drains =
            self.workers.values().filter(its).any(|worker| matches!(worker.state, WorkerState::Draining { .. }));
        match nearest {
            Some(worker) if worker.state.is_loaded() => match worker.state {
                WorkerState::Loaded { .. } => "its worker is loaded, and no job server has answered it yet".into(),
                _ if drains => BEFORE_DRAINS.into(),
                _ => "its worker is about to take jobs".into(),
            },
            Some(worker) => failure.map_or_else(
                || worker.how_far(function),
                |failure| format!("{failure}; it is tried again, and {}", worker.how_far(function)),
            ),
            None if self.spawns.refusal(now).is_some() => self.spawns.refusal(now).unwrap_or_default().to_owned(),
            None if drains && failure.is_none() => BEFORE_DRAINS.into(),
            None => {
                let last = || self.failures.last_of(function).map(str::to_owned);
                failure.or_else(last).unwrap_or_else(|| "it waits for a worker".into())
            }
        }
    }

    /// The role of a stored version, and why it was rejected, if it was; `rollback --force` may have put it in service
    /// anyway.
    pub(crate) fn version_state(&self, version: &FunctionVersion) -> (VersionState, Option<&str>) {
        let FunctionVersion { function, hash } = version;
        let rejected = self.catalog.rejection(version);
        let state = match rejected {
            _ if self.catalog.is_serving(function, *hash) && self.catalog.is_pinned(function) => VersionState::Pinned,
            _ if self.catalog.is_serving(function, *hash) => VersionState::Serving,
            _ if self.catalog.is_next(function, *hash) => VersionState::Trying,
            Some(_) => VersionState::Rejected,
            None => VersionState::Stored,
        };
        (state, rejected)
    }

    /// The version of a function that is in service.
    pub(crate) fn version_in_service(&self, function: &str) -> Option<ShortHash> {
        self.catalog.version(function).map(|version| version.hash)
    }

    /// The hash of the function's version that is served, or was by an earlier manager.
    pub(crate) fn served(&self, function: &str) -> Option<ShortHash> {
        self.catalog.served(function).map(|version| version.hash)
    }

    /// Workers that take jobs for the function.
    pub(crate) fn serving(&self, function: &str) -> usize {
        self.workers.serving_alike(function).map(|(_, alike)| alike.totals.serving).sum()
    }

    /// Functions served, workers that serve, and workers.
    pub(crate) fn counts(&self) -> (usize, usize, usize) {
        let serving = self.workers.all_alike().filter(|(_, alike)| alike.totals.serving > 0);
        let functions: BTreeSet<&str> =
            serving.flat_map(|(functions, _)| functions.iter().map(|version| version.function.as_str())).collect();
        (functions.len(), self.workers.totals().serving, self.workers.len())
    }

    /// Where every worker is that has a process.
    pub(crate) fn worker_states(&self) -> impl Iterator<Item = (WorkerId, WorkerState)> {
        self.workers.iter().filter(|(_, worker)| worker.pid.is_some()).map(|(id, worker)| (*id, worker.state))
    }

    /// Every worker that has a process.
    pub(crate) fn worker_views(&self) -> impl Iterator<Item = WorkerView> {
        self.workers.iter().filter_map(|(id, worker)| {
            Some(WorkerView {
                id: *id,
                pid: worker.pid?,
                state: worker.state,
                since: worker.since,
                functions: worker.functions.clone(),
                generation: worker.generation,
                born: worker.born,
            })
        })
    }

    /// Problems in the worker directories that an operator should look at, one sentence each.
    pub(crate) fn warnings(&self) -> Vec<String> {
        self.catalog.warnings(|function| is_excluded(&self.config, function))
    }

    /// Files that are refused: function, path, reason. Files of excluded functions are left out.
    pub(crate) fn refused(&self) -> impl Iterator<Item = (&FunctionName, String, &str)> {
        self.catalog.refused().filter(|(function, ..)| !is_excluded(&self.config, function))
    }
}

impl super::WorkerRecord {
    /// The progress of its start, from the point of view of one of its functions.
    fn how_far(&self, function: &str) -> String {
        let (does, index) = match self.start.stage {
            StartStage::Begins | StartStage::Over => return "its worker is starting".into(),
            StartStage::Loading(index) => ("loading", index),
            StartStage::Making(index) => ("in the new() of", index),
        };
        match self.functions.get(index) {
            Some(at) if at.function == *function && does == "loading" => "its library is being loaded".into(),
            Some(at) if at.function == *function => "its worker is in its new()".into(),
            Some(other) => format!("its worker is starting, and is {does} {}", other.function),
            None => "its worker is starting".into(),
        }
    }
}
