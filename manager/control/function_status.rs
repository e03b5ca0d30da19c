//! What a status says about a function.

use serde::{Deserialize, Serialize};

use super::failures::{FailureRateStatus, LastFailureStatus};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// A function.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FunctionStatus {
    /// The name jobs ask for.
    pub name: FunctionName,
    /// The stored library: first 12 hex digits of its hash; empty if none is served.
    #[serde(with = "version_or_empty")]
    #[cfg_attr(test, schemars(with = "String"))]
    pub version: Option<ShortHash>,
    /// The version its author gave it.
    pub crate_version: String,
    /// When the manager first stored this version, local time.
    #[serde(default)]
    pub version_stored: Option<String>,
    /// Whether a rollback holds it at this version until its file changes.
    #[serde(default)]
    pub pinned: bool,
    /// What is happening with it.
    #[serde(default)]
    pub state: FunctionState,
    /// Workers that serve it now.
    pub workers_ready: usize,
    /// Workers that the plan has for it.
    pub workers_planned: usize,
    /// Its workers that run a job now, whether or not the job is one of this function.
    #[serde(default)]
    pub workers_busy: usize,
    /// Its jobs that run now.
    #[serde(default)]
    pub jobs_running: usize,
    /// The one of these that has run longest.
    #[serde(default)]
    pub longest_job: Option<RunningJobStatus>,
    /// Its jobs that ended in the last minute; `null` until there is something to compare with.
    #[serde(default)]
    pub last_minute: Option<LastMinuteStatus>,
    /// How long jobs of the version in service have run; `null` if none has ended.
    #[serde(default)]
    pub run_time: Option<RunTimeStatus>,
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

/// What is happening with a function. If it is several things, the one that matters most.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum FunctionState {
    /// Workers take jobs of it.
    Serving,
    /// No worker takes jobs of it until it is resumed.
    Paused {
        /// The user who paused it.
        by: String,
        /// Since when, local time.
        since: String,
    },
    /// No worker is planned for it.
    NotOffered {
        /// Why not.
        why: String,
    },
    /// It failed, and no worker is started with it before this time.
    BackingOff {
        /// The next start, local time.
        until: String,
        /// How long until then.
        seconds: f64,
        /// What failed.
        why: String,
    },
    /// No worker takes jobs of it yet.
    Starting {
        /// What is being waited for.
        why: String,
    },
    /// A new version is being tried alongside the one in service.
    Canary {
        /// The new version.
        version: ShortHash,
    },
    /// Workers with its new version replace the others.
    RollingOut {
        /// Those that take jobs.
        workers_new: usize,
        /// All that are planned.
        workers_planned: usize,
    },
    /// It cannot be started, or at least half of its latest jobs had no result.
    Failing {
        /// Why.
        why: String,
    },
    /// Something that a later manager reports.
    #[default]
    #[serde(other)]
    Unknown,
}

/// A job that runs now.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunningJobStatus {
    /// The pid of its worker.
    pub pid: u32,
    /// Its handle at its server.
    pub handle: Option<String>,
    /// Its unique id, as its client gave it.
    pub unique: Option<String>,
    /// How long it has run.
    pub seconds: f64,
}

/// Jobs that ended in the last minute.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LastMinuteStatus {
    /// The length of that minute: the totals are compared with those recorded closest to a minute ago, and they are
    /// recorded at each re-scan and with each status.
    pub seconds: f64,
    /// Jobs that ended with a result.
    pub completed: u64,
    /// Jobs that failed, crashed or timed out.
    pub failed: u64,
}

/// How long jobs of one version have run, over all its workers so far. The times are estimates: they are counted by
/// powers of two.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RunTimeStatus {
    /// The version.
    pub version: ShortHash,
    /// How many jobs that is.
    pub jobs: u64,
    /// Half of them took no longer.
    pub p50_seconds: f64,
    /// 99 of 100 of them took no longer.
    pub p99_seconds: f64,
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
