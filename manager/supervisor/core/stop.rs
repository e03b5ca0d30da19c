//! The stop: workers drain, and the manager finishes when the last one is gone.

use std::time::Duration;

use super::{Action, Core, ManagerPhase};
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger};

/// As in GearmanManager: anyone who presses Ctrl-C five times means it.
const SIGNALS_THAT_KILL: u32 = 5;

impl Core {
    pub(super) fn stop(&mut self, by: &'static str, now: Duration) {
        let wait = self.config.graceful_shutdown_wait_time;
        match &mut self.phase {
            ManagerPhase::Starting | ManagerPhase::Running => {
                let deadline = now.saturating_add(wait);
                self.phase = ManagerPhase::Draining { since: now, deadline, signals: 1 };
                let workers = self.workers.len();
                self.tell(Event::Draining { by: by.into(), workers, seconds: seconds(wait) });
                self.stop_all(deadline, now);
            }
            ManagerPhase::Draining { signals, deadline, .. } => {
                *signals += 1;
                let (signals, left) = (*signals, deadline.saturating_sub(now));
                if signals < SIGNALS_THAT_KILL {
                    self.tell(Event::AlreadyDraining { by, signals, seconds: seconds(left) });
                } else {
                    self.stop_all(now, now);
                }
            }
            ManagerPhase::Finished => {}
        }
    }

    /// The only dismissal that cuts jobs, at its deadline.
    fn stop_all(&mut self, deadline: Duration, now: Duration) {
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        all.into_iter().for_each(|id| self.happens(id, Trigger::Dismiss(ExitReason::Stop, Some(deadline)), now));
    }

    /// Finishes once the last worker is gone.
    pub(super) fn finish(&mut self, now: Duration) {
        if let ManagerPhase::Draining { since, .. } = self.phase
            && self.workers.is_empty()
        {
            self.phase = ManagerPhase::Finished;
            self.tell(Event::Stopped { seconds: seconds(now.saturating_sub(since)) });
            self.do_next(Action::Finish);
        }
    }
}
