//! A reload of the configuration.

use std::time::Duration;

use super::{Core, ManagerPhase};
use crate::config::Config;
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger};

/// A reload whose workers are being replaced.
#[derive(Debug)]
pub(super) struct PendingReload {
    since: Duration,
    /// The last worker that was started with the old configuration.
    last: WorkerId,
}

impl Core {
    /// Applies another configuration: every worker is replaced, as in a rollout. Earlier failures no longer count, so
    /// no function backs off or is prevented from starting.
    pub(super) fn reload(&mut self, config: Config, requests: Vec<u64>, now: Duration) {
        if !matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) {
            return;
        }
        self.config = config;
        self.use_servers();
        self.catalog.set_worker_dirs(&self.config.worker_dirs);
        self.failures.forget_all();
        self.scaled.clear();
        self.rejoin_all();
        self.warned.forget_workers();
        self.commands.reload = Some(PendingReload { since: now, last: self.spawns.last() });
        self.workers.change_all(|worker| worker.retirement.at = now);
        self.watch_jobs_again();
        // A canary with the old configuration would be compared with workers that have the new one.
        let canaries = self.workers.canaries().filter(|(_, worker)| worker.state.is_live());
        let canaries: Vec<_> = canaries.map(|(id, _)| id).collect();
        for id in canaries {
            self.trigger(id, Trigger::Drain(ExitReason::Surplus, None), now);
        }
        self.scan();
        self.replan(now);
        requests.into_iter().for_each(|request| self.await_reload(request, now));
    }

    /// Reports a reload whose last old worker has exited. Ids only grow, so the first worker is the oldest.
    pub(super) fn finish_reload(&mut self, now: Duration) {
        let first = self.workers.keys().next().copied();
        let is_over = |reload: &mut PendingReload| first.is_none_or(|first| first > reload.last);
        if let Some(PendingReload { since, .. }) = self.commands.reload.take_if(is_over)
            && self.is_running()
        {
            self.report(Event::ReloadFinished { seconds: seconds(now.saturating_sub(since)) });
        }
    }
}
