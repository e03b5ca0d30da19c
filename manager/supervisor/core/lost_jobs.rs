//! What happens to a job in hand whose worker died.

use std::time::Duration;

use nix::libc;

use super::{Action, Core, ExitReport, WorkerRecord};
use crate::config::LostJobPolicy;
use crate::control::AttemptsOf;
use crate::crash::workload_hash::WorkloadHash;
use crate::supervisor::counted_job::CountedJob;
use crate::supervisor::event::LIBRARY_EXITED;
use crate::supervisor::exit_cause::{ExitCause, JobInHand};
use crate::supervisor::job_disposition::{JobDisposition, JobKey, JobStage, disposition};
use crate::supervisor::out_of_memory::OutOfMemory;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, WorkerState};
use crate::system::reap::ExitStatus;
use crate::worker::CONNECTION_BROKEN;
use crate::worker::messages::WaitingJob;

/// The answer for the job of a dead worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct JobReply {
    /// Number of the connection it came over.
    pub connection: u32,
    /// Its handle.
    pub handle: Vec<u8>,
    /// What its caller gets.
    pub text: String,
}

/// What was decided about a lost job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct LostJob {
    pub disposition: JobDisposition,
    /// How many workers it has cost, and how many it may cost; `None` if this death does not count.
    pub deaths: Option<(u32, u32)>,
}

impl LostJob {
    /// Nothing counts against the job.
    fn uncounted(disposition: JobDisposition) -> Self {
        Self { disposition, deaths: None }
    }

    /// Whether it has cost as many workers as it may.
    pub(super) fn is_spent(&self) -> bool {
        self.deaths.is_some_and(|(deaths, most)| deaths >= most)
    }
}

impl Core {
    /// Decides what happens to the job that a dead worker had in hand, and what its caller is told.
    pub(super) fn settle_job(
        &mut self,
        worker: &WorkerRecord,
        exit_report: &ExitReport,
        now: Duration,
    ) -> (LostJob, Option<JobReply>) {
        self.deny_waiting(worker, exit_report);
        self.decide_about_job(worker, exit_report, now)
    }

    /// A worker's answer has become pending, or is no longer pending.
    pub(super) fn answer_waits(&mut self, id: WorkerId, server: usize, job: Option<WaitingJob>) {
        self.workers.change(id, |worker| {
            let key = job.and_then(|WaitingJob { function, handle, unique }| {
                let function = worker.functions.get(function)?.function.clone();
                Some(JobKey { server: *worker.servers.get(server)?, function, handle, unique })
            });
            match key {
                Some(key) => worker.job_watch.waiting.insert(server, key),
                None => worker.job_watch.waiting.remove(&server),
            }
        });
    }

    /// Jobs that were done, but whose pending answers are lost with their worker, are not counted. But half of such an
    /// answer may have been sent, so nobody can send another: if the job may not run twice, it goes on the deny list,
    /// and the next worker that receives it fails it.
    fn deny_waiting(&mut self, worker: &WorkerRecord, exit_report: &ExitReport) {
        let by_itself = [None, Some(ExitReason::JobTimeout), Some(ExitReason::Unresponsive)];
        if !by_itself.contains(&worker.ended_by_us(exit_report.end)) {
            return;
        }
        let reason = format!("worker {} before this job's answer was sent whole", how(exit_report));
        let once = |key: &&JobKey| self.config.on_crash(&key.function) == LostJobPolicy::Fail;
        let denied: Vec<JobKey> = worker.job_watch.waiting.values().filter(once).cloned().collect();
        denied.into_iter().for_each(|key| self.deny(key, reason.clone()));
    }

    /// Someone submits the job again, and knows what it did.
    pub(super) fn clear_attempts(&mut self, of: &AttemptsOf) {
        let AttemptsOf { function, server, handle, unique, workload } = of;
        let index = self.servers.iter().position(|known| known.name == *server);
        let workload = workload.as_ref().and_then(|hash| hash.parse().ok());
        for job in CountedJob::all_names(function, unique, workload, index, handle.as_bytes()) {
            self.jobs.deaths.forget_job(&job);
        }
        if let Some(index) = index {
            let (function, handle) = (function.clone(), handle.clone().into_bytes());
            let job = JobKey { server: index, function, handle, unique: unique.clone() };
            self.push_action(Action::Allow { server: server.clone(), job });
        }
    }

    fn deny(&mut self, job: JobKey, reason: String) {
        if let Some(server) = self.servers.get(job.server).map(|server| server.name.clone()) {
            self.push_action(Action::Deny { server, job, reason });
        }
    }

    fn decide_about_job(
        &mut self,
        worker: &WorkerRecord,
        exit_report: &ExitReport,
        now: Duration,
    ) -> (LostJob, Option<JobReply>) {
        let (lost, point, uncounted) = match &exit_report.exit_cause {
            ExitCause::InJob(lost) => (lost, JobStage::Running, JobDisposition::Requeued),
            ExitCause::Answering(lost) => (lost, JobStage::Answering, JobDisposition::Unclear),
            _ => return (LostJob::uncounted(JobDisposition::Requeued), None),
        };
        let counted = self.lost_job(worker, lost, exit_report).zip(worker.counted_job(lost, exit_report));
        let Some(((key, policy), job)) = counted else { return (LostJob::uncounted(uncounted), None) };
        if let Some(version) = worker.functions.get(lost.function) {
            self.jobs.poison.record_death(job.clone(), version.hash, now);
        }
        let max_attempts = self.config.max_attempts(&key.function);
        let deaths = self.jobs.deaths.count(job.clone(), now);
        let decided = LostJob {
            disposition: disposition(policy, deaths, max_attempts, point, lost.half_sent),
            deaths: Some((deaths, max_attempts)),
        };
        if !decided.disposition.denies() {
            return (decided, None);
        }
        let text = self.text_for_caller(worker, lost, exit_report, deaths);
        self.jobs.deaths.end(&job);
        self.jobs.poison.end(&job);
        self.deny(key, text.clone());
        let answer = JobReply { connection: lost.connection, handle: lost.handle.clone(), text };
        (decided, (decided.disposition == JobDisposition::Failed).then_some(answer))
    }

    /// The job that the worker's death counts against, and the policy for it. `None` if we killed the worker for
    /// another reason, or the job is unknown.
    fn lost_job(
        &self,
        worker: &WorkerRecord,
        lost: &JobInHand,
        exit_report: &ExitReport,
    ) -> Option<(JobKey, LostJobPolicy)> {
        let function = worker.functions.get(lost.function)?.function.clone();
        let server = *worker.servers.get(exit_report.server?)?;
        let (on_crash, on_timeout) = (self.config.on_crash(&function), self.config.on_timeout(&function));
        let policy = match (worker.ended_by_us(exit_report.end), worker.is_overdue(lost)) {
            (Some(ExitReason::JobTimeout), _) => on_timeout,
            // Its library may hang after each run of this job.
            (Some(ExitReason::Unresponsive), _) if matches!(exit_report.exit_cause, ExitCause::Answering(_)) => {
                on_crash
            }
            (Some(_), _) => return None,
            (None, false) => on_crash,
            // It was past its timeout, and then crashed: it runs again only if both policies allow that.
            (None, true) if on_crash == LostJobPolicy::Fail => on_crash,
            (None, true) => on_timeout,
        };
        let key = JobKey { server, function, handle: lost.handle.clone(), unique: lost.unique.clone() };
        (!lost.handle.is_empty()).then_some((key, policy))
    }

    fn text_for_caller(
        &self,
        worker: &WorkerRecord,
        lost: &JobInHand,
        exit_report: &ExitReport,
        deaths: u32,
    ) -> String {
        let (end, ran) = (exit_report.end, lost.ran.as_secs_f64());
        let timeout = worker.functions.get(lost.function).and_then(|version| self.config.timeout(&version.function));
        let cause = match (worker.timed_out(lost, end), timeout) {
            _ if worker.ends_on_request(lost) => format!("ended by an operator: it had run for {ran:.3} s"),
            (true, Some(timeout)) => {
                let grace = self.config.timeout_grace(&worker.functions[lost.function].function).as_secs_f64();
                let timeout = timeout.as_secs_f64();
                format!("timed out: it ran for {ran:.3} s; its timeout is {timeout} s, and timeout_grace {grace} s")
            }
            (true, None) => format!("timed out: it ran for {ran:.3} s"),
            (false, _) if worker.ended_by_us(end) == Some(ExitReason::Unresponsive) => {
                "the worker stopped responding after this job had run, before its answer was sent, and was killed"
                    .into()
            }
            (false, _) if matches!(exit_report.exit_cause, ExitCause::Answering(_)) => {
                format!("worker {} after this job had run for {ran:.3} s, before its answer was sent", how(exit_report))
            }
            (false, _) => {
                let called = if called_exit(exit_report) { format!(" ({LIBRARY_EXITED})") } else { String::new() };
                format!("worker {}{called} in this job after {ran:.3} s", how(exit_report))
            }
        };
        if deaths > 1 { format!("{cause}; {deaths} workers were lost in this job") } else { cause }
    }
}

/// Whether it exited in a job, which only the library can have asked for.
pub(super) fn called_exit(exit_report: &ExitReport) -> bool {
    matches!((exit_report.end, &exit_report.exit_cause), (ExitStatus::Exit(_), ExitCause::InJob(_)))
}

/// How a worker ended, after its subject.
pub(super) fn was(how: &str) -> String {
    if how.starts_with("killed") { format!("was {how}") } else { how.to_owned() }
}

/// How a worker ended, in words. A broken connection has its own exit code.
pub(super) fn how(exit_report: &ExitReport) -> String {
    match (exit_report.end, &exit_report.exit_cause) {
        (ExitStatus::Exit(CONNECTION_BROKEN), ExitCause::Answering(_)) => {
            "exited, since the library had closed, replaced or shut down its connection to the job server,".into()
        }
        (ExitStatus::Exit(CONNECTION_BROKEN), ExitCause::OutsideJob) => {
            "exited, since one of its last jobs had closed, replaced or shut down its connection to the job server,"
                .into()
        }
        (end, _) => {
            format!("{end}{}", exit_report.out_of_memory.as_ref().map_or("", OutOfMemory::clause))
        }
    }
}

impl WorkerRecord {
    /// Why we killed it, if our signal did: SIGKILL, or SIGTERM for a job past its timeout. A draining worker that dies
    /// in any other way died by itself.
    pub(super) fn ended_by_us(&self, end: ExitStatus) -> Option<ExitReason> {
        match (self.state, end) {
            (WorkerState::Killed { reason }, ExitStatus::Signal(libc::SIGKILL)) => Some(reason),
            (
                WorkerState::Draining { reason: reason @ ExitReason::JobTimeout, .. },
                ExitStatus::Signal(libc::SIGTERM),
            ) => Some(reason),
            _ => None,
        }
    }

    /// The identity under which deaths in its job are counted; `server` is an index into the worker's configuration.
    pub(super) fn job(
        &self,
        job: &JobInHand,
        server: Option<usize>,
        workload: Option<WorkloadHash>,
    ) -> Option<CountedJob> {
        let function = &self.functions.get(job.function)?.function;
        CountedJob::of(function, server.and_then(|server| self.servers.get(server).copied()), job, workload)
    }

    /// The same, of the job that it died in.
    pub(super) fn counted_job(&self, job: &JobInHand, exit_report: &ExitReport) -> Option<CountedJob> {
        self.job(job, exit_report.server, exit_report.workload)
    }
}
