//! Decides when a worker that runs no job counts as unresponsive. Pure.
//!
//! A worker stamps its scoreboard whenever it has polled, so an idle one does so every `echo_interval`, when it wakes to
//! test its connections. When the stamp is old, the manager asks: it sends a command, which wakes a worker that can be
//! woken. The stamp is the answer.

use std::time::Duration;

use crate::system::process::RunState;

/// How often the manager looks for an answer. If a look comes late by as much as the time between two, the manager and
/// perhaps the worker did not run for a while (a frozen container, a machine out of CPU), and all looks start over.
const LOOKS: u32 = 10;

/// What is known of a worker's liveness.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Liveness {
    /// It has stamped its scoreboard lately, or runs a job.
    #[default]
    Heard,
    /// It was asked.
    Asked {
        /// When.
        since: Duration,
        /// When to look for the answer.
        next: Duration,
        /// How many looks are left.
        looks: u32,
        /// It was reported that it is traced.
        reported: bool,
    },
    /// It has not answered, and is traced.
    Traced {
        /// When it was asked.
        since: Duration,
    },
}

/// How long a worker may be silent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SilenceLimits {
    /// A worker whose stamp is older is asked.
    pub silence: Duration,
    /// How long it may take to answer.
    pub answer: Duration,
}

/// What was read about a worker.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LivenessReading {
    /// When it last polled.
    pub stamp: Option<Duration>,
    /// It may be in a job's function, or its state has a limit of its own.
    pub is_excused: bool,
    /// The state of its process, if it was read.
    pub process: RunState,
}

/// What follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LivenessVerdict {
    /// Nothing.
    Nothing,
    /// Send the command that wakes it.
    Ask,
    /// It has not answered, but is traced: report that once, and do nothing.
    LeaveAlone,
    /// It has not answered.
    Unresponsive,
}

impl Liveness {
    /// When to look at this worker apart from the rounds over all workers.
    pub(crate) fn next(self) -> Option<Duration> {
        match self {
            Self::Asked { next, .. } => Some(next),
            Self::Heard | Self::Traced { .. } => None,
        }
    }

    /// Whether the next look may be the last, so that the state of its process is needed.
    pub(crate) fn is_last_look(self) -> bool {
        matches!(self, Self::Asked { looks: 0 | 1, .. })
    }

    /// The next state and what follows from a look at the worker.
    #[must_use]
    pub(crate) fn look(self, seen: LivenessReading, now: Duration, limits: SilenceLimits) -> (Self, LivenessVerdict) {
        use LivenessVerdict::{Ask, LeaveAlone, Nothing, Unresponsive};
        // A stamp from the future was written by a plugin.
        let stamp = seen.stamp.filter(|stamp| *stamp <= now);
        let has_answered = |since: Duration| stamp.is_some_and(|stamp| stamp >= since);
        let pause = limits.answer.checked_div(LOOKS).unwrap_or(limits.answer);
        let asked = |since, reported| Self::Asked { since, next: now.saturating_add(pause), looks: LOOKS, reported };
        match self {
            _ if seen.is_excused => (Self::Heard, Nothing),
            Self::Heard if stamp.is_some_and(|stamp| now <= stamp.saturating_add(limits.silence)) => {
                (Self::Heard, Nothing)
            }
            Self::Heard => (asked(now, false), Ask),
            Self::Asked { since, .. } | Self::Traced { since } if has_answered(since) => (Self::Heard, Nothing),
            // The command is still unread.
            Self::Traced { since } => (asked(since, true), Nothing),
            Self::Asked { next, .. } if now < next => (self, Nothing),
            Self::Asked { since, next, reported, .. } if now >= next.saturating_add(pause) => {
                (asked(since, reported), Nothing)
            }
            Self::Asked { since, looks: looks @ 2.., reported, .. } => {
                let next = now.saturating_add(pause);
                (Self::Asked { since, next, looks: looks - 1, reported }, Nothing)
            }
            Self::Asked { since, reported, .. } if seen.process == RunState::Traced => {
                (Self::Traced { since }, if reported { Nothing } else { LeaveAlone })
            }
            Self::Asked { .. } => (self, Unresponsive),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: SilenceLimits = SilenceLimits { silence: Duration::from_secs(60), answer: Duration::from_secs(10) };
    const ASKED: Duration = Duration::from_secs(1000);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn reading(stamp: u64) -> LivenessReading {
        LivenessReading { stamp: Some(seconds(stamp)), is_excused: false, process: RunState::Other }
    }

    /// How a worker that was asked at 1000 s, and last polled at 900 s, is judged by looks at these times.
    fn looked_at(times: impl IntoIterator<Item = u64>, process: RunState) -> (Liveness, LivenessVerdict) {
        let first = (Liveness::Heard, LivenessVerdict::Nothing);
        let looks = std::iter::once(1000).chain(times);
        looks.fold(first, |(state, _), at| state.look(LivenessReading { process, ..reading(900) }, seconds(at), LIMITS))
    }

    #[test]
    fn a_worker_is_asked_when_its_stamp_is_old() {
        use LivenessVerdict::{Ask, Nothing};
        for (name, seen, verdict) in [
            ("it has just polled", reading(1000), Nothing),
            ("it may be silent this long", reading(940), Nothing),
            ("it is silent for longer", reading(939), Ask),
            ("it has never polled", LivenessReading { stamp: None, ..reading(0) }, Ask),
            ("a stamp of the plugin's", reading(1001), Ask),
            ("it is in a job", LivenessReading { is_excused: true, ..reading(0) }, Nothing),
        ] {
            assert_eq!(Liveness::Heard.look(seen, ASKED, LIMITS).1, verdict, "{name}");
        }
    }

    #[test]
    fn what_answers_is_heard() {
        let (asked, _) = looked_at([], RunState::Other);
        for (name, seen, is_heard) in [
            ("not yet", reading(999), false),
            ("it has polled since", reading(1000), true),
            ("a stamp of the plugin's", reading(1002), false),
            ("it has a job by now", LivenessReading { is_excused: true, ..reading(0) }, true),
        ] {
            let (state, verdict) = asked.look(seen, seconds(1001), LIMITS);
            assert_eq!((state == Liveness::Heard, verdict), (is_heard, LivenessVerdict::Nothing), "{name}");
        }
    }

    #[test]
    fn silence_counts_only_while_the_manager_looks_in_time() {
        use LivenessVerdict::{Nothing, Unresponsive};
        for (name, times, verdict) in [
            ("nine looks", (1001..=1009).collect::<Vec<_>>(), Nothing),
            ("ten", (1001..=1010).collect(), Unresponsive),
            ("a round over all workers comes between two looks", vec![1001; 20], Nothing),
            ("the last one comes late", (1001..=1009).chain([1011]).collect(), Nothing),
            ("one comes late", (1001..=1005).chain(1007..=1016).collect(), Nothing),
            ("one comes late, and then ten in time", (1001..=1005).chain(1007..=1017).collect(), Unresponsive),
            ("an hour passes", vec![4600, 8200, 11_800], Nothing),
        ] {
            for process in [RunState::Other, RunState::Stopped, RunState::Uninterruptible] {
                assert_eq!(looked_at(times.clone(), process).1, verdict, "{name}");
            }
        }
    }

    #[test]
    fn a_traced_worker_is_left_alone_and_that_is_reported_once() {
        use LivenessVerdict::{LeaveAlone, Nothing, Unresponsive};
        let (state, verdict) = looked_at(1001..=1010, RunState::Traced);
        assert_eq!((state, verdict), (Liveness::Traced { since: ASKED }, LeaveAlone));
        assert_eq!(state.next(), None);
        let again = |process| {
            let first = (state, LivenessVerdict::Nothing);
            (1030..=1040).fold(first, |(state, _), at| {
                state.look(LivenessReading { process, ..reading(900) }, seconds(at), LIMITS)
            })
        };
        assert_eq!(again(RunState::Traced), (Liveness::Traced { since: ASKED }, Nothing));
        assert_eq!(again(RunState::Stopped).1, Unresponsive, "the tracer is gone");
        assert_eq!(state.look(reading(1020), seconds(1030), LIMITS), (Liveness::Heard, Nothing));
    }
}
