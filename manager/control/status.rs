//! The reply to a status request.

use serde::{Deserialize, Serialize};

use super::failures::{FailedReloadStatus, FailureRateStatus, LastFailureStatus};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// What the manager is doing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StatusReply {
    /// gm-native's version.
    pub version: String,
    /// The manager's pid.
    pub pid: u32,
    /// The instance's name, from its config file.
    pub instance: String,
    /// The command that addresses it, to which a command is added: `gm-native -c /etc/gm.ini`.
    #[serde(default)]
    pub command: String,
    /// Since the manager's start.
    pub uptime_seconds: u64,
    /// The state of the manager as a whole.
    pub state: ManagerState,
    /// The job servers of the config.
    pub job_servers: Vec<JobServerStatus>,
    /// The functions that are served or should be.
    pub functions: Vec<FunctionStatus>,
    /// Files in worker_dir that are not served.
    pub refused: Vec<RefusedFile>,
    /// Other conditions that need attention, a sentence each.
    #[serde(default)]
    pub warnings: Vec<String>,
    /// The workers.
    pub workers: Vec<WorkerStatus>,
    /// The last reload, if it failed.
    #[serde(default)]
    pub failed_reload: Option<FailedReloadStatus>,
    /// Processes that plugins left behind and that have ended: the manager became their parent.
    #[serde(default)]
    pub orphans_reaped: u64,
}

/// The state of the manager as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ManagerState {
    /// The first workers are not ready yet.
    Starting,
    /// The usual state.
    Running,
    /// It accepts no new jobs, and exits when the running ones have ended.
    Draining,
}

impl ManagerState {
    /// The word in text and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Draining => "draining",
        }
    }
}

/// A job server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobServerStatus {
    /// Host and port as configured.
    pub address: String,
    /// Workers with a working connection.
    pub workers_connected: usize,
    /// Workers that should have one.
    pub workers: usize,
    /// Jobs that waited there until a sleeping worker asked by itself, since no wake-up had come.
    #[serde(default)]
    pub lost_wake_ups: u64,
}

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FunctionStatus {
    /// The name jobs ask for.
    pub name: FunctionName,
    /// The stored library: first 12 hex digits of its hash; empty if none is served.
    #[serde(with = "version_or_empty")]
    pub version: Option<ShortHash>,
    /// The version its author gave it.
    pub crate_version: String,
    /// Workers that serve it now.
    pub workers_ready: usize,
    /// Workers that the plan has for it.
    pub workers_planned: usize,
    /// Jobs that ended with a result since the manager's start. Each run of a job counts in one of these four numbers.
    pub jobs_completed: u64,
    /// Jobs whose function returned a failure or panicked.
    pub jobs_failed: u64,
    /// Jobs in which their worker died.
    pub jobs_crashed: u64,
    /// Jobs whose worker was killed because they had exceeded their timeout.
    pub jobs_timed_out: u64,
    /// While jobs fail: how many of the latest ones did.
    pub failing: Option<FailureRateStatus>,
    /// The last job without a result, since the manager's start.
    pub last_failure: Option<LastFailureStatus>,
    /// How long until the next worker is started, during a back-off.
    pub backing_off_seconds: Option<f64>,
    /// Other files in worker_dir for this function, which are not served.
    #[serde(default)]
    pub ignored_files: Vec<String>,
    /// The user who has paused it, if it is paused: no worker takes jobs of it.
    #[serde(default)]
    pub paused_by: Option<String>,
    /// Since when, local time.
    #[serde(default)]
    pub paused_since: Option<String>,
    /// How many workers it has on request, until the next reload.
    #[serde(default)]
    pub scaled_to: Option<u32>,
    /// What is wrong with its queues at the job servers, a clause each. They are part of the note, too.
    #[serde(default)]
    pub queue_warnings: Vec<String>,
    /// What an operator should know about it.
    pub note: Option<String>,
}

/// A version that may be missing: then the text is empty.
mod version_or_empty {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use crate::plugins::content_hash::ShortHash;

    pub(super) fn serialize<S: Serializer>(version: &Option<ShortHash>, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&version.map(String::from).unwrap_or_default())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ShortHash>, D::Error> {
        let text = String::deserialize(deserializer)?;
        (!text.is_empty()).then(|| ShortHash::try_from(text)).transpose().map_err(D::Error::custom)
    }
}

/// A file in worker_dir that is not served.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RefusedFile {
    /// The file.
    pub path: String,
    /// Why not, and what to do.
    pub reason: String,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
pub struct WorkerStatus {
    /// Its pid.
    pub pid: u32,
    /// What it is doing.
    pub state: WorkerCondition,
    /// The functions it serves.
    pub functions: Vec<FunctionName>,
    /// The function of its job.
    pub current_function: Option<FunctionName>,
    /// The job's handle at its server.
    pub handle: Option<String>,
    /// How long the job has run.
    pub job_seconds: Option<f64>,
    /// Counts starts of workers, not deploys.
    pub generation: u64,
    /// Jobs it has run to their end, with a result or a failure.
    pub jobs: u64,
    /// Its age.
    pub started_seconds_ago: u64,
}

impl WorkerStatus {
    /// Whether it runs a job, even if it is draining.
    pub(crate) fn is_busy(&self) -> bool {
        self.state == WorkerCondition::Busy || self.job_seconds.is_some()
    }
}
