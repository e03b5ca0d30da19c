//! What a status says about failures: a function's failed jobs, and a failed reload.

use serde::{Deserialize, Serialize};

use crate::plugins::content_hash::ShortHash;

/// How many of the latest jobs of a function ended without a result: they failed, crashed or timed out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FailureRateStatus {
    /// Those without a result.
    pub failed: u64,
    /// All of them.
    pub jobs: u64,
    /// In which time: about a minute, or since failures began.
    pub seconds: f64,
    /// Whether half of them or more failed.
    pub high: bool,
}

/// A job that ended without a result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LastFailureStatus {
    /// failed, crashed or timed_out.
    pub kind: String,
    /// How long ago that was.
    pub seconds_ago: f64,
    /// The job's handle at its server.
    pub handle: String,
    /// The version that ran it.
    pub version: ShortHash,
    /// Why.
    pub reason: String,
}

/// A reload whose configuration could not be used: the previous one stays in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct FailedReloadStatus {
    /// How long ago.
    pub seconds_ago: f64,
    /// One sentence for each mistake, a line each.
    pub reason: String,
}
