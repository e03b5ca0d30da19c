//! Job timeouts: when a job is overdue, and what happens then.
//!
//! Nothing is polled: a worker's scoreboard is read at the earliest time at which a job can be past its timeout, which
//! is one timeout after the worker was last seen without such a job.

use std::time::Duration;

use super::worker_record::{EndedJob, ScoreboardWatch};
use super::workers::DueTime;
use super::{Core, ManagerPhase, ScoreboardReading, WorkerRecord};
use crate::config::Config;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{EndingJob, Event, seconds, several};
use crate::supervisor::exit_cause::JobInHand;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger, WorkerState};
use crate::system::reap::ExitStatus;

impl Core {
    /// The workers whose scoreboards are to be read now.
    pub(crate) fn scoreboards_due(&self, now: Duration) -> Vec<WorkerId> {
        self.workers.between(DueTime::ScoreboardDue, None, now).into_iter().collect()
    }

    /// When [`scoreboards_due`](Self::scoreboards_due) names the next one.
    pub(super) fn scoreboard_due(&self) -> Option<Duration> {
        self.workers.next(DueTime::ScoreboardDue, None)
    }

    /// Plans when to read the scoreboards of workers that may have a job with a timeout.
    pub(super) fn watch_jobs(&mut self, now: Duration) {
        let Self { config, workers, .. } = self;
        while let Some(id) = workers.first(DueTime::ScoreboardUnplanned) {
            workers.change(id, |worker| {
                let names = worker.functions.iter().map(|version| version.function.as_str());
                let timeout = config.least(names, Config::timeout);
                worker.job_watch.next =
                    timeout.map_or(ScoreboardWatch::Never, |timeout| ScoreboardWatch::At(now.saturating_add(timeout)));
            });
        }
    }

    /// Plans all readings again, because timeouts may have changed.
    pub(super) fn watch_jobs_again(&mut self) {
        self.workers.change_all(|worker| worker.job_watch.next = ScoreboardWatch::Unplanned);
    }

    /// A scoreboard was read.
    pub(super) fn scoreboard_read(&mut self, seen: &ScoreboardReading, now: Duration) {
        self.workers.change(seen.worker, |worker| worker.job_watch.next = ScoreboardWatch::Unplanned);
        let Some(worker) = self.workers.get(&seen.worker) else { return };
        if let WorkerState::Draining { reason: ExitReason::JobTimeout, deadline: Some(deadline) } = worker.state {
            return self.seen_overdue(seen, deadline, now);
        }
        if seen.overwritten {
            return self.seen_overwritten(seen.worker, now);
        }
        let Some(job) = &seen.job else { return };
        let Some(FunctionVersion { function, .. }) = worker.functions.get(job.function) else { return };
        let Some(timeout) = self.config.timeout(function).filter(|_| worker.state.is_at_work()) else { return };
        if job.ran < timeout {
            let next = ScoreboardWatch::At(now.saturating_add(timeout.saturating_sub(job.ran)));
            self.workers.change(seen.worker, |worker| worker.job_watch.next = next);
            return;
        }
        let (function, pid) = (function.clone(), worker.pid);
        self.workers.change(seen.worker, |worker| {
            worker.job_watch.overdue = Some(EndedJob { number: job.number, on_request: false });
        });
        let grace = self.config.timeout_grace(&function);
        self.report_with_pid(pid, |pid| overdue(pid, function, job, timeout, grace));
        self.trigger(seen.worker, Trigger::Overdue(now.saturating_add(grace)), now);
        self.canary_is_late(seen, job, now);
    }

    /// A plugin has overwritten its worker's scoreboard, so how long its job has run is unknown: the worker drains, and
    /// the job gets as much time as a job that begins now.
    fn seen_overwritten(&mut self, id: WorkerId, now: Duration) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.state.is_at_work()) else { return };
        let names = worker.names();
        let bound =
            |name: &FunctionName| Some(self.config.timeout(name)?.saturating_add(self.config.timeout_grace(name)));
        let Some(bound) = names.iter().filter_map(bound).max() else { return };
        self.report_with_pid(worker.pid, |pid| Event::ManagerError {
            text: format!(
                "{}: worker {pid}: its scoreboard was overwritten: the library writes to memory that is not its own; the worker is \
                 replaced",
                several(&names)
            ),
        });
        self.trigger(id, Trigger::Overdue(now.saturating_add(bound)), now);
    }

    /// The grace period of an overdue job may be over: its worker is killed if it still runs that job, or if its job is
    /// unknown.
    fn seen_overdue(&mut self, seen: &ScoreboardReading, deadline: Duration, now: Duration) {
        let number = seen.job.as_ref().map(|job| job.number);
        let overdue = self.workers.get(&seen.worker).and_then(|worker| worker.job_watch.overdue);
        let is_same = number.is_some() && overdue.map(|overdue| overdue.number) == number;
        if !is_same && !seen.overwritten {
            let (reason, deadline) = match self.phase {
                ManagerPhase::Draining { deadline, .. } => (ExitReason::Stop, Some(deadline)),
                _ => (ExitReason::Replaced, None),
            };
            self.trigger(seen.worker, Trigger::Relieved(reason, deadline), now);
        } else if now >= deadline {
            self.trigger(seen.worker, Trigger::Expired, now);
        }
    }
}

impl WorkerRecord {
    /// When its scoreboard is to be read.
    pub(super) fn scoreboard_due(&self) -> Option<Duration> {
        match (self.state, self.job_watch.next) {
            (WorkerState::Draining { reason: ExitReason::JobTimeout, deadline }, _) => deadline,
            (state, ScoreboardWatch::At(at)) if state.is_at_work() => Some(at),
            _ => None,
        }
    }

    /// Whether this is the job that was past its timeout.
    pub(super) fn is_overdue(&self, lost: &JobInHand) -> bool {
        self.job_watch.overdue.is_some_and(|overdue| overdue.number == lost.number)
    }

    /// Whether `kill` asked for the end of this job.
    pub(super) fn ends_on_request(&self, lost: &JobInHand) -> bool {
        self.job_watch.overdue.is_some_and(|overdue| overdue.number == lost.number && overdue.on_request)
    }

    /// Whether a job was past its timeout when its worker ended like this.
    pub(super) fn timed_out(&self, lost: &JobInHand, end: ExitStatus) -> bool {
        self.is_overdue(lost) || self.ended_by_us(end) == Some(ExitReason::JobTimeout)
    }
}

fn overdue(pid: i32, function: FunctionName, job: &JobInHand, timeout: Duration, grace: Duration) -> Event {
    Event::JobOverdue { job: ending_job(pid, function, job, grace), timeout: seconds(timeout) }
}

pub(super) fn ending_job(pid: i32, function: FunctionName, job: &JobInHand, grace: Duration) -> EndingJob {
    EndingJob {
        pid,
        function,
        handle: String::from_utf8_lossy(&job.handle).into_owned(),
        unique: job.unique.clone(),
        seconds: seconds(job.ran),
        grace: seconds(grace),
    }
}
