//! The events about the queues of the job servers.

use serde::Serialize;

use super::line::counted;
use crate::plugins::name::FunctionName;

/// A queue that has grown while all workers of its function were busy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct GrowingQueue {
    /// The function.
    pub function: FunctionName,
    /// The job server, as configured.
    pub server: String,
    /// Jobs that wait there.
    pub waiting: u64,
    /// Jobs that waited before.
    pub before: u64,
    /// How long ago that was, in seconds.
    pub seconds: f64,
    /// The function's workers that the server answers.
    pub workers: usize,
}

impl GrowingQueue {
    pub(super) fn line(&self) -> String {
        let Self { function, server, waiting, before, seconds, workers } = self;
        let busy = if *workers == 1 {
            "its only worker is busy".into()
        } else {
            format!("all its {workers} workers are busy")
        };
        format!(
            "{function}: {} at job server {server}, {before} did {seconds:.0} s ago, and {busy}: it needs more workers (the \
             command `scale`, or dedicated_count)",
            wait(*waiting)
        )
    }
}

/// Jobs that no worker takes, although some are idle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UntakenJobs {
    /// The function.
    pub function: FunctionName,
    /// The job server, as configured.
    pub server: String,
    /// Jobs that wait there.
    pub waiting: u64,
    /// How long none was taken, in seconds.
    pub seconds: f64,
    /// Workers of the function that the server answers and that have no job.
    pub idle: usize,
}

impl UntakenJobs {
    pub(super) fn line(&self) -> String {
        let Self { function, server, waiting, seconds, idle } = self;
        format!(
            "{function}: {} at job server {server} although {} idle, and none was taken for {seconds:.0} s: it has not woken \
             the workers, which ask by themselves every echo_interval, or the jobs were submitted for a later time",
            wait(*waiting),
            are(*idle)
        )
    }
}

/// A function that no worker serves, here or elsewhere.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UnservedFunction {
    /// The function.
    pub function: FunctionName,
    /// The job servers that say so, as configured.
    pub servers: Vec<String>,
    /// Jobs that wait there.
    pub waiting: u64,
    /// For how long, in seconds.
    pub seconds: f64,
    /// Why no worker here serves it: a clause.
    pub reason: String,
}

impl UnservedFunction {
    pub(super) fn line(&self) -> String {
        let Self { function, servers, waiting, seconds, reason } = self;
        let jobs = if *waiting == 0 { String::new() } else { format!(", where {}", wait(*waiting)) };
        format!(
            "{function}: no worker of any host has served it at {} for {seconds:.0} s{jobs}: {reason}",
            servers.join(", ")
        )
    }
}

/// What was wrong with a queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum QueueCondition {
    /// [`GrowingQueue`].
    Growing,
    /// [`UntakenJobs`].
    NotTaken,
    /// [`UnservedFunction`].
    Unserved,
}

/// A condition of a queue that was reported and is over.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct RecoveredQueue {
    /// The function.
    pub function: FunctionName,
    /// The job server, as configured; `None` for one that nobody served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
    /// What it was.
    pub condition: QueueCondition,
    /// Jobs that wait there now.
    pub waiting: u64,
    /// How long it lasted, in seconds: for one that nobody served from its beginning, else from its report.
    pub seconds: f64,
}

impl RecoveredQueue {
    pub(super) fn line(&self) -> String {
        let Self { function, server, condition, waiting, seconds } = self;
        let server = server.as_deref().unwrap_or_default();
        match condition {
            QueueCondition::Growing => format!(
                "{function}: the queue at job server {server} no longer grows, after {seconds:.0} s; {}",
                wait(*waiting)
            ),
            QueueCondition::NotTaken => format!(
                "{function}: jobs at job server {server} no longer wait for idle workers, after {seconds:.0} s; {}",
                wait(*waiting)
            ),
            QueueCondition::Unserved => {
                format!("{function}: it is served again, after {seconds:.0} s without a worker of any host")
            }
        }
    }
}

/// `1 job waits`, `2 jobs wait`.
pub(crate) fn wait(jobs: u64) -> String {
    format!("{} {}", counted(jobs, "job"), if jobs == 1 { "waits" } else { "wait" })
}

/// `1 worker is`, `2 workers are`.
pub(crate) fn are(workers: usize) -> String {
    format!("{} {}", counted(workers, "worker"), if workers == 1 { "is" } else { "are" })
}
