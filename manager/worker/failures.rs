//! What a worker records about failed jobs: the reason of each function's last failure, on the scoreboard, and now and
//! then a message, so that the manager reads it. A job that succeeds costs nothing here.

use std::time::Duration;

use crate::scoreboard::{FAILURE_TEXT, JobEnd, LastFailure};
use crate::worker::manager_link::cut;
use crate::worker::messages::WorkerMessage;
use crate::worker::plugin::{PluginOutcome, explain};
use crate::worker::serve::Worker;

/// The interval between two messages about one function. After a message, the manager watches the counters for longer
/// than that.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// When failures of each function were reported last, by its place in the configuration.
#[derive(Debug, Default)]
pub(super) struct FailureReports(Vec<Option<Duration>>);

impl FailureReports {
    /// Whether a failure is to be reported now.
    fn is_due(&self, function: usize, now: Duration) -> bool {
        let last = self.0.get(function).copied().flatten();
        last.is_none_or(|last| now >= last.saturating_add(REPORT_EVERY))
    }

    fn reported(&mut self, function: usize, now: Duration) {
        if self.0.len() <= function {
            self.0.resize(function.saturating_add(1), None);
        }
        self.0[function] = Some(now);
    }
}

impl Worker {
    /// Records why a job failed, if it did.
    pub(super) fn record_failure(&self, end: &JobEnd, outcome: &PluginOutcome, now: Duration) {
        let Err(fail) = outcome else { return };
        let reason = cut(&explain(fail), FAILURE_TEXT);
        self.runner
            .scoreboard
            .failed(end.function, &LastFailure { at: now, handle: self.runner.last.handle.clone(), reason });
    }

    /// Asks the manager to read a counted failure, unless it was asked recently. Never blocks: if the manager does not
    /// read, the next failure is reported instead.
    pub(super) fn report_failure(&mut self, end: &JobEnd, now: Duration) {
        if end.succeeded
            || end.function >= self.runner.functions.len()
            || !self.answering.failure_reports.is_due(end.function, now)
        {
            return;
        }
        if self.manager_link.try_send(&WorkerMessage::JobFailed { function: end.function }) {
            self.answering.failure_reports.reported(end.function, now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_each_function_are_reported_at_most_once_in_a_while() {
        let at = Duration::from_secs;
        let mut reports = FailureReports::default();
        for (function, now, expected) in [
            (1, at(5), true),
            (1, at(6), false),
            (0, at(6), true),
            (1, at(14), false),
            (1, at(15), true),
            (1, at(16), false),
        ] {
            assert_eq!(reports.is_due(function, now), expected, "{function} at {now:?}");
            if expected {
                reports.reported(function, now);
            }
        }
    }
}
