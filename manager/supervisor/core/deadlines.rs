//! Deadlines of workers. No deadline is checked against older messages: the loop asks which workers are past one
//! ([`Core::workers_to_read`]), reads their messages and reaps those that have exited, and only then passes the time
//! ([`Input::Timer`](super::Input::Timer)). So no worker is late because the manager was stopped or starved.

use std::time::Duration;

use super::{Core, WorkerRecord};
use crate::supervisor::backoff::Backoff;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;

impl Core {
    /// The workers with a deadline by `at`: the loop reads their messages before it passes that time.
    pub(crate) fn workers_to_read(&self, at: Duration) -> Vec<WorkerId> {
        let is_over = |due: Duration| due > self.read && due <= at;
        let concerns_all = self.startup_due().chain(self.reading_due()).any(is_over);
        let probation = self.longest_probation();
        let is_concerned = |worker: &WorkerRecord| {
            (concerns_all && !worker.state.is_serving()) || self.deadlines(worker, probation).into_iter().any(is_over)
        };
        self.workers.iter().filter(|(_, worker)| is_concerned(worker)).map(|(id, _)| *id).collect()
    }

    /// When the next deadlines for children are over.
    pub(super) fn deadlines_due(&self) -> impl Iterator<Item = Duration> {
        let probation = self.longest_probation();
        let own = self.workers.values().flat_map(move |worker| self.deadlines(worker, probation));
        own.chain(self.startup_due()).chain(self.reading_due()).filter(|at| *at > self.read)
    }

    /// The times by which a worker is expected to do something.
    fn deadlines(&self, worker: &WorkerRecord, probation: Duration) -> Vec<Duration> {
        let other = match worker.state {
            WorkerState::Starting { .. } => worker.slow_at(),
            // Others may wait until this one is connected.
            WorkerState::Loaded { since } => Some(since.saturating_add(self.config.connect_timeout)),
            WorkerState::Serving { since } if !probation.is_zero() => Some(since.saturating_add(probation)),
            _ => None,
        };
        let watched = match (&worker.canary, worker.state) {
            (Some(tried), WorkerState::Serving { since }) => {
                tried.iter().map(|new| since.saturating_add(self.config.canary_seconds(&new.function))).max()
            }
            _ => None,
        };
        worker.state.deadline().into_iter().chain(other).chain(watched).collect()
    }

    fn longest_probation(&self) -> Duration {
        let failing = self.failures.backoffs();
        failing.map(Backoff::probation).max().unwrap_or_default()
    }
}
