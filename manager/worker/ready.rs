//! When a worker says that it is ready: one job server has answered, and the others had their moment.

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

impl Worker {
    pub(super) fn tell_readiness(&mut self) {
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
}
