//! What a worker logs about its jobs and about what job servers send.

use std::time::Duration;

use crate::scoreboard::JobEnd;
use crate::system::clock;
use crate::worker::log_rate_limit::{LogPermit, PERIOD};
use crate::worker::manager_link::cut;
use crate::worker::messages::JobName;
use crate::worker::plugin::{PluginOutcome, explain};
use crate::worker::serve::Worker;

/// Levels of what a worker itself logs of its jobs, as in
/// [`WorkerMessage::Log`](crate::worker::messages::WorkerMessage::Log).
const WORKER: u8 = 3;
pub(super) const DEBUG: u8 = 4;
/// A job's handle is cut here, in bytes.
const HANDLE_CUT: usize = 2048;

impl Worker {
    /// Logs a line about what a server sent, subject to the rate limit.
    pub(super) fn note(&mut self, server: usize, text: &str) {
        let session = &mut self.sessions[server];
        let Some(LogPermit { skipped, is_last }) = session.log_permit(clock::now()) else { return };
        let mut about = session.name.clone();
        if skipped > 0 {
            about += &format!(", {skipped} lines later");
        }
        if is_last {
            about += &format!(" (no more of these for {} s)", PERIOD.as_secs());
        }
        self.manager_link.log(2, None, &format!("job server {about}: {text}"));
    }

    /// Logs the result of a job, at -vvvv. Called before sending, since the sender then owns what is pending.
    pub(super) fn log_result(&self, end: &JobEnd, outcome: &PluginOutcome) {
        if self.manager_link.wants(DEBUG)
            && let (Some(function), Ok(result)) = (self.runner.functions.get(end.function), outcome)
        {
            self.manager_link.log_bytes(job_name(&function.name, &self.runner.last.handle), "result", result);
        }
    }

    /// One line for each job at -vvv.
    pub(super) fn log_job(&self, end: &JobEnd, outcome: &PluginOutcome) {
        if !self.manager_link.wants(WORKER) {
            return;
        }
        let Some(function) = self.runner.functions.get(end.function) else { return };
        let job = job_name(&function.name, &self.runner.last.handle);
        let seconds = Duration::from_nanos(end.run_ns).as_secs_f64();
        let text = match outcome {
            Ok(_) => format!("done in {seconds:.6} s, {} bytes in, {} bytes out", end.bytes_in, end.bytes_out),
            Err(fail) => format!("failed after {seconds:.6} s: {}", explain(fail)),
        };
        self.manager_link.log(0, Some(job), &text);
    }

    /// A job that overwrote the scoreboard may have overwritten anything, so the worker is replaced.
    pub(super) fn log_overwritten(&self, end: &JobEnd) {
        let name = self.runner.functions.get(end.function).map_or("", |function| &function.name);
        let pid = std::process::id();
        let text = format!(
            "worker {pid}: its scoreboard was overwritten in this job: the library writes to memory that is not its own, and what it \
             returned may be wrong; the worker is replaced"
        );
        self.manager_link.log(1, Some(job_name(name, &self.runner.last.handle)), &text);
    }
}

pub(super) fn job_name(function: &str, handle: &[u8]) -> JobName {
    // A job's handle may be longer than a log line or a message allows.
    let handle = cut(&String::from_utf8_lossy(handle), HANDLE_CUT);
    JobName { function: function.to_owned(), handle }
}
