//! Draining: the worker takes no more jobs, finishes the one it runs, and exits once every server has its results.
//!
//! It never just closes a connection: with a packet unread in the receive buffer, a close becomes a reset and a result
//! is lost.

use std::time::Duration;

use crate::gearman::packet::encode;
use crate::worker::messages::WorkerMessage;
use crate::worker::serve::Worker;
use crate::worker::server_connection::DrainStep;
use crate::worker::session::ServerSession;
use crate::worker::trace;

impl Worker {
    /// No more jobs from now on.
    pub(super) fn begin_drain(&mut self, now: Duration) {
        if self.draining.is_some() {
            return;
        }
        self.draining = Some(now);
        self.renewal = None;
        self.runner.scoreboard.activity(self.resting());
        self.runner.proctitle.draining();
        self.manager_link.send(&WorkerMessage::Draining { jobs: self.runner.last.number });
        for session in &mut self.sessions {
            match session.connection() {
                Some(connection) => connection.protocol.drain(),
                // It is pointless to connect now.
                None => drop(session.lose(now)),
            }
        }
    }

    /// Takes the next step of draining on every connection; true once all are closed.
    pub(super) fn advance_drain(&mut self, now: Duration) -> bool {
        let Some(since) = self.draining else { return false };
        let late = now >= since.saturating_add(self.limits.stop_timeout);
        for server in 0..self.sessions.len() {
            if self.drain_server(server, now, late.then_some(since)) {
                self.extend_drain(now);
            }
        }
        self.sessions.iter_mut().all(|session| session.connection().is_none())
    }

    /// `late`: since when the worker waits for the server's last answers, if that is too long. True if the server gets
    /// more time, since it is receiving or sending.
    pub(super) fn drain_server(&mut self, server: usize, now: Duration, late: Option<Duration>) -> bool {
        let Some(connection) = self.sessions[server].connection() else { return false };
        if connection.answer.is_some() {
            // The worker waits for it as for a running job. If it must exit sooner, the manager kills it.
            return false;
        }
        let unsent = connection.sender().has_pending();
        match connection.protocol.drain_step() {
            DrainStep::Done if !unsent => self.disconnect(server, now),
            _ if late.is_some_and(|since| connection.is_receiving(since) || connection.takes_bytes()) => {
                return true;
            }
            _ if late.is_some() => {
                let seconds = self.limits.stop_timeout.as_secs_f32();
                let name = &self.sessions[server].name;
                let text = format!("job server {name}: no answer to the last ECHO within {seconds} s");
                self.manager_link.log(2, None, &text);
                self.disconnect(server, now);
            }
            DrainStep::Grab => self.send_grabs(server, 1, now),
            DrainStep::Echo => {
                connection.protocol.last_echo_sent(now);
                connection.takes_bytes();
                let mut packet = Vec::with_capacity(32);
                // An ECHO of a few bytes always fits a packet.
                let _ = encode::echo_req(&mut packet, b"draining");
                let sent = connection.sender().send([&packet]);
                trace::sent(self.manager_link, &self.sessions[server].name, &packet);
                self.check(server, sent);
            }
            DrainStep::Wait | DrainStep::Done => {}
        }
        false
    }

    /// Closes a connection, and drops an answer that waits there for room.
    pub(super) fn disconnect(&mut self, server: usize, now: Duration) {
        self.exit_if_broken_by_plugin(server);
        let was_answering = self.sessions[server].is_answering();
        if let Some(number) = self.sessions[server].lose(now) {
            self.manager_link.send(&WorkerMessage::Disconnection { number });
        }
        if was_answering {
            self.manager_link.send(&WorkerMessage::AnswerPending { server, job: None });
            self.runner.scoreboard.activity(self.resting());
        }
    }

    /// When the servers' time for their last answers ends. Neither a running job nor an answer that is being sent counts
    /// against them.
    pub(super) fn drain_due(&self) -> Option<Duration> {
        let owes = |session: &ServerSession| Self::is_connected(session) && !session.is_answering();
        let since = self.draining.filter(|_| self.sessions.iter().any(owes))?;
        Some(since.saturating_add(self.limits.stop_timeout))
    }

    /// When a worker that drains, and waits for room to send an answer, has to poll, so that the manager can tell it from
    /// one that hangs: it reads no commands any more.
    pub(super) fn stamp_due(&self) -> Option<Duration> {
        let interval = Some(self.limits.echo_interval).filter(|interval| !interval.is_zero());
        let waits = self.draining.is_some() && self.sessions.iter().any(ServerSession::is_answering);
        Some(self.polled.saturating_add(interval.filter(|_| waits)?))
    }

    /// A job has just ended, so the deadline for the last answers starts again.
    pub(super) fn extend_drain(&mut self, now: Duration) {
        if let Some(since) = &mut self.draining {
            *since = now;
        }
        if let Some(renewal) = &mut self.renewal {
            renewal.extend(now);
        }
    }

    pub(super) fn is_connected(session: &ServerSession) -> bool {
        session.protocol().is_some()
    }
}
