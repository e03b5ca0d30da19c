//! A job that has killed as many workers as it may, as it is kept in `state_dir/quarantine/ID.json`.

use serde::{Deserialize, Serialize};

use super::files::Record;
use super::record_id::RecordId;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// A job in quarantine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuarantinedJob {
    /// Its id, and the name of its files.
    pub id: RecordId,
    /// When it was put there, as RFC 3339.
    pub time: String,
    /// Its function.
    pub function: FunctionName,
    /// Its handle.
    pub handle: String,
    /// Its unique id; empty where its client gave none.
    pub unique: String,
    /// The job server that it came from, as configured.
    pub server: String,
    /// The version of the function that it killed last.
    #[serde(default)]
    pub version: Option<ShortHash>,
    /// Workers that it has killed.
    pub deaths: u32,
    /// How the last one ended, and what else was logged.
    pub cause: String,
    /// The crash report of the last one.
    #[serde(default)]
    pub report: Option<RecordId>,
    /// The size of its workload in bytes, where that is known.
    #[serde(default)]
    pub workload_size: Option<u64>,
    /// Whether the whole workload is beside it.
    #[serde(default)]
    pub workload_kept: bool,
    /// Why it is not.
    #[serde(default)]
    pub workload_note: Option<String>,
    /// SHA-256 of the workload, if it is whole.
    #[serde(default)]
    pub sha256: Option<String>,
}

impl Record for QuarantinedJob {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "job in quarantine";
}
