//! A connection that the plugin has broken: closed, replaced by something else, or shut down.
//!
//! A worker that can no longer answer a job exits as if the job had crashed it. So the death is counted, and the
//! manager, which has a copy of the connection, can answer instead. If the worker continued, it would be given the job
//! again.

use std::time::Duration;

use super::serve::Worker;
use crate::scoreboard::WorkerActivity;
use crate::system::{child_exit, clock};
use crate::worker::CONNECTION_BROKEN;

/// The last job that was run. Its handle stays on the scoreboard until the next one begins.
#[derive(Debug, Clone, Copy)]
pub(super) struct LastJob {
    /// The worker's number for it.
    pub number: u64,
    /// Number of the connection it came over.
    pub connection: u32,
    /// How long its function ran.
    pub ran: Duration,
    /// When the kernel had taken its whole answer.
    pub sent: Option<Duration>,
}

/// Which job broke a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Suspect {
    /// None: the server has the answers to all jobs that could have.
    NoJob,
    /// The last job.
    LastJob,
    /// One of this many last jobs.
    OneOf(u32),
}

/// `unconfirmed`: how many jobs of the connection ran since anything was last received from its server.
/// `last_is_confirmed`: whether anything was received since the kernel took the last job's answer; `None` if that job
/// came over another connection.
fn suspect(unconfirmed: u32, last_is_confirmed: Option<bool>) -> Suspect {
    match (unconfirmed, last_is_confirmed) {
        (2.., _) => Suspect::OneOf(unconfirmed),
        (_, Some(false)) => Suspect::LastJob,
        (_, Some(true) | None) => Suspect::NoJob,
    }
}

impl Worker {
    /// Exits the process if a job has broken the connection and its server may not have the answer.
    pub(super) fn exit_if_broken_by_plugin(&mut self, server: usize) {
        let session = &self.sessions[server];
        let Some(connection) = session.connection_ref() else { return };
        let last = self.answering.last_job.filter(|job| job.connection == connection.number);
        let is_confirmed = |job: LastJob| job.sent.is_some_and(|sent| connection.protocol.has_received_since(sent));
        let suspect = suspect(connection.protocol.unconfirmed_jobs(), last.map(is_confirmed));
        if suspect == Suspect::NoJob || !connection.is_broken_by_plugin() {
            return;
        }
        let text = match suspect {
            Suspect::OneOf(jobs) => {
                // The running job must not be blamed for another, so the worker exits as if it were idle.
                self.runner.scoreboard.activity(WorkerActivity::Idle);
                format!(
                    "in one of the last {jobs} jobs, the library closed, replaced or shut down the worker's connection to \
                     job server {}; the worker ends, and jobs without an answer are run again",
                    session.name
                )
            }
            Suspect::LastJob | Suspect::NoJob => {
                self.runner.scoreboard.returned_after(last.map_or(Duration::ZERO, |job| job.ran), clock::now());
                let handle = String::from_utf8_lossy(&self.runner.last.handle);
                format!(
                    "job {handle} cannot be answered: the library has closed, replaced or shut down the worker's \
                     connection to the job server; the worker ends"
                )
            }
        };
        self.manager_link.log(1, None, &text);
        child_exit::now(CONNECTION_BROKEN);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_job_whose_answer_is_the_only_unconfirmed_one_is_blamed() {
        for (name, unconfirmed, last_is_confirmed, expected) in [
            ("nothing ran here since the server sent something", 0, None, Suspect::NoJob),
            ("its answer arrived", 0, Some(true), Suspect::NoJob),
            ("its answer waits for room", 0, Some(false), Suspect::LastJob),
            ("the only one", 1, Some(false), Suspect::LastJob),
            ("a job of another connection ran behind it", 1, None, Suspect::NoJob),
            ("one of two", 2, Some(false), Suspect::OneOf(2)),
            ("one of several, and the last is another connection's", 8, None, Suspect::OneOf(8)),
        ] {
            assert_eq!(suspect(unconfirmed, last_is_confirmed), expected, "{name}");
        }
    }
}
