//! A worker's life as the manager sees it: a pure table of state and happening.
//!
//! ```text
//! Starting -> Loaded -> Ready -> Going -> Serving -> Leaving -> (gone)
//!     \__________\________\________\________\__________\-> Dying -> (gone)
//! ```
//!
//! Everything that ends a worker walks the same line: told to leave, it finishes its job and says farewell; where it
//! was given a deadline, by a stop, it is killed then; whatever happens, it is gone only when the process was reaped.

use std::time::Duration;

use serde::Serialize;

/// Why a worker is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The manager stops.
    Stop,
    /// A newer one takes its place.
    Replaced,
    /// There are more workers than planned.
    Surplus,
    /// It left by itself, or somebody sent it a signal.
    ByItself,
    /// It was not ready in time.
    StartTimeout,
    /// It was told to leave and did not in time.
    LeaveTimeout,
    /// It said that it cannot serve.
    CannotServe,
    /// Its job is past its timeout.
    JobTimeout,
}

/// Where a worker is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Loading its libraries and making their objects, until the deadline.
    Starting {
        /// When it counts as hanging.
        deadline: Duration,
    },
    /// Loaded; no job server has answered yet. That is not the library's fault, so there is no deadline.
    Loaded {
        /// Since when.
        since: Duration,
    },
    /// A job server has answered; it takes jobs once there is a place for it.
    Ready,
    /// Told to go.
    Going,
    /// Taking jobs.
    Serving {
        /// Since when.
        since: Duration,
    },
    /// Told to leave, or leaving by itself; it finishes the job in hand first.
    Leaving {
        /// Why.
        why: Why,
        /// When it is killed. `None`: never, since only a stop ends a job.
        deadline: Option<Duration>,
    },
    /// Killed, not reaped yet.
    Dying {
        /// Why.
        why: Why,
    },
}

/// What happens to a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Happening {
    /// Its start has come a step further: it has until the deadline for the next one.
    Advances(Duration),
    /// It says that its libraries are loaded.
    Loaded,
    /// It says that a job server has answered.
    Ready,
    /// There is a place for it: it may go.
    Admit,
    /// It says that its functions are registered.
    Serving,
    /// It says that it takes no more jobs.
    Leaves,
    /// It says that a library cannot be loaded or used; it ends by itself.
    CannotServe,
    /// It has to go, for this reason; killed at the deadline, where there is one.
    Dismiss(Why, Option<Duration>),
    /// Its job is past its timeout: it has until the deadline to end it.
    Overdue(Duration),
    /// The job that was past its timeout has ended after all: it leaves for this reason, killed at the deadline, where
    /// there is one.
    Relieved(Why, Option<Duration>),
    /// The job that was past its timeout is past its grace, too.
    Expired,
    /// Time went by.
    Tick,
}

/// What is to be done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Send the order to go.
    Go,
    /// Send the order to leave.
    Leave,
    /// The same, and SIGTERM to whatever it runs.
    Terminate,
    /// Kill it.
    Kill(Why),
}

impl Life {
    /// The table: what a happening makes of a worker, and what is to be done.
    #[must_use]
    pub fn step(self, happening: Happening, now: Duration) -> (Self, Step) {
        use Happening as H;
        match (self, happening) {
            (Self::Starting { .. }, H::Advances(deadline)) => (Self::Starting { deadline }, Step::Nothing),
            (Self::Starting { .. }, H::Loaded) => (Self::Loaded { since: now }, Step::Nothing),
            (Self::Starting { .. } | Self::Loaded { .. }, H::Ready) => (Self::Ready, Step::Nothing),
            (Self::Ready, H::Admit) => (Self::Going, Step::Go),
            (Self::Going, H::Serving) => (Self::Serving { since: now }, Step::Nothing),
            // A word out of order is a plugin's doing, or came late: it changes nothing.
            (life, H::Advances(_) | H::Loaded | H::Ready | H::Admit | H::Serving) => (life, Step::Nothing),

            (Self::Leaving { .. } | Self::Dying { .. }, H::Leaves) => (self, Step::Nothing),
            (_, H::Leaves) => (Self::Leaving { why: Why::ByItself, deadline: None }, Step::Nothing),

            // It exits next; the deadline is for one that does not.
            (Self::Starting { deadline }, H::CannotServe) => {
                (Self::Leaving { why: Why::CannotServe, deadline: Some(deadline) }, Step::Nothing)
            }
            (life, H::CannotServe) => (life, Step::Nothing),

            (Self::Dying { .. }, H::Dismiss(..)) => (self, Step::Nothing),
            (Self::Leaving { why, deadline }, H::Dismiss(_, another)) => {
                (Self::Leaving { why, deadline: deadline.into_iter().chain(another).min() }, Step::Nothing)
            }
            // Nothing reads orders while a library loads, and there is no job to finish.
            (Self::Starting { .. }, H::Dismiss(why, _)) => (Self::Dying { why }, Step::Kill(why)),
            (_, H::Dismiss(why, deadline)) => (Self::Leaving { why, deadline }, Step::Leave),

            (Self::Starting { deadline }, H::Tick) if now >= deadline => {
                (Self::Dying { why: Why::StartTimeout }, Step::Kill(Why::StartTimeout))
            }
            (Self::Serving { .. }, H::Overdue(deadline)) => {
                (Self::Leaving { why: Why::JobTimeout, deadline: Some(deadline) }, Step::Terminate)
            }
            (Self::Leaving { deadline, .. }, H::Overdue(at)) => {
                let deadline = deadline.map_or(at, |before| before.min(at));
                (Self::Leaving { why: Why::JobTimeout, deadline: Some(deadline) }, Step::Terminate)
            }
            (Self::Leaving { why: Why::JobTimeout, .. }, H::Relieved(why, deadline)) => {
                (Self::Leaving { why, deadline }, Step::Nothing)
            }
            (Self::Leaving { why: Why::JobTimeout, .. }, H::Expired) => {
                (Self::Dying { why: Why::JobTimeout }, Step::Kill(Why::JobTimeout))
            }
            (life, H::Overdue(_) | H::Relieved(..) | H::Expired) => (life, Step::Nothing),

            // Whether its job has ended meanwhile is looked at first.
            (Self::Leaving { why: Why::JobTimeout, .. }, H::Tick) => (self, Step::Nothing),
            (Self::Leaving { deadline, .. }, H::Tick) if deadline.is_some_and(|at| now >= at) => {
                (Self::Dying { why: Why::LeaveTimeout }, Step::Kill(Why::LeaveTimeout))
            }
            (life, H::Tick) => (life, Step::Nothing),
        }
    }

    /// When time alone changes something.
    pub fn deadline(self) -> Option<Duration> {
        match self {
            Self::Leaving { why: Why::JobTimeout, .. } => None,
            Self::Starting { deadline } => Some(deadline),
            Self::Leaving { deadline, .. } => deadline,
            _ => None,
        }
    }

    /// Whether it still counts towards the plan.
    pub fn is_live(self) -> bool {
        !matches!(self, Self::Leaving { .. } | Self::Dying { .. })
    }

    /// Whether it may have a job in hand.
    pub fn is_at_work(self) -> bool {
        matches!(self, Self::Serving { .. } | Self::Leaving { .. })
    }

    /// Whether it takes jobs.
    pub fn is_serving(self) -> bool {
        matches!(self, Self::Serving { .. })
    }

    /// Whether it takes jobs or is just about to.
    pub fn is_admitted(self) -> bool {
        matches!(self, Self::Going | Self::Serving { .. })
    }

    /// Whether its libraries are loaded, whatever else is missing.
    pub fn is_loaded(self) -> bool {
        matches!(self, Self::Loaded { .. } | Self::Ready | Self::Going | Self::Serving { .. })
    }

    /// The word for status and titles.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting { .. } => "starting",
            Self::Loaded { .. } => "connecting",
            Self::Ready => "ready",
            Self::Going => "going",
            Self::Serving { .. } => "serving",
            Self::Leaving { .. } => "leaving",
            Self::Dying { .. } => "killed",
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
        use Happening as H;
        use Life::*;
        let starting = Starting { deadline: LATER };
        let late = Starting { deadline: NOW };
        let loaded = Loaded { since: NOW };
        let serving = Serving { since: NOW };
        let leaving = Leaving { why: Why::Replaced, deadline: None };
        let overdue = Leaving { why: Why::Stop, deadline: Some(NOW) };
        // Not killed by time alone: whether its job has ended meanwhile is looked at first.
        let timed_out = Leaving { why: Why::JobTimeout, deadline: Some(NOW) };
        let dying = Dying { why: Why::StartTimeout };
        let by_itself = Leaving { why: Why::ByItself, deadline: None };
        let told = Leaving { why: Why::Replaced, deadline: None };
        let dismiss = H::Dismiss(Why::Replaced, None);
        let nothing = |state: Life| (state, Step::Nothing);
        let killed = |why| (Dying { why }, Step::Kill(why));
        let states = [starting, late, loaded, Ready, Going, serving, leaving, overdue, timed_out, dying];
        let rows: [(H, [(Life, Step); 10]); 12] = [
            (
                H::Advances(LATER),
                [
                    nothing(starting),
                    nothing(starting),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::Loaded,
                [
                    nothing(loaded),
                    nothing(loaded),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::Ready,
                [
                    nothing(Ready),
                    nothing(Ready),
                    nothing(Ready),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::Admit,
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    (Going, Step::Go),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
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
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::Leaves,
                [
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(by_itself),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::CannotServe,
                [
                    nothing(Leaving { why: Why::CannotServe, deadline: Some(LATER) }),
                    nothing(Leaving { why: Why::CannotServe, deadline: Some(NOW) }),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                dismiss,
                [
                    killed(Why::Replaced),
                    killed(Why::Replaced),
                    (told, Step::Leave),
                    (told, Step::Leave),
                    (told, Step::Leave),
                    (told, Step::Leave),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::Tick,
                [
                    nothing(starting),
                    killed(Why::StartTimeout),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    killed(Why::LeaveTimeout),
                    nothing(timed_out),
                    nothing(dying),
                ],
            ),
            (
                H::Overdue(NOW),
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    (Leaving { why: Why::JobTimeout, deadline: Some(NOW) }, Step::Terminate),
                    (Leaving { why: Why::JobTimeout, deadline: Some(NOW) }, Step::Terminate),
                    (Leaving { why: Why::JobTimeout, deadline: Some(NOW) }, Step::Terminate),
                    (Leaving { why: Why::JobTimeout, deadline: Some(NOW) }, Step::Terminate),
                    nothing(dying),
                ],
            ),
            (
                H::Relieved(Why::Replaced, None),
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    nothing(leaving),
                    nothing(dying),
                ],
            ),
            (
                H::Expired,
                [
                    nothing(starting),
                    nothing(late),
                    nothing(loaded),
                    nothing(Ready),
                    nothing(Going),
                    nothing(serving),
                    nothing(leaving),
                    nothing(overdue),
                    killed(Why::JobTimeout),
                    nothing(dying),
                ],
            ),
        ];
        for (happening, expected) in rows {
            for (state, expected) in states.into_iter().zip(expected) {
                assert_eq!(state.step(happening, NOW), expected, "{state:?} + {happening:?}");
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
            let leaving = |deadline| Life::Leaving { why: Why::Replaced, deadline };
            let stepped = leaving(first).step(Happening::Dismiss(Why::Stop, second), NOW);
            assert_eq!(stepped, (leaving(both), Step::Nothing), "{first:?}, then {second:?}");
        }
    }
}
