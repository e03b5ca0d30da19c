//! Counts, reads and reports jobs without a result, by function.

use std::time::Duration;

use super::lost_jobs::{how, was};
use super::{Core, ExitReport, StartStage, WorkerRecord};
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{Event, FailingFunction, RecoveredFunction, seconds};
use crate::supervisor::exit_cause::ExitCause;
use crate::supervisor::job_failures::{
    FailedJob, FailureHistory, FailureKind, FailureNotice, FailureRate, FailureReading, JobTotals,
};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::ExitReason;

/// How many functions' counters are read in one iteration of the loop.
const READ_AT_ONCE: usize = 8;

/// One function's jobs without a result.
#[derive(Debug, Default)]
pub(super) struct FunctionFailures {
    history: FailureHistory,
    crashed: u64,
    timed_out: u64,
    /// The last job that cost its worker.
    last_lost: Option<FailedJob>,
}

impl FunctionFailures {
    fn totals(&self, completed: u64, failed: u64) -> JobTotals {
        JobTotals { completed, failed, crashed: self.crashed, timed_out: self.timed_out }
    }
}

impl Core {
    /// A worker reports that a job of one of its functions failed.
    pub(super) fn job_failed(&mut self, id: WorkerId, function: usize, now: Duration) {
        let worker = self.workers.get(&id);
        if let Some(of) = worker.and_then(|worker| worker.functions.get(function)) {
            self.jobs.failures.entry(of.function.clone()).or_default().history.job_failed(now);
        }
    }

    /// Counts the job that a dead worker had in hand, unless it is already counted or the worker's end says nothing
    /// about it.
    pub(super) fn count_lost_job(&mut self, worker: &WorkerRecord, exit_report: &ExitReport, now: Duration) {
        let by_us = worker.ended_by_us(exit_report.end).is_some_and(|reason| reason != ExitReason::JobTimeout);
        if by_us || worker.start.stage != StartStage::Over || exit_report.is_counted {
            return;
        }
        let (lost, function) = match &exit_report.exit_cause {
            ExitCause::InJob(lost) | ExitCause::Answering(lost) => (Some(lost), worker.functions.get(lost.function)),
            // Which job it was is unknown, but if the worker has only one function, the function is known.
            ExitCause::Unknown => (None, worker.only_function()),
            ExitCause::Drained | ExitCause::OutsideJob => return,
        };
        let Some(FunctionVersion { function, hash: version }) = function.cloned() else { return };
        let timed_out = lost.is_some_and(|lost| worker.timed_out(lost, exit_report.end));
        let failures = self.jobs.failures.entry(function).or_default();
        let (kind, count) = match timed_out {
            true => (FailureKind::TimedOut, &mut failures.timed_out),
            false => (FailureKind::Crashed, &mut failures.crashed),
        };
        *count = count.saturating_add(1);
        let handle = lost.map_or_else(String::new, |lost| String::from_utf8_lossy(&lost.handle).into_owned());
        let late = if timed_out { ", past the job's timeout" } else { "" };
        let reason = format!("its worker {}{late}", was(&how(exit_report)));
        failures.last_lost = Some(FailedJob { kind, at: now, handle, version, reason });
        failures.history.job_failed(now);
    }

    /// Failures so far were of another version than the one that is served from now on.
    pub(super) fn discard_failures(&mut self, function: &FunctionName, now: Duration) {
        if let Some(failures) = self.jobs.failures.get_mut(function) {
            failures.history.discard(now);
        }
    }

    /// The functions whose counters to read now. If there are many, only some of them, since each reads every worker's
    /// scoreboard; the others follow in the next iterations.
    pub(crate) fn failures_to_read(&self, now: Duration) -> Vec<FunctionName> {
        let due = |failures: &FunctionFailures| failures.history.due().is_some_and(|at| now >= at);
        let names = self.jobs.failures.iter().filter(|(_, failures)| due(failures)).map(|(name, _)| name.clone());
        names.take(READ_AT_ONCE).collect()
    }

    /// When [`failures_to_read`](Self::failures_to_read) names the next one.
    pub(super) fn failures_due(&self) -> Option<Duration> {
        self.jobs.failures.values().filter_map(|failures| failures.history.due()).min()
    }

    /// At a re-scan, functions that failed and have been idle since are read once more.
    pub(super) fn schedule_failure_readings(&mut self, now: Duration) {
        self.jobs.failures.values_mut().for_each(|failures| failures.history.schedule_reading(now));
    }

    /// The counters of a function were read.
    pub(super) fn failures_read(&mut self, reading: FailureReading, now: Duration) {
        let FailureReading { function, completed, failed, last } = reading;
        let is_known = self.catalog.holds(&function);
        let Some(failures) = self.jobs.failures.get_mut(&function) else { return };
        if !is_known {
            failures.history = FailureHistory::default();
            return;
        }
        let totals = failures.totals(completed, failed);
        let last_failed = last.as_ref();
        let reason = last_failed.map_or("", |last| &last.reason);
        match (failures.history.observe(totals, reason, now), last_failed.cloned()) {
            (Some(FailureNotice::Failing(rate)), Some(last)) => {
                let FailureRate { failed, jobs, over } = rate;
                let FailedJob { handle, version, reason, .. } = last;
                self.report(Event::FunctionFailing(FailingFunction {
                    function,
                    version,
                    handle,
                    reason,
                    failed,
                    jobs,
                    seconds: seconds(over),
                }));
            }
            (Some(FailureNotice::Recovered(FailureRate { failed, jobs, over })), _) => {
                self.report(Event::FunctionRecovered(RecoveredFunction {
                    function,
                    failed,
                    jobs,
                    seconds: seconds(over),
                }));
            }
            (Some(FailureNotice::Failing(_)), None) | (None, _) => {}
        }
    }

    /// All jobs of a function that have ended: those that completed and those that failed.
    pub(crate) fn job_totals(&self, function: &str, completed: u64, failed: u64) -> JobTotals {
        let failures = self.jobs.failures.get(function);
        failures.map_or(JobTotals { completed, failed, ..JobTotals::default() }, |f| f.totals(completed, failed))
    }

    /// The failure rate of its jobs; `None` if none fail.
    pub(crate) fn failure_rate(&self, function: &str, totals: &JobTotals, now: Duration) -> Option<FailureRate> {
        self.jobs.failures.get(function)?.history.rate(totals, now)
    }

    /// The last of its jobs that cost a worker.
    pub(crate) fn last_lost_job(&self, function: &str) -> Option<&FailedJob> {
        self.jobs.failures.get(function)?.last_lost.as_ref()
    }
}
