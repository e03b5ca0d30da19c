//! A connection that the plugin has broken: closed, replaced by something else, or shut down.
//!
//! A worker that can no longer answer a job ends as if the job had crashed it. So its death is counted, and the
//! manager, which has a copy of the connection, may answer instead. A worker that went on would be given the job again.

use std::time::Duration;

use super::serve::Worker;
use crate::system::exit;
use crate::worker::CONNECTION_BROKEN;

/// The last job that was run. Its handle stays on the scoreboard until the next one begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastJob {
    /// The worker's number of it.
    pub number: u64,
    /// Number of the connection it came over.
    pub connection: u32,
    /// When the system had taken its whole answer.
    pub sent: Option<Duration>,
}

impl Worker {
    /// Ends the process where a connection is lost by the doing of the last job, if its server may not have the answer.
    pub(super) fn exit_if_broken_by_plugin(&mut self, server: usize) {
        let Some(connection) = self.sessions[server].connection_ref() else { return };
        let Some(job) = self.answering.last_job.filter(|job| job.connection == connection.number) else { return };
        let is_confirmed = job.sent.is_some_and(|sent| connection.protocol.has_received_since(sent));
        if is_confirmed || !connection.is_broken_by_plugin() {
            return;
        }
        self.runner.scoreboard.returned();
        let handle = String::from_utf8_lossy(&self.runner.last.handle);
        let text = format!(
            "job {handle} cannot be answered: the library has closed, replaced or shut down the worker's connection to \
             the job server; the worker ends"
        );
        self.manager_link.log(1, None, &text);
        exit::now(CONNECTION_BROKEN);
    }
}
