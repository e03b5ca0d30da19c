//! What a status says about workers.

use serde::{Deserialize, Serialize};

use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum WorkerCondition {
    /// Its libraries are being loaded.
    Starting,
    /// It connects to the job servers.
    Connecting,
    /// It could take jobs, and waits until it is needed.
    Ready,
    /// It registers its functions.
    Activating,
    /// It takes jobs, and has none.
    Idle,
    /// It takes jobs, but no job server answers it, although they answer other workers.
    CutOff,
    /// It takes jobs, and runs one.
    Busy,
    /// It takes no more jobs, and exits after the one in hand.
    Draining,
    /// It is being killed.
    Killed,
    /// Something that a later manager reports.
    #[serde(other)]
    Unknown,
}

impl WorkerCondition {
    /// The word in text and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Connecting => "connecting",
            Self::Ready => "ready",
            Self::Activating => "activating",
            Self::Idle => "idle",
            Self::CutOff => "cut_off",
            Self::Busy => "busy",
            Self::Draining => "draining",
            Self::Killed => "killed",
            Self::Unknown => "unknown",
        }
    }
}

/// A worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkerStatus {
    /// Its pid.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerCondition,
    /// For how long.
    #[serde(default)]
    pub state_seconds: f64,
    /// The functions it serves.
    pub functions: Vec<FunctionName>,
    /// The version of each of these, in the same order.
    #[serde(default)]
    pub versions: Vec<ShortHash>,
    /// The function of its job.
    pub current_function: Option<FunctionName>,
    /// The job's handle at its server.
    pub handle: Option<String>,
    /// The job's unique id, as its client gave it.
    #[serde(default)]
    pub unique: Option<String>,
    /// How long the job has run.
    pub job_seconds: Option<f64>,
    /// Counts starts of workers, not deploys.
    pub generation: u64,
    /// Jobs it has run to their end, with a result or a failure.
    pub jobs: u64,
    /// Its age.
    pub started_seconds_ago: u64,
    /// Its resident memory in bytes; `null` if the system does not say.
    #[serde(default)]
    pub memory_bytes: Option<u64>,
    /// How long ago its last job ended; `null` if none has.
    #[serde(default)]
    pub last_job_ended_seconds_ago: Option<f64>,
    /// How long ago it last received something from a job server, as of its last look at all of them; `null` if it has
    /// not yet. One that waits for jobs hears from each server every `echo_interval`.
    #[serde(default)]
    pub last_server_contact_seconds_ago: Option<f64>,
}

impl WorkerStatus {
    /// Whether it runs a job, even if it is draining.
    pub(crate) fn is_busy(&self) -> bool {
        self.state == WorkerCondition::Busy || self.job_seconds.is_some()
    }
}

/// How many workers there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct WorkerCounts {
    /// All that have a process.
    pub all: usize,
    /// Those that take jobs, whether or not they run one.
    pub ready: usize,
    /// Those that run a job, even if they take no more.
    pub busy: usize,
    /// Those that are one or the other.
    pub ready_or_busy: usize,
}
