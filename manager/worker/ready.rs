//! When a worker says that it is ready (one job server has answered, and the others had their moment), and that it
//! serves: the job servers know its functions.

use std::time::Duration;

use crate::worker::orders::Word;
use crate::worker::serve::Worker;

/// What the other job servers are given once the first has answered.
const MOMENT: Duration = Duration::from_millis(200);

/// How far a worker is from ready.
#[derive(Debug, Default)]
pub struct Readiness {
    first_answer: Option<Duration>,
    said: bool,
}

impl Readiness {
    /// A job server has answered its greeting.
    pub fn answered(&mut self, now: Duration) {
        self.first_answer.get_or_insert(now);
    }

    /// Whether to say ready now; true once. `settled`: every server has answered or is known to be down.
    fn is_reached(&mut self, now: Duration, settled: bool) -> bool {
        let reached = !self.said && self.first_answer.is_some_and(|first| settled || now >= first + MOMENT);
        self.said |= reached;
        reached
    }

    /// When the moment of the others is over, where that is still awaited.
    pub fn next_due(&self) -> Option<Duration> {
        self.first_answer.filter(|_| !self.said).map(|first| first + MOMENT)
    }
}

/// From the order to go until the worker serves. Whoever it replaces is told to leave then, so its functions have to be
/// known by then: a server may see the end of one connection before what came on another.
#[derive(Debug, Default)]
pub struct Registration {
    began: Option<Duration>,
    over: bool,
}

impl Registration {
    /// The worker was told to go. True the first time.
    pub fn begins(&mut self, now: Duration) -> bool {
        let first = self.began.is_none();
        self.began.get_or_insert(now);
        first
    }

    /// Whether functions may be registered.
    pub fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// Whether jobs may be asked for.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether to say serving now; true once. `known`: every server that was told of the functions has them.
    fn ends(&mut self, now: Duration, known: bool) -> bool {
        let ends = !self.over && self.began.is_some_and(|began| known || now >= began + MOMENT);
        self.over |= ends;
        ends
    }

    /// When nothing is waited for any more, where something still is.
    pub fn next_due(&self) -> Option<Duration> {
        self.began.filter(|_| !self.over).map(|began| began + MOMENT)
    }
}

impl Worker {
    /// Says that it serves, once the servers know its functions.
    pub(super) fn tell_serving(&mut self) {
        if self.registration.is_over() || self.leaving.is_some() {
            return;
        }
        let unknown = |session: &crate::worker::session::Session| {
            session.talk().is_some_and(|talk| talk.is_greeted() && !talk.is_known())
        };
        let known = !self.sessions.iter().any(unknown);
        if self.registration.ends(crate::system::clock::now(), known) {
            self.line.say(&Word::Serving);
            self.counts_runs(Duration::MAX);
        }
    }

    pub(super) fn tell_readiness(&mut self) {
        if self.readiness.said {
            return;
        }
        let settled = |session: &crate::worker::session::Session| {
            session.is_down() || session.talk().is_some_and(|talk| talk.is_greeted())
        };
        let settled = self.sessions.iter().all(settled);
        if self.readiness.is_reached(crate::system::clock::now(), settled) {
            self.line.say(&Word::Ready);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn ready_waits_for_one_answer_and_gives_the_others_a_moment() {
        let mut one_of_two = Readiness::default();
        assert!(!one_of_two.is_reached(ms(5000), true), "no server has answered");
        one_of_two.answered(ms(5000));
        assert_eq!(one_of_two.next_due(), Some(ms(5200)));
        assert!(!one_of_two.is_reached(ms(5199), false));
        assert!(one_of_two.is_reached(ms(5200), false));
        assert!(!one_of_two.is_reached(ms(5300), true), "said once");
        let mut all = Readiness::default();
        all.answered(ms(1));
        assert!(all.is_reached(ms(1), true));
    }

    #[test]
    fn serving_waits_for_what_the_servers_know_but_not_for_long() {
        let mut none = Registration::default();
        assert!(!none.ends(ms(5000), true), "not told to go");
        let mut known = Registration::default();
        assert!(known.begins(ms(1)) && !known.begins(ms(2)));
        assert!(!known.ends(ms(3), false) && !known.is_over());
        assert_eq!(known.next_due(), Some(ms(201)));
        assert!(known.ends(ms(4), true) && known.is_over());
        assert!(!known.ends(ms(5), true), "said once");
        assert_eq!(known.next_due(), None);
        let mut mute = Registration::default();
        mute.begins(ms(1));
        assert!(!mute.ends(ms(200), false) && mute.ends(ms(201), false));
    }
}
