//! The stop: workers drain, and the manager finishes when the last one is gone.

use std::time::Duration;

use super::{Action, Core, ManagerPhase};
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger};

/// A stop that takes longer reports what it waits for.
const QUICK: Duration = Duration::from_millis(500);

impl Core {
    /// This many stop signals kill the remaining workers.
    pub(crate) fn kill_at_signal(&mut self, signals: u32) {
        self.signals_that_kill = signals;
    }

    pub(super) fn stop(&mut self, by: &'static str, now: Duration) {
        let wait = self.config.graceful_shutdown_wait_time;
        match &mut self.phase {
            ManagerPhase::Starting | ManagerPhase::Running => {
                let deadline = now.saturating_add(wait);
                let tell_at = Some(now.saturating_add(QUICK));
                self.phase = ManagerPhase::Draining { since: now, deadline, signals: 1, report_at: tell_at };
                let (workers, kills_at) = (self.workers.len(), self.signals_that_kill);
                self.report(Event::Draining { by: by.into(), workers, seconds: seconds(wait), kills_at });
                self.stop_all(deadline, now);
            }
            ManagerPhase::Draining { signals, deadline, .. } => {
                *signals += 1;
                let (signals, left) = (*signals, deadline.saturating_sub(now));
                let kills_at = self.signals_that_kill;
                if signals < kills_at {
                    self.report(Event::AlreadyDraining { by, signals, seconds: seconds(left), kills_at });
                    self.push_action(Action::TellAwaited);
                } else {
                    self.stop_all(now, now);
                }
            }
            ManagerPhase::Finished => {}
        }
    }

    /// Why a worker is killed: a drain that did not end in time may have been cut short by stop signals.
    pub(super) fn stop_signals_kill(&self, reason: ExitReason) -> ExitReason {
        match self.phase {
            ManagerPhase::Draining { signals, .. }
                if signals >= self.signals_that_kill && reason == ExitReason::DrainTimeout =>
            {
                ExitReason::StopSignals
            }
            _ => reason,
        }
    }

    /// Unlike most drains, this one kills running jobs at its deadline.
    fn stop_all(&mut self, deadline: Duration, now: Duration) {
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        all.into_iter().for_each(|id| self.trigger(id, Trigger::Drain(ExitReason::Stop, Some(deadline)), now));
    }

    /// Reports once what a stop waits for, if it is not quick.
    pub(super) fn report_awaited(&mut self, now: Duration) {
        if let ManagerPhase::Draining { report_at: tell_at, .. } = &mut self.phase
            && tell_at.take_if(|at| now >= *at).is_some()
        {
            self.push_action(Action::TellAwaited);
        }
    }

    /// When that report is due.
    pub(super) fn awaited_due(&self) -> Option<Duration> {
        match self.phase {
            ManagerPhase::Draining { report_at: tell_at, .. } => tell_at,
            _ => None,
        }
    }

    /// Finishes once the last worker is gone.
    pub(super) fn finish(&mut self, now: Duration) {
        if let ManagerPhase::Draining { since, .. } = self.phase
            && self.workers.is_empty()
        {
            self.phase = ManagerPhase::Finished;
            self.report(Event::Stopped { seconds: seconds(now.saturating_sub(since)) });
            self.push_action(Action::Finish);
        }
    }
}
