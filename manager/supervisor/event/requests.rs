//! The end of a rollback or a retry.

use serde::Serialize;

use super::line::{serving, still_draining};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// The version that every planned worker serves now, because a command asked for it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ServedVersion {
    /// The function.
    pub function: FunctionName,
    /// The number of the request.
    pub request: u64,
    /// The version.
    pub version: ShortHash,
    /// Workers that serve it.
    pub workers: usize,
    /// Workers with other versions that are still finishing a job.
    pub draining: usize,
    /// Since the request, in seconds.
    pub seconds: f64,
}

impl ServedVersion {
    /// The line; `command` is the command that asked for the version.
    pub(super) fn line(&self, command: &str) -> String {
        let Self { function, version, workers, draining, seconds, .. } = self;
        let (workers, old) = (serving(*workers), still_draining(*draining));
        format!("{function}: {command}: {workers} version {version} after {seconds:.3} s{old}")
    }
}
