//! Deadlines of what children do. None is judged on news that is older than itself: the loop asks whose deadlines are
//! over ([`Core::to_hear`]), reads what these have said and whether they have ended, and says only then what time it is
//! ([`Input::Timer`](super::Input::Timer)). So nobody is late because the manager was stopped, or had no processor.

use std::time::Duration;

use super::{Core, Worker};
use crate::supervisor::life::Life;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::restart::Backoff;

impl Core {
    /// The workers to hear before the time is said to be `at`.
    pub fn to_hear(&self, at: Duration) -> Vec<WorkerId> {
        let is_over = |due: Duration| due > self.heard && due <= at;
        let concerns_all = self.startup_due().chain(self.reading_due()).any(is_over);
        let trial = self.longest_trial();
        let is_concerned = |worker: &Worker| {
            (concerns_all && !worker.life.is_serving()) || self.deadlines(worker, trial).into_iter().any(is_over)
        };
        self.workers.iter().filter(|(_, worker)| is_concerned(worker)).map(|(id, _)| *id).collect()
    }

    /// When the next deadlines of what children do are over.
    pub(super) fn deadlines_due(&self) -> impl Iterator<Item = Duration> {
        let trial = self.longest_trial();
        let own = self.workers.values().flat_map(move |worker| self.deadlines(worker, trial));
        own.chain(self.startup_due()).chain(self.reading_due()).filter(|at| *at > self.heard)
    }

    /// The moments by which something is expected of a worker.
    fn deadlines(&self, worker: &Worker, trial: Duration) -> Vec<Duration> {
        let other = match worker.life {
            Life::Starting { .. } => worker.slow_at(),
            // Whoever waits for the others to have settled waits for that.
            Life::Loaded { since } => Some(since.saturating_add(self.config.connect_timeout)),
            Life::Serving { since } if !trial.is_zero() => Some(since.saturating_add(trial)),
            _ => None,
        };
        let watched = match (&worker.trial, worker.life) {
            (Some(tried), Life::Serving { since }) => {
                tried.iter().map(|(name, _)| since.saturating_add(self.config.canary_seconds(name))).max()
            }
            _ => None,
        };
        worker.life.deadline().into_iter().chain(other).chain(watched).collect()
    }

    fn longest_trial(&self) -> Duration {
        let failing = self.functions_failing.values().chain(self.groups_failing.values());
        failing.map(Backoff::trial).max().unwrap_or_default()
    }
}
