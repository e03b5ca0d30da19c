//! What a status says about a job server.

use serde::{Deserialize, Serialize};

/// A job server.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct JobServerStatus {
    /// Host and port as configured.
    pub address: String,
    /// Whether it answers.
    #[serde(default)]
    pub state: JobServerState,
    /// How long ago it last answered a worker: 0 while workers are connected, `null` if it never has.
    #[serde(default)]
    pub last_answer_seconds_ago: Option<f64>,
    /// Workers with a working connection.
    pub workers_connected: usize,
    /// Workers that should have one.
    pub workers: usize,
    /// Jobs that waited there until a sleeping worker asked by itself, since no wake-up had come.
    #[serde(default)]
    pub lost_wake_ups: u64,
}

/// Whether a job server answers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum JobServerState {
    /// No worker has reported about it yet.
    Connecting,
    /// It answers.
    Up {
        /// Since when, local time.
        since: String,
        /// How long it has.
        seconds: f64,
    },
    /// It answers no worker.
    Down {
        /// Since when, local time.
        since: String,
        /// How long it has not.
        seconds: f64,
        /// Why the connection was lost, or could not be made.
        why: String,
    },
    /// Something that a later manager reports.
    #[default]
    #[serde(other)]
    Unknown,
}
