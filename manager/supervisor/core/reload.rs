//! A reload of the configuration.

use std::time::Duration;

use super::{Core, ManagerPhase};
use crate::config::Config;
use crate::supervisor::worker_state::{ExitReason, Trigger};

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
        self.workers.change_all(|worker| worker.retirement.at = now);
        self.watch_jobs_again();
        // A canary with the old configuration would be compared with workers that have the new one.
        let canaries = self.workers.canaries().filter(|(_, worker)| worker.state.is_live());
        let canaries: Vec<_> = canaries.map(|(id, _)| id).collect();
        for id in canaries {
            self.trigger(id, Trigger::Dismiss(ExitReason::Surplus, None), now);
        }
        self.scan();
        self.replan(now);
        requests.into_iter().for_each(|request| self.await_reload(request, now));
    }
}
