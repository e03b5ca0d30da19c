//! Workers that do not respond although they run no job's function: stopped by SIGSTOP, deadlocked, or stuck in the
//! kernel.
//!
//! The manager reads the stamps of all workers in rounds, together with a re-scan if there is one, and looks more
//! often at a worker only while that worker owes an answer (see [`Liveness`]).

use std::time::Duration;

use super::workers::DueTime;
use super::{Action, Core, ManagerPhase};
use crate::scoreboard::WorkerActivity;
use crate::supervisor::event::{Event, UnresponsiveWorker, seconds};
use crate::supervisor::liveness::{Liveness, LivenessReading, LivenessVerdict, SilenceLimits};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger, WorkerState};
use crate::system::clock;
use crate::system::process::RunState;

/// Which workers to read, and what.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LivenessRound {
    /// Whether these are all that can be judged.
    is_full: bool,
    /// The workers, and whether the states of their processes are needed.
    pub workers: Vec<(WorkerId, bool)>,
}

impl LivenessRound {
    /// The workers that may be killed after this.
    pub(crate) fn last_looks(&self) -> Vec<WorkerId> {
        self.workers.iter().filter(|(_, is_last)| *is_last).map(|(id, _)| *id).collect()
    }
}

/// When all workers are looked at.
#[derive(Debug)]
pub(super) struct LivenessRounds {
    /// The last time.
    pub last: Duration,
    /// The last re-scan since then.
    pub rescan: Option<Duration>,
}

impl LivenessRounds {
    /// The next time: together with a re-scan, so that the manager wakes once for both, if there is one about
    /// `interval` after the last time.
    fn next(&self, interval: Duration) -> Duration {
        let earliest = self.last.saturating_add(clock::fraction(interval, 0.5));
        self.rescan.filter(|rescan| *rescan >= earliest).unwrap_or_else(|| earliest.saturating_add(interval))
    }
}

/// What was read about one worker.
#[derive(Debug)]
pub(crate) struct WorkerLiveness {
    /// Which.
    pub worker: WorkerId,
    /// When it last polled.
    pub stamp: Option<Duration>,
    /// What it is doing; `None` if its scoreboard was overwritten.
    pub activity: Option<WorkerActivity>,
    /// The state of its process, if that was asked for.
    pub process: RunState,
}

impl Core {
    /// The workers whose stamps are to be read now.
    pub(crate) fn liveness_due(&self, now: Duration) -> Option<LivenessRound> {
        let is_full = self.next_round()? <= now;
        let is_last = |id: &WorkerId| self.workers.get(id).is_some_and(|worker| worker.liveness.is_last_look());
        let workers: Vec<WorkerId> = match is_full {
            true => self.workers.iter().filter(|(_, worker)| worker.state.polls()).map(|(id, _)| *id).collect(),
            false => self.workers.between(DueTime::Look, None, now).into_iter().collect(),
        };
        let workers: Vec<_> = workers.into_iter().map(|id| (id, is_last(&id))).collect();
        (is_full || !workers.is_empty()).then_some(LivenessRound { is_full, workers })
    }

    /// When [`liveness_due`](Self::liveness_due) names workers next.
    pub(super) fn liveness_due_at(&self) -> Option<Duration> {
        let round = self.next_round()?;
        Some(self.workers.next(DueTime::Look, None).map_or(round, |look| look.min(round)))
    }

    /// `None` if workers are not judged. Without `echo_interval` idle workers do not wake, and a stop has a deadline of
    /// its own.
    fn next_round(&self) -> Option<Duration> {
        let runs = matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running);
        let interval = self.config.echo_interval;
        let are_judged = runs && !interval.is_zero() && !self.config.response_timeout.is_zero();
        are_judged.then(|| self.liveness_rounds.next(interval))
    }

    /// Stamps were read.
    pub(super) fn liveness_read(&mut self, round: &LivenessRound, seen: Vec<WorkerLiveness>, now: Duration) {
        if round.is_full {
            self.liveness_rounds = LivenessRounds { last: now, rescan: None };
        }
        seen.into_iter().for_each(|seen| self.worker_heard(&seen, now));
    }

    fn worker_heard(&mut self, seen: &WorkerLiveness, now: Duration) {
        let Some(worker) = self.workers.get(&seen.worker) else { return };
        let is_draining = matches!(worker.state, WorkerState::Draining { .. });
        // A draining worker reads no commands, but polls at least every `stop_timeout`, or every `echo_interval` while an
        // answer waits for room. Its destructors have a `stop_timeout`, too.
        let extra = if is_draining { self.config.stop_timeout } else { Duration::ZERO };
        let limits = SilenceLimits {
            silence: self.config.echo_interval.saturating_mul(2),
            answer: self.config.response_timeout.saturating_add(extra),
        };
        let reading = LivenessReading {
            stamp: seen.stamp,
            is_excused: !worker.state.polls()
                || seen.activity.is_none_or(|activity| activity == WorkerActivity::Running),
            process: seen.process,
        };
        let (liveness, verdict) = worker.liveness.look(reading, now, limits);
        self.workers.change(seen.worker, |worker| worker.liveness = liveness);
        match verdict {
            LivenessVerdict::Nothing => {}
            LivenessVerdict::Ask => self.push_action(Action::Ping(seen.worker)),
            LivenessVerdict::LeaveAlone => self.report_unresponsive(seen, liveness, false, now),
            LivenessVerdict::Unresponsive => {
                self.report_unresponsive(seen, liveness, true, now);
                self.trigger(seen.worker, Trigger::Unresponsive, now);
                self.canary_is_unresponsive(seen, now);
            }
        }
    }

    fn report_unresponsive(&mut self, seen: &WorkerLiveness, liveness: Liveness, is_killed: bool, now: Duration) {
        let Some(worker) = self.workers.get(&seen.worker) else { return };
        let asked = match liveness {
            Liveness::Asked { since, .. } | Liveness::Traced { since } => since,
            Liveness::Heard => now,
        };
        let heard = seen.stamp.filter(|stamp| *stamp <= asked).unwrap_or(asked);
        let functions = worker.names();
        let (seconds, process) = (seconds(now.saturating_sub(heard)), seen.process);
        let is_answering = seen.activity.is_some_and(WorkerActivity::has_job);
        self.report_with_pid(worker.pid, |pid| {
            Event::WorkerUnresponsive(UnresponsiveWorker { pid, functions, seconds, process, is_answering, is_killed })
        });
    }

    /// A canary hangs outside a job. One that was stopped may have been stopped by someone.
    fn canary_is_unresponsive(&mut self, seen: &WorkerLiveness, now: Duration) {
        let is_killed = |worker: &&super::WorkerRecord| {
            worker.canary.is_some() && worker.state == WorkerState::Killed { reason: ExitReason::Unresponsive }
        };
        if self.workers.get(&seen.worker).filter(is_killed).is_none() {
            return;
        }
        // Taken out, so that it can be read while others are changed.
        let Some(worker) = self.workers.remove(seen.worker) else { return };
        let from_outside = seen.process == RunState::Stopped;
        self.canary_died(&worker, None, from_outside, "its worker stopped responding outside a job", now);
        self.workers.insert(seen.worker, worker);
    }
}
