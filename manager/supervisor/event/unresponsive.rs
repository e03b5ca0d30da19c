//! The event about a worker that does not respond.

use serde::Serialize;

use super::line::several;
use crate::plugins::name::FunctionName;
use crate::system::process::RunState;

/// A worker that runs no job's function and does not respond.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct UnresponsiveWorker {
    /// Its process.
    #[serde(skip)]
    pub pid: i32,
    /// What it serves.
    pub functions: Vec<FunctionName>,
    /// How long it has been silent, in seconds.
    pub seconds: f64,
    /// What its process is doing.
    pub process: RunState,
    /// Whether it owes the answer of a job whose function has returned.
    #[serde(rename = "sending")]
    pub is_answering: bool,
    /// Whether it is killed. Otherwise it is left alone.
    #[serde(rename = "killed")]
    pub is_killed: bool,
}

impl UnresponsiveWorker {
    pub(super) fn line(&self) -> String {
        let Self { pid, functions, seconds, process, is_answering, is_killed } = self;
        let process = match process {
            RunState::Traced => "a debugger or another tracer is attached",
            RunState::Stopped => "it was stopped, by SIGSTOP or from a terminal",
            RunState::Uninterruptible => "it is stuck in a system call, in state D",
            RunState::Other => "its main thread is stuck in something else than a job's function",
        };
        let job = if *is_answering { "has a job's answer to send" } else { "has no job" };
        let next = if *is_killed { "it is killed and replaced" } else { "it is left alone" };
        format!(
            "{}: worker {pid} {job} and has not responded for {seconds:.0} s: {process}; {next}",
            several(functions)
        )
    }
}
