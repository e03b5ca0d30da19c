//! When a worker reports that it is ready (one job server has answered, and the others have had time to), and that it
//! serves (the job servers know its functions).

use std::time::Duration;

use crate::system::clock;
use crate::worker::messages::WorkerMessage;
use crate::worker::serve::Worker;
use crate::worker::session::ServerSession;

/// How long to wait for job servers that have not done their part.
const ANSWER_WAIT: Duration = Duration::from_millis(200);

/// The progress of a worker's start.
#[derive(Debug, Default)]
pub(super) struct WorkerStartup {
    /// Whether it got the command to connect.
    pub(super) may_connect: bool,
    /// Until it is ready.
    pub(super) readiness: StartupStep,
    /// From [`Command::Activate`](crate::worker::messages::Command::Activate) until it serves.
    pub(super) registration: StartupStep,
}

/// A step that is over once every job server has done its part, or has had time to.
///
/// The step to readiness begins with the first answer to a greeting; the step to serving begins with the command to
/// activate. When the new worker serves, the one it replaces drains, so the servers must know the new worker's
/// functions by then: a server may notice that one connection was closed before it reads from another.
#[derive(Debug, Default)]
pub(super) struct StartupStep {
    began: Option<Duration>,
    over: bool,
}

impl StartupStep {
    /// It begins. True the first time.
    pub(super) fn begins(&mut self, now: Duration) -> bool {
        let first = self.began.is_none();
        self.began.get_or_insert(now);
        first
    }

    /// Whether it has begun.
    pub(super) fn has_begun(&self) -> bool {
        self.began.is_some()
    }

    /// Whether it is over, and was reported.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether to report now that it is over; true once. `settled`: there is nothing left to wait for.
    pub(super) fn ends(&mut self, now: Duration, settled: bool) -> bool {
        let ends = !self.over && self.began.is_some_and(|began| settled || now >= began.saturating_add(ANSWER_WAIT));
        self.over |= ends;
        ends
    }

    /// When waiting ends, if something is still awaited.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.began.filter(|_| !self.over).map(|began| began.saturating_add(ANSWER_WAIT))
    }
}

impl Worker {
    /// Reports that it serves, once the servers know its functions.
    pub(super) fn report_serving(&mut self) {
        if self.startup.registration.is_over() || self.draining.is_some() {
            return;
        }
        let unknown = |session: &ServerSession| {
            session.protocol().is_some_and(|protocol| protocol.is_greeted() && !protocol.knows_functions())
        };
        let known = !self.sessions.iter().any(unknown);
        if self.startup.registration.ends(clock::now(), known) {
            self.manager_link.send(&WorkerMessage::Serving);
            self.check_job_limit(Duration::MAX);
        }
    }

    pub(super) fn report_ready(&mut self) {
        if self.startup.readiness.is_over() {
            return;
        }
        let settled = |session: &ServerSession| {
            session.is_down() || session.protocol().is_some_and(|protocol| protocol.is_greeted())
        };
        let settled = self.sessions.iter().all(settled);
        if self.startup.readiness.ends(clock::now(), settled) {
            self.manager_link.send(&WorkerMessage::Ready);
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
        let mut one_of_two = StartupStep::default();
        assert!(!one_of_two.ends(ms(5000), true), "no server has answered");
        one_of_two.begins(ms(5000));
        assert_eq!(one_of_two.next_due(), Some(ms(5200)));
        assert!(!one_of_two.ends(ms(5199), false));
        assert!(one_of_two.ends(ms(5200), false));
        assert!(!one_of_two.ends(ms(5300), true), "reported once");
        let mut all = StartupStep::default();
        all.begins(ms(1));
        assert!(all.ends(ms(1), true));
    }

    #[test]
    fn serving_waits_for_what_the_servers_know_but_not_for_long() {
        let mut none = StartupStep::default();
        assert!(!none.ends(ms(5000), true), "not activated");
        let mut known = StartupStep::default();
        assert!(known.begins(ms(1)) && !known.begins(ms(2)));
        assert!(!known.ends(ms(3), false) && !known.is_over());
        assert_eq!(known.next_due(), Some(ms(201)));
        assert!(known.ends(ms(4), true) && known.is_over());
        assert!(!known.ends(ms(5), true), "reported once");
        assert_eq!(known.next_due(), None);
        let mut mute = StartupStep::default();
        mute.begins(ms(1));
        assert!(!mute.ends(ms(200), false) && mute.ends(ms(201), false));
    }
}
