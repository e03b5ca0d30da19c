//! A worker's life cycle as the manager sees it: a pure transition table.
//!
//! ```text
//! Starting -> Loaded -> Ready -> Activating -> Serving -> Draining -> (gone)
//!     \__________\________\________\________\__________\-> Killed -> (gone)
//! ```
//!
//! Every worker ends in the same way: on the command to drain, it finishes its job and closes its connections. If the
//! drain has a deadline, the worker is killed then. It is gone only when the process was reaped.

use std::time::Duration;

use serde::Serialize;

use crate::control::WorkerCondition;

/// Why a worker ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ExitReason {
    /// The manager stops.
    Stop,
    /// A newer worker replaces it.
    Replaced,
    /// There are more workers than planned.
    Surplus,
    /// It exited by itself, or got a signal from outside.
    ByItself,
    /// It was not ready in time.
    StartTimeout,
    /// It had to drain and did not exit in time.
    DrainTimeout,
    /// It was draining, and the manager got as many stop signals as kill what is left.
    StopSignals,
    /// It reported that it cannot serve.
    CannotServe,
    /// Its job is past its timeout.
    JobTimeout,
    /// It runs no job and does not respond.
    Unresponsive,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WorkerState {
    /// Loading its libraries and making their objects, until the deadline.
    Starting {
        /// When it counts as hung.
        deadline: Duration,
    },
    /// Loaded; no job server has answered yet. That is not the library's fault, so there is no deadline.
    Loaded {
        /// Since when.
        since: Duration,
    },
    /// A job server has answered; it takes jobs once there is a slot for it.
    Ready,
    /// It was sent the command to activate.
    Activating,
    /// Taking jobs.
    Serving {
        /// Since when.
        since: Duration,
    },
    /// Draining, on command or by itself; it finishes the job in hand first.
    Draining {
        /// Why.
        reason: ExitReason,
        /// When it is killed. `None`: never; only a stop or a job's timeout sets a deadline.
        deadline: Option<Duration>,
    },
    /// Killed, not reaped yet.
    Killed {
        /// Why.
        reason: ExitReason,
    },
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trigger {
    /// Its start has reached the next step, which has this deadline.
    Advances(Duration),
    /// It reports that its libraries are loaded.
    Loaded,
    /// It reports that a job server has answered.
    Ready,
    /// There is a slot for it: it is activated.
    Activate,
    /// It reports that its functions are registered.
    Serving,
    /// It reports that it takes no more jobs.
    StopsTaking,
    /// It reports that a library cannot be loaded or used; it exits by itself.
    CannotServe,
    /// It must drain, for this reason; it is killed at the deadline, if there is one.
    Drain(ExitReason, Option<Duration>),
    /// Its job is past its timeout and has until this deadline to end.
    Overdue(Duration),
    /// The overdue job has ended after all: the worker drains for this reason, and is killed at the deadline, if there
    /// is one.
    Relieved(ExitReason, Option<Duration>),
    /// The overdue job is past its grace period, too.
    Expired,
    /// It runs no job and does not respond.
    Unresponsive,
    /// Time has passed.
    Tick,
}

/// What to do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Nothing.
    Nothing,
    /// Send the command to activate.
    Activate,
    /// Send the command to drain.
    Drain,
    /// The same, and send SIGTERM to it and to the processes it has started.
    Terminate,
    /// Kill it.
    Kill(ExitReason),
}

impl WorkerState {
    /// The transition table: the next state and the effect for each state and trigger.
    #[must_use]
    pub(crate) fn step(self, trigger: Trigger, now: Duration) -> (Self, Effect) {
        use Trigger as H;
        match (self, trigger) {
            (Self::Starting { .. }, H::Advances(deadline)) => (Self::Starting { deadline }, Effect::Nothing),
            (Self::Starting { .. }, H::Loaded) => (Self::Loaded { since: now }, Effect::Nothing),
            (Self::Starting { .. } | Self::Loaded { .. }, H::Ready) => (Self::Ready, Effect::Nothing),
            (Self::Ready, H::Activate) => (Self::Activating, Effect::Activate),
            (Self::Activating, H::Serving) => (Self::Serving { since: now }, Effect::Nothing),
            // A message out of order comes from a plugin, or late: it changes nothing.
            (state, H::Advances(_) | H::Loaded | H::Ready | H::Activate | H::Serving) => (state, Effect::Nothing),

            (Self::Draining { .. } | Self::Killed { .. }, H::StopsTaking) => (self, Effect::Nothing),
            (_, H::StopsTaking) => (Self::Draining { reason: ExitReason::ByItself, deadline: None }, Effect::Nothing),

            // It exits next; the deadline is for one that does not.
            (Self::Starting { deadline }, H::CannotServe) => {
                (Self::Draining { reason: ExitReason::CannotServe, deadline: Some(deadline) }, Effect::Nothing)
            }
            (state, H::CannotServe) => (state, Effect::Nothing),

            (Self::Killed { .. }, H::Drain(..)) => (self, Effect::Nothing),
            (Self::Draining { reason, deadline }, H::Drain(_, another)) => {
                (Self::Draining { reason, deadline: deadline.into_iter().chain(another).min() }, Effect::Nothing)
            }
            // Nothing reads commands while a library loads, and there is no job to finish.
            (Self::Starting { .. }, H::Drain(reason, _)) => (Self::Killed { reason }, Effect::Kill(reason)),
            (_, H::Drain(reason, deadline)) => (Self::Draining { reason, deadline }, Effect::Drain),

            (Self::Starting { deadline }, H::Tick) if now >= deadline => {
                (Self::Killed { reason: ExitReason::StartTimeout }, Effect::Kill(ExitReason::StartTimeout))
            }
            (Self::Serving { .. }, H::Overdue(deadline)) => {
                (Self::Draining { reason: ExitReason::JobTimeout, deadline: Some(deadline) }, Effect::Terminate)
            }
            (Self::Draining { deadline, .. }, H::Overdue(at)) => {
                let deadline = deadline.map_or(at, |before| before.min(at));
                (Self::Draining { reason: ExitReason::JobTimeout, deadline: Some(deadline) }, Effect::Terminate)
            }
            (Self::Draining { reason: ExitReason::JobTimeout, .. }, H::Relieved(reason, deadline)) => {
                (Self::Draining { reason, deadline }, Effect::Nothing)
            }
            (Self::Draining { reason: ExitReason::JobTimeout, .. }, H::Expired) => {
                (Self::Killed { reason: ExitReason::JobTimeout }, Effect::Kill(ExitReason::JobTimeout))
            }
            (state, H::Overdue(_) | H::Relieved(..) | H::Expired) => (state, Effect::Nothing),

            (state, H::Unresponsive) if state.polls() => {
                (Self::Killed { reason: ExitReason::Unresponsive }, Effect::Kill(ExitReason::Unresponsive))
            }
            (state, H::Unresponsive) => (state, Effect::Nothing),

            // Whether its job has ended meanwhile is checked first.
            (Self::Draining { reason: ExitReason::JobTimeout, .. }, H::Tick) => (self, Effect::Nothing),
            (Self::Draining { deadline, .. }, H::Tick) if deadline.is_some_and(|at| now >= at) => {
                (Self::Killed { reason: ExitReason::DrainTimeout }, Effect::Kill(ExitReason::DrainTimeout))
            }
            (state, H::Tick) => (state, Effect::Nothing),
        }
    }

    /// When the passing of time alone triggers a transition.
    pub(crate) fn deadline(self) -> Option<Duration> {
        match self {
            Self::Draining { reason: ExitReason::JobTimeout, .. } => None,
            Self::Starting { deadline } => Some(deadline),
            Self::Draining { deadline, .. } => deadline,
            _ => None,
        }
    }

    /// Whether it still counts towards the plan.
    pub(crate) fn is_live(self) -> bool {
        !matches!(self, Self::Draining { .. } | Self::Killed { .. })
    }

    /// Whether it may have a job in hand.
    pub(crate) fn is_at_work(self) -> bool {
        matches!(self, Self::Serving { .. } | Self::Draining { .. })
    }

    /// Whether it polls while it has no job. One whose job is past its timeout has a deadline of its own.
    pub(crate) fn polls(self) -> bool {
        !matches!(
            self,
            Self::Starting { .. } | Self::Killed { .. } | Self::Draining { reason: ExitReason::JobTimeout, .. }
        )
    }

    /// Whether it takes jobs.
    pub(crate) fn is_serving(self) -> bool {
        matches!(self, Self::Serving { .. })
    }

    /// Whether it takes jobs or is about to.
    pub(crate) fn is_activated(self) -> bool {
        matches!(self, Self::Activating | Self::Serving { .. })
    }

    /// Whether its libraries are loaded, whatever else is missing.
    pub(crate) fn is_loaded(self) -> bool {
        matches!(self, Self::Loaded { .. } | Self::Ready | Self::Activating | Self::Serving { .. })
    }

    /// How `status` shows a worker in this state, with or without a job in hand.
    pub(crate) fn condition(self, has_job: bool) -> WorkerCondition {
        match self {
            Self::Starting { .. } => WorkerCondition::Starting,
            Self::Loaded { .. } => WorkerCondition::Connecting,
            Self::Ready => WorkerCondition::Ready,
            Self::Activating => WorkerCondition::Activating,
            Self::Serving { .. } if has_job => WorkerCondition::Busy,
            Self::Serving { .. } => WorkerCondition::Idle,
            Self::Draining { .. } => WorkerCondition::Draining,
            Self::Killed { .. } => WorkerCondition::Killed,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);
    const LATER: Duration = Duration::from_secs(200);

    /// Every state against every happening: what becomes of it, and what is done. `=` stands for no change.
    #[test]
    fn every_cell_of_the_table() {
        use Trigger as H;
        use WorkerState::*;
        let starting = Starting { deadline: LATER };
        let late = Starting { deadline: NOW };
        let loaded = Loaded { since: NOW };
        let serving = Serving { since: NOW };
        let draining = Draining { reason: ExitReason::Replaced, deadline: None };
        let overdue = Draining { reason: ExitReason::Stop, deadline: Some(NOW) };
        // Not being_killed by time alone: whether its job has ended meanwhile is looked at first.
        let timed_out = Draining { reason: ExitReason::JobTimeout, deadline: Some(NOW) };
        let being_killed = Killed { reason: ExitReason::StartTimeout };
        let by_itself = Draining { reason: ExitReason::ByItself, deadline: None };
        let replaced = Draining { reason: ExitReason::Replaced, deadline: None };
        let drain = H::Drain(ExitReason::Replaced, None);
        let nothing = |state: WorkerState| (state, Effect::Nothing);
        let killed = |reason| (Killed { reason }, Effect::Kill(reason));
        let states = [starting, late, loaded, Ready, Activating, serving, draining, overdue, timed_out, being_killed];
        let rows: [(H, [(WorkerState, Effect); 10]); 13] = [
            (
                H::Advances(LATER),
                [
                    nothing(starting),
                    nothing(starting),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::Loaded,
                [
                    nothing(loaded),
                    nothing(loaded),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::Ready,
                [
                    nothing(Ready),
                    nothing(Ready),
                    nothing(Ready),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::Activate,
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    (Activating, Effect::Activate),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::Serving,
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(serving),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::StopsTaking,
                [
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::CannotServe,
                [
                    nothing(Draining { reason: ExitReason::CannotServe, deadline: Some(LATER) }),
                    nothing(Draining { reason: ExitReason::CannotServe, deadline: Some(NOW) }),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                drain,
                [
                    killed(ExitReason::Replaced),
                    killed(ExitReason::Replaced),
                    (replaced, Effect::Drain),
                    (replaced, Effect::Drain),
                    (replaced, Effect::Drain),
                    (replaced, Effect::Drain),
                    nothing(draining),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::Tick,
                [
                    nothing(starting),
                    killed(ExitReason::StartTimeout),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    killed(ExitReason::DrainTimeout),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
            (
                H::Overdue(NOW),
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    (Draining { reason: ExitReason::JobTimeout, deadline: Some(NOW) }, Effect::Terminate),
                    (Draining { reason: ExitReason::JobTimeout, deadline: Some(NOW) }, Effect::Terminate),
                    (Draining { reason: ExitReason::JobTimeout, deadline: Some(NOW) }, Effect::Terminate),
                    (Draining { reason: ExitReason::JobTimeout, deadline: Some(NOW) }, Effect::Terminate),
                    nothing(being_killed),
                ],
            ),
            (
                H::Relieved(ExitReason::Replaced, None),
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    nothing(draining),
                    nothing(being_killed),
                ],
            ),
            (
                H::Expired,
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Activating),
                    nothing(serving),
                    nothing(draining),
                    nothing(overdue),
                    killed(ExitReason::JobTimeout),
                    nothing(being_killed),
                ],
            ),
            (
                H::Unresponsive,
                [
                    nothing(starting),
                    nothing(late),
                    killed(ExitReason::Unresponsive),
                    killed(ExitReason::Unresponsive),
                    killed(ExitReason::Unresponsive),
                    killed(ExitReason::Unresponsive),
                    killed(ExitReason::Unresponsive),
                    killed(ExitReason::Unresponsive),
                    nothing(timed_out),
                    nothing(being_killed),
                ],
            ),
        ];
        for (trigger, expected) in rows {
            for (state, expected) in states.into_iter().zip(expected) {
                assert_eq!(state.step(trigger, NOW), expected, "{state:?} + {trigger:?}");
            }
        }
    }

    #[test]
    fn a_second_dismissal_only_shortens_the_deadline() {
        for (first, second, both) in [
            (None, Some(NOW), Some(NOW)),
            (Some(LATER), Some(NOW), Some(NOW)),
            (Some(NOW), Some(LATER), Some(NOW)),
            (Some(LATER), None, Some(LATER)),
            (None, None, None),
        ] {
            let draining = |deadline| WorkerState::Draining { reason: ExitReason::Replaced, deadline };
            let stepped = draining(first).step(Trigger::Drain(ExitReason::Stop, second), NOW);
            assert_eq!(stepped, (draining(both), Effect::Nothing), "{first:?}, then {second:?}");
        }
    }
}
