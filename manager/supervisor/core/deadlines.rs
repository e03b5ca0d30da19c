//! Deadlines of workers. No deadline is checked against older messages: the loop asks which workers are past one
//! ([`Core::workers_to_read`]), reads their messages and reaps those that have exited, and only then passes the time
//! ([`Input::Timer`](super::Input::Timer)). So no worker is declared late because the manager was suspended or starved
//! of CPU.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Core;
use super::workers::DueTime;
use crate::supervisor::backoff::Backoff;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;

impl Core {
    /// The workers with a deadline up to `at`: the loop reads their messages before it passes that time to the core.
    pub(crate) fn workers_to_read(&self, at: Duration) -> Vec<WorkerId> {
        let is_over = |due: &Duration| *due > self.read && *due <= at;
        let own = self.deadlines().into_iter().flat_map(|(moment, time)| {
            let until = at.checked_sub(time).unwrap_or_default();
            self.workers.between(moment, self.read.checked_sub(time), until)
        });
        let watched = self.watched_canaries().filter(|(_, due)| is_over(due)).map(|(id, _)| id);
        let mut concerned: BTreeSet<WorkerId> = own.chain(watched).collect();
        if self.startup_due().chain(self.reading_due()).any(|due| is_over(&due)) {
            let all = self.workers.iter().filter(|(_, worker)| !worker.state.is_serving());
            concerned.extend(all.map(|(id, _)| *id));
        }
        concerned.into_iter().collect()
    }

    /// When the next deadline of a child is over.
    pub(super) fn deadlines_due(&self) -> impl Iterator<Item = Duration> {
        let own = self.deadlines().into_iter().filter_map(|(moment, time)| {
            let next = self.workers.next(moment, self.read.checked_sub(time))?;
            Some(next.saturating_add(time))
        });
        let watched = self.watched_canaries().map(|(_, due)| due);
        own.chain(watched).chain(self.startup_due()).chain(self.reading_due()).filter(|at| *at > self.read)
    }

    /// The limits on what a worker is expected to do next: this long after each of these moments.
    fn deadlines(&self) -> Vec<(DueTime, Duration)> {
        // Other workers may be waiting until a loaded one is connected.
        let all = [
            (DueTime::Deadline, Duration::ZERO),
            (DueTime::Slow, Duration::ZERO),
            (DueTime::Loaded, self.config.connect_timeout),
        ];
        let probation = Some(self.longest_probation()).filter(|probation| !probation.is_zero());
        all.into_iter().chain(probation.map(|probation| (DueTime::Serving, probation))).collect()
    }

    /// Canaries that serve, and when their watch ends.
    fn watched_canaries(&self) -> impl Iterator<Item = (WorkerId, Duration)> {
        self.workers.canaries().filter_map(|(id, worker)| {
            let WorkerState::Serving { since } = worker.state else { return None };
            let seconds = worker.canary.iter().flatten().map(|new| self.config.canary_seconds(&new.function)).max()?;
            Some((id, since.saturating_add(seconds)))
        })
    }

    fn longest_probation(&self) -> Duration {
        let failing = self.failures.backoffs();
        failing.map(Backoff::probation).max().unwrap_or_default()
    }
}
