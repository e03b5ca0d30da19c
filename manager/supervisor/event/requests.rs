//! What commands ask for, and how that ends.

use serde::Serialize;

use super::line::{serving, still_draining};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// A request of a command.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct ReceivedRequest {
    /// Its number: the event that ends it has it, too.
    pub request: u64,
    /// The command.
    pub command: &'static str,
    /// To what it applies, if not to the manager.
    pub target: Option<String>,
    /// The name of the user who asks, or `uid N`.
    pub user: String,
    /// That user.
    pub uid: u32,
}

impl ReceivedRequest {
    pub(super) fn line(&self) -> String {
        let Self { command, target, user, .. } = self;
        format!("{}: requested by {user}", command_line(command, target.as_deref()))
    }
}

/// A request of a command that has ended.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct EndedRequest {
    /// Its number.
    pub request: u64,
    /// The command.
    pub command: &'static str,
    /// To what it applies, if not to the manager.
    pub target: Option<String>,
    /// What was achieved, or why nothing was: a clause.
    pub result: String,
    /// Since the request, in seconds.
    pub seconds: f64,
}

impl EndedRequest {
    pub(super) fn finished_line(&self) -> String {
        let Self { command, target, result, seconds, .. } = self;
        format!("{}: {result}, after {seconds:.3} s", command_line(command, target.as_deref()))
    }

    pub(super) fn failed_line(&self) -> String {
        let Self { command, target, result, .. } = self;
        format!("{} failed: {result}", command_line(command, target.as_deref()))
    }
}

/// A function that is paused: reported when that begins, and every hour.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct PausedFunction {
    /// The function.
    pub function: FunctionName,
    /// The user.
    pub by: String,
    /// Local time.
    pub since: String,
}

impl PausedFunction {
    pub(super) fn line(&self) -> String {
        let Self { function, by, since } = self;
        format!("{function}: paused by {by} since {since}: no worker takes jobs of it until it is resumed")
    }
}

/// `restart resize`.
fn command_line(command: &str, target: Option<&str>) -> String {
    target.map_or_else(|| command.to_owned(), |target| format!("{command} {target}"))
}

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
    /// Why it was rejected before, if no job has shown since that it works.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rejected: Option<String>,
}

impl ServedVersion {
    /// The line; `command` is the command that asked for the version.
    pub(super) fn line(&self, command: &str) -> String {
        let Self { function, version, workers, draining, seconds, rejected, .. } = self;
        let (workers, old) = (serving(*workers), still_draining(*draining));
        let rejected = rejected.as_ref().map_or(String::new(), |reason| format!("; it was rejected before: {reason}"));
        format!("{function}: {command}: {workers} version {version} after {seconds:.3} s{old}{rejected}")
    }
}
