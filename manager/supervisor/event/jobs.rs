//! The events about jobs: one past its timeout, those of a function that fails, and one that a stop waits for.

use serde::Serialize;

use super::line::{counted, job_name};
use crate::crash::quarantine::QuarantinedJob;
use crate::crash::record_id::RecordId;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// A job whose worker is asked to stop, and killed if it does not.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EndingJob {
    /// The worker's process.
    #[serde(skip)]
    pub pid: i32,
    /// The job's function.
    pub function: FunctionName,
    /// The job's handle.
    pub handle: String,
    /// The job's unique id.
    pub unique: String,
    /// How long it has run, in seconds.
    pub seconds: f64,
    /// How long it is given to end, in seconds.
    pub grace: f64,
}

impl EndingJob {
    /// A job that is past its timeout.
    pub(super) fn overdue_line(&self, timeout: f64) -> String {
        let Self { pid, function, seconds, grace, .. } = self;
        format!(
            "{function}: {} has run for {seconds:.3} s in worker {pid}, past its timeout of {timeout} s: the worker is \
             asked to stop, and killed in {grace} s",
            self.job_name()
        )
    }

    /// A job that `kill` ends.
    pub(super) fn on_request_line(&self) -> String {
        let Self { pid, function, seconds, grace, .. } = self;
        format!(
            "{function}: {}, which has run for {seconds:.3} s in worker {pid}, is to end on request: the worker is \
             asked to stop, and killed in {grace} s",
            self.job_name()
        )
    }

    fn job_name(&self) -> String {
        job_name(&self.handle, &self.unique)
    }
}

/// A function whose jobs fail.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct FailingFunction {
    /// The function.
    pub function: FunctionName,
    /// The version that ran the last of them.
    pub version: ShortHash,
    /// The handle of the last of them.
    pub handle: String,
    /// Why it failed.
    pub reason: String,
    /// How many of the latest jobs had no result: they failed, crashed or timed out.
    pub failed: u64,
    /// How many there were.
    pub jobs: u64,
    /// Over how long, in seconds.
    pub seconds: f64,
}

impl FailingFunction {
    pub(super) fn line(&self) -> String {
        let Self { function, version, handle, reason, failed, jobs, seconds } = self;
        let over = if *seconds < 1.0 { String::new() } else { format!(" in {seconds:.0} s") };
        let job = job_name(handle, "");
        format!(
            "{function}: {failed} of {jobs} jobs failed{over}; the last, {job} in version {version}, with: {reason}"
        )
    }
}

/// A function whose jobs failed, and no longer do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RecoveredFunction {
    /// The function.
    pub function: FunctionName,
    /// How many jobs had no result meanwhile.
    pub failed: u64,
    /// How many there were.
    pub jobs: u64,
    /// Since the first of them, in seconds.
    pub seconds: f64,
}

impl RecoveredFunction {
    pub(super) fn line(&self) -> String {
        let Self { function, failed, jobs, seconds } = self;
        format!("{function}: no job fails any more; {failed} of {jobs} jobs failed in {seconds:.0} s")
    }
}

/// A job that a draining manager waits for.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct AwaitedJob {
    /// Its function.
    pub function: Option<FunctionName>,
    /// Its handle.
    pub handle: String,
    /// How long it has run, in seconds.
    pub seconds: f64,
}

/// A job that has killed as many workers as it may.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct QuarantineEvent {
    /// Its id in quarantine.
    pub quarantine: RecordId,
    /// Its function.
    pub function: FunctionName,
    /// Its handle.
    pub handle: String,
    /// Its unique id.
    pub unique: String,
    /// The job server that it came from.
    pub server: String,
    /// Workers that it has killed.
    pub deaths: u32,
    /// Whether its whole workload is kept.
    pub workload_kept: bool,
}

impl QuarantineEvent {
    /// The event of a job that is kept, with its workload or without.
    pub(crate) fn of(job: &QuarantinedJob, workload_kept: bool) -> Self {
        Self {
            quarantine: job.id,
            function: job.function.clone(),
            handle: job.handle.clone(),
            unique: job.unique.clone(),
            server: job.server.clone(),
            deaths: job.deaths,
            workload_kept,
        }
    }

    pub(super) fn line(&self) -> String {
        let Self { quarantine, function, handle, unique, server, deaths, workload_kept } = self;
        let workload = if *workload_kept { "" } else { ", without its workload" };
        format!(
            "{function}: {} of {server} has killed {}: it is in quarantine as {quarantine}{workload}",
            job_name(handle, unique),
            counted(*deaths as usize, "worker")
        )
    }
}
