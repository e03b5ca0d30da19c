//! Job counters of functions over all workers so far, from the scoreboards of the living ones and totals of those that
//! have exited.

use std::collections::BTreeMap;

use super::Effects;
use super::children::ChildKind;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::scoreboard::{Counters, LastFailure};
use crate::supervisor::canary::JobCounts;
use crate::supervisor::core::{CanaryCounts, CanaryFunction};
use crate::supervisor::job_failures::{FailedJob, FailureKind, FailureReading};
use crate::supervisor::reconcile::WorkerId;
use crate::system::clock;

impl Effects {
    /// Job counters of canaries, and of the old versions in all other workers.
    pub(crate) fn count(&self, canaries: Vec<(WorkerId, Vec<CanaryFunction>)>) -> Vec<CanaryCounts> {
        canaries.into_iter().filter_map(|(worker, tried)| self.count_one(worker, &tried)).collect()
    }

    fn count_one(&self, worker: WorkerId, tried: &[CanaryFunction]) -> Option<CanaryCounts> {
        let child = self.children.get(self.workers.get(&worker)?)?;
        let ChildKind::Worker(canary) = &child.kind else { return None };
        let counts = |CanaryFunction { function, serving }: &CanaryFunction| {
            let index = canary.functions.iter().position(|name| name == function)?;
            let Counters { completed, failed, .. } = canary.scoreboard.counters(index);
            let old = serving.map_or_else(Counters::default, |serving| self.counters_of(function, serving));
            let failure = canary.scoreboard.last_failure(index).map_or_else(String::new, |failure| failure.reason);
            Some((JobCounts { completed, failed, old_completed: old.completed, old_failed: old.failed }, failure))
        };
        let (counts, failures) = tried.iter().map(counts).collect::<Option<Vec<_>>>()?.into_iter().unzip();
        Some(CanaryCounts { worker, counts, failures })
    }

    /// Job counters of one version of a function, over all workers so far.
    fn counters_of(&self, function: &str, version: ShortHash) -> Counters {
        let past = self.past.get(function).and_then(|past| past.versions.iter().find(|(hash, _)| *hash == version));
        let past = past.map(|(_, counters)| *counters).unwrap_or_default();
        self.add_live_workers(past, |is| is.function == *function && is.hash == version)
    }

    /// Job counters of every function, over all workers so far; reads each scoreboard once.
    pub(super) fn all_counts(&self) -> BTreeMap<FunctionName, FunctionCounts> {
        let past = |(name, past): (&FunctionName, &RetiredCounts)| {
            (name.clone(), FunctionCounts { counters: past.all, last_failure: past.last_failure.clone() })
        };
        let mut all: BTreeMap<FunctionName, FunctionCounts> = self.past.iter().map(past).collect();
        for child in self.children.values() {
            let ChildKind::Worker(worker) = &child.kind else { continue };
            for (index, version) in worker.versions.iter().enumerate() {
                let counters = worker.scoreboard.counters(index);
                let counts = all.entry(version.function.clone()).or_default();
                add(&mut counts.counters, counters);
                let failure = worker.scoreboard.last_failure(index).map(|failure| failed_job(failure, version.hash));
                counts.last_failure = latest(counts.last_failure.take(), failure);
            }
        }
        all
    }

    /// Job counters of a function, over all workers so far.
    pub(super) fn counters(&self, function: &str) -> Counters {
        let past = self.past.get(function).map(|past| past.all).unwrap_or_default();
        self.add_live_workers(past, |is| is.function == *function)
    }

    /// The counters of failing functions, and the last failed job of each.
    pub(crate) fn read_failures(&self, functions: Vec<FunctionName>) -> Vec<FailureReading> {
        let read = |function: FunctionName| {
            let Counters { completed, failed, .. } = self.counters(&function);
            let last = self.last_failed_job(&function);
            FailureReading { function, completed, failed, last }
        };
        functions.into_iter().map(read).collect()
    }

    /// The last failed job of a function, over all workers so far.
    fn last_failed_job(&self, function: &str) -> Option<FailedJob> {
        let living = self.children.values().filter_map(|child| {
            let ChildKind::Worker(worker) = &child.kind else { return None };
            let index = worker.versions.iter().position(|is| is.function == *function)?;
            Some(failed_job(worker.scoreboard.last_failure(index)?, worker.versions[index].hash))
        });
        let past = self.past.get(function).and_then(|past| past.last_failure.clone());
        living.chain(past).max_by_key(|failure| failure.at)
    }

    /// Adds the counters of living workers for one function, by its name and version.
    fn add_live_workers(&self, mut sum: Counters, counts: impl Fn(&FunctionVersion) -> bool) -> Counters {
        for child in self.children.values() {
            let ChildKind::Worker(worker) = &child.kind else { continue };
            if let Some(index) = worker.versions.iter().position(&counts) {
                add(&mut sum, worker.scoreboard.counters(index));
            }
        }
        sum
    }
}

/// Job counters of a function, and its last failed job.
#[derive(Default)]
pub(super) struct FunctionCounts {
    pub counters: Counters,
    pub last_failure: Option<FailedJob>,
}

fn latest(one: Option<FailedJob>, other: Option<FailedJob>) -> Option<FailedJob> {
    one.into_iter().chain(other).max_by_key(|failure| failure.at)
}

/// Versions of one function that are counted separately: what a canary is compared with is among the latest.
const MAX_VERSIONS: usize = 8;

/// Totals of exited workers for one function.
#[derive(Default)]
pub(super) struct RetiredCounts {
    all: Counters,
    last_failure: Option<FailedJob>,
    /// By version, ordered by their last exit, the latest one last.
    versions: Vec<(ShortHash, Counters)>,
}

impl RetiredCounts {
    pub(super) fn add(&mut self, version: ShortHash, counters: Counters, failure: Option<FailedJob>) {
        add(&mut self.all, counters);
        self.last_failure = latest(self.last_failure.take(), failure);
        let known = self.versions.iter().position(|(hash, _)| *hash == version);
        let mut own = known.map_or_else(|| (version, Counters::default()), |at| self.versions.remove(at));
        add(&mut own.1, counters);
        self.versions.push(own);
        if self.versions.len() > MAX_VERSIONS {
            self.versions.remove(0);
        }
    }
}

/// Reads a failure from a scoreboard, which may hold anything: a time in the future is ignored.
pub(super) fn failed_job(failure: LastFailure, version: ShortHash) -> FailedJob {
    let LastFailure { at, handle, reason } = failure;
    let handle = String::from_utf8_lossy(&handle).into_owned();
    FailedJob { kind: FailureKind::Failed, at: at.min(clock::now()), handle, version, reason }
}

/// Adds up counters; an overwritten scoreboard must not crash the manager.
fn add(sum: &mut Counters, more: Counters) {
    sum.completed = sum.completed.wrapping_add(more.completed);
    sum.failed = sum.failed.wrapping_add(more.failed);
    sum.bytes_in = sum.bytes_in.wrapping_add(more.bytes_in);
    sum.bytes_out = sum.bytes_out.wrapping_add(more.bytes_out);
    sum.run_ns = sum.run_ns.wrapping_add(more.run_ns);
}
