//! Taking leave: no more jobs, the one in hand finished, every server has proved that it has the results, then the end.
//!
//! Never a bare close: with a packet unread in the receive buffer it becomes a reset, and a result is lost.

use std::time::Duration;

use crate::gearman::packet::encode;
use crate::worker::messages::WorkerMessage;
use crate::worker::serve::Worker;
use crate::worker::server_connection::DrainStep;
use crate::worker::session::ServerSession;
use crate::worker::trace;

impl Worker {
    /// No more jobs from now on.
    pub(super) fn leave(&mut self, now: Duration) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now);
        self.scoreboard.activity(self.resting());
        self.proctitle.draining();
        self.manager_link.say(&WorkerMessage::Leaving { jobs: self.jobs });
        for session in &mut self.sessions {
            match session.connection() {
                Some(connection) => connection.protocol.drain(),
                // An attempt to connect has no use any more.
                None => drop(session.lose(now)),
            }
        }
    }

    /// Goes on taking leave; true once nothing is left to wait for.
    pub(super) fn take_leave(&mut self, now: Duration) -> bool {
        let Some(since) = self.draining else { return false };
        let late = now >= since.saturating_add(self.limits.stop_timeout);
        for server in 0..self.sessions.len() {
            self.take_leave_of(server, now, late.then_some(since));
        }
        self.sessions.iter_mut().all(|session| session.connection().is_none())
    }

    /// `late`: since when its last answers are waited for, where that is too long.
    fn take_leave_of(&mut self, server: usize, now: Duration, late: Option<Duration>) {
        let Some(connection) = self.sessions[server].connection() else { return };
        if connection.answer.is_some() {
            // Waited for like a job that runs: whoever is to be rid of this worker sooner kills it.
            return;
        }
        let unsent = connection.sender().has_pending();
        match connection.protocol.drain_step() {
            DrainStep::Done if !unsent => self.part(server, now),
            _ if late.is_some_and(|since| connection.is_receiving(since) || connection.takes_bytes()) => {
                self.leave_later(now);
            }
            _ if late.is_some() => {
                let seconds = self.limits.stop_timeout.as_secs_f32();
                let name = &self.sessions[server].name;
                let text = format!("job server {name}: no answer to the last ECHO within {seconds} s");
                self.manager_link.log(2, None, &text);
                self.part(server, now);
            }
            DrainStep::Grab => self.send_grab(server, now),
            DrainStep::Echo => {
                connection.protocol.last_echo_sent(now);
                connection.takes_bytes();
                let mut packet = Vec::with_capacity(32);
                // An ECHO of a few bytes always fits a packet.
                let _ = encode::echo_req(&mut packet, b"farewell");
                let sent = connection.sender().send([&packet]);
                trace::sent(self.manager_link, &self.sessions[server].name, &packet);
                self.check(server, sent);
            }
            DrainStep::Wait | DrainStep::Done => {}
        }
    }

    /// Ends a connection, and an answer that waited there for room.
    pub(super) fn part(&mut self, server: usize, now: Duration) {
        self.end_if_taken(server);
        let was_answering = self.sessions[server].is_answering();
        if let Some(number) = self.sessions[server].lose(now) {
            self.manager_link.say(&WorkerMessage::Disconnection { number });
        }
        if was_answering {
            self.manager_link.say(&WorkerMessage::AnswerWaits { server, job: None });
            self.scoreboard.activity(self.resting());
        }
    }

    /// When the servers' time for their last answers is over. A job that ran meanwhile does not count against them, nor
    /// does an answer that is under way.
    pub(super) fn leave_due(&self) -> Option<Duration> {
        let owes = |session: &ServerSession| Self::is_connected(session) && !session.is_answering();
        let since = self.draining.filter(|_| self.sessions.iter().any(owes))?;
        Some(since.saturating_add(self.limits.stop_timeout))
    }

    /// A job has just ended: the deadline of the last answers starts anew.
    pub(super) fn leave_later(&mut self, now: Duration) {
        if let Some(since) = &mut self.draining {
            *since = now;
        }
    }

    pub(super) fn is_connected(session: &ServerSession) -> bool {
        session.protocol().is_some()
    }
}
