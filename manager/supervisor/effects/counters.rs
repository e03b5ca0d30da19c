//! Job counters of functions over all workers so far, from the scoreboards of the living ones and totals of those that
//! have exited.

use std::collections::BTreeMap;

use super::Effects;
use super::children::ChildKind;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::scoreboard::{Counters, LastFailure, ScoreboardJob};
use crate::supervisor::canary::JobCounts;
use crate::supervisor::core::{CanaryCounts, CanaryFunction, Core};
use crate::supervisor::job_failures::{FailedJob, FailureKind, FailureReading};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::run_times::RunTimes;
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
        let past = self.past.get(function).and_then(|past| past.version(version));
        let past = past.map(|retired| retired.counters).unwrap_or_default();
        self.add_live_workers(past, |is| is.function == *function && is.hash == version)
    }

    /// What is counted of every function, over all workers so far; reads each scoreboard once. The times that jobs ran
    /// are those of the versions that `core` has in service.
    pub(super) fn all_counts(&self, core: &Core) -> BTreeMap<FunctionName, FunctionCounts> {
        let mut all: BTreeMap<FunctionName, FunctionCounts> = BTreeMap::new();
        for (name, past) in &self.past {
            let counts = all.entry(name.clone()).or_default();
            (counts.counters, counts.last_failure) = (past.all, past.last_failure.clone());
            if let Some(retired) = core.version_in_service(name).and_then(|version| past.version(version)) {
                counts.run_times.add(&retired.run_times);
            }
        }
        for child in self.children.values() {
            let ChildKind::Worker(worker) = &child.kind else { continue };
            let seen = worker.scoreboard.read();
            // One that has had no job has counted nothing.
            if seen.overwritten || worker.scoreboard.last_job().is_none() {
                continue;
            }
            for (index, version) in worker.versions.iter().enumerate() {
                let counts = all.entry(version.function.clone()).or_default();
                counts.busy += usize::from(seen.activity.has_job());
                let counters = worker.scoreboard.intact_counters(index);
                if counters.jobs() == 0 {
                    continue;
                }
                add(&mut counts.counters, counters);
                let failure = worker.scoreboard.last_failure(index).map(|failure| failed_job(failure, version.hash));
                counts.last_failure = latest(counts.last_failure.take(), failure);
                if core.version_in_service(&version.function) == Some(version.hash) {
                    counts.run_times.add(&RunTimes(worker.scoreboard.intact_run_times(index)));
                }
            }
            let function = seen.job.as_ref().and_then(|job| worker.functions.get(job.function));
            if let (Some(job), Some(counts)) = (&seen.job, function.and_then(|function| all.get_mut(function))) {
                counts.runs(child.pid.as_raw(), job);
            }
        }
        all
    }

    /// Records how many jobs have ended, for what is reported of the last minute, if it is time for that.
    pub(crate) fn record_totals(&mut self, core: &Core) {
        if self.last_minute.is_due(clock::now()) {
            self.record_counts(core, &self.all_counts(core));
        }
    }

    /// The same, of what was counted just now.
    pub(super) fn record_counts(&mut self, core: &Core, counts: &BTreeMap<FunctionName, FunctionCounts>) {
        let now = clock::now();
        if self.last_minute.is_due(now) {
            let totals = |(name, counts): (&FunctionName, &FunctionCounts)| {
                let Counters { completed, failed, .. } = counts.counters;
                (name.clone(), core.job_totals(name, completed, failed))
            };
            self.last_minute.record(now, counts.iter().map(totals).collect());
        }
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

/// What is counted of a function.
#[derive(Default)]
pub(super) struct FunctionCounts {
    pub counters: Counters,
    pub last_failure: Option<FailedJob>,
    /// Workers with it that run a job, of whichever function.
    pub busy: usize,
    /// Its jobs that run now.
    pub running: usize,
    /// The one of them that has run longest.
    pub longest: Option<LongestJob>,
    /// How long jobs of the version in service ran.
    pub run_times: RunTimes,
}

/// A job that runs now.
pub(super) struct LongestJob {
    pub pid: i32,
    pub job: ScoreboardJob,
}

impl FunctionCounts {
    /// A worker runs a job of it.
    fn runs(&mut self, pid: i32, job: &ScoreboardJob) {
        self.running += 1;
        if self.longest.as_ref().is_none_or(|longest| job.started_ns < longest.job.started_ns) {
            self.longest = Some(LongestJob { pid, job: job.clone() });
        }
    }
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
    versions: Vec<RetiredVersion>,
}

/// Totals of exited workers for one version.
pub(super) struct RetiredVersion {
    pub version: ShortHash,
    pub counters: Counters,
    pub run_times: RunTimes,
}

impl RetiredCounts {
    /// A worker has exited.
    pub(super) fn add(&mut self, exited: RetiredVersion, failure: Option<FailedJob>) {
        add(&mut self.all, exited.counters);
        self.last_failure = latest(self.last_failure.take(), failure);
        let known = self.versions.iter().position(|of| of.version == exited.version);
        let mut own = exited;
        if let Some(before) = known.map(|at| self.versions.remove(at)) {
            add(&mut own.counters, before.counters);
            own.run_times.add(&before.run_times);
        }
        self.versions.push(own);
        if self.versions.len() > MAX_VERSIONS {
            self.versions.remove(0);
        }
    }

    fn version(&self, version: ShortHash) -> Option<&RetiredVersion> {
        self.versions.iter().find(|of| of.version == version)
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
