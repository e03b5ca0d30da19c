//! Which server is asked for the next job: one GRAB is out over all of them, and each has its turn.

use std::time::Duration;

use crate::gearman::packet::encode;
use crate::system::clock;
use crate::worker::serve::Worker;
use crate::worker::trace;

/// A job server is asked again and again for this long, then the next one has its turn.
const TURN: Duration = Duration::from_millis(10);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct GrabTurns {
    /// The server that was asked last.
    server: usize,
    /// Since when it has its turn.
    since: Duration,
    /// No server was asked for a job although one could be.
    pub(super) asks_nobody: bool,
    /// Until when, where that is because answers wait for room.
    pub(super) held_until: Option<Duration>,
}

impl Worker {
    /// Asks the next server for a job, unless an answer is awaited.
    pub(super) fn ask(&mut self) {
        let awaited =
            self.sessions.iter().any(|session| session.protocol().is_some_and(|protocol| protocol.awaits_job()));
        self.grabs.held_until = None;
        self.grabs.asks_nobody = awaited
            || !self.startup.registration.is_over()
            || self.draining.is_some()
            || self.exit_conditions.job_limit.is_reached(self.runner.last.number);
        if self.grabs.asks_nobody {
            return;
        }
        let now = clock::now();
        self.grabs.held_until = self.held_until(now);
        if self.grabs.held_until.is_some() {
            self.grabs.asks_nobody = true;
            return;
        }
        let skip = usize::from(now.saturating_sub(self.grabs.since) >= TURN);
        let count = self.sessions.len();
        let mut round = (0..count).map(|step| (self.grabs.server + skip + step) % count);
        let next = round.find(|&server| self.sessions[server].may_ask(now));
        if let Some(server) = next {
            if server != self.grabs.server || skip == 1 {
                (self.grabs.server, self.grabs.since) = (server, now);
            }
            self.send_grab(server, now);
        }
    }

    pub(super) fn send_grab(&mut self, server: usize, now: Duration) {
        let Some(connection) = self.sessions[server].connection() else { return };
        let grab = grab_packet(connection.protocol.uses_old_grab());
        let first = if connection.protocol.grabs_with_pre_sleep() { &encode::PRE_SLEEP[..] } else { &[] };
        connection.protocol.grab_sent(now);
        let sent = connection.sender().send([first, grab]);
        [first, grab].iter().for_each(|packet| trace::sent(self.manager_link, &self.sessions[server].name, packet));
        self.check(server, sent);
    }

    /// Whether the server that gave a job is asked for the next one too.
    pub(super) fn asks_again(&mut self, server: usize, now: Duration) -> bool {
        let over = self.exit_conditions.is_broken || self.exit_conditions.job_limit.is_reached(self.runner.last.number);
        if !self.startup.registration.is_over() || over || self.draining.is_some() || self.manager_link.is_stopping() {
            return false;
        }
        let others =
            || self.sessions.iter().enumerate().filter(|(other, _)| *other != server).map(|(_, session)| session);
        if others().any(|session| session.protocol().is_some_and(|protocol| protocol.awaits_job()))
            || self.held_until(now).is_some()
        {
            return false;
        }
        if server == self.grabs.server && now.saturating_sub(self.grabs.since) < TURN {
            return true;
        }
        let somebody_waits = others().any(|session| session.may_ask(now));
        if !somebody_waits {
            (self.grabs.server, self.grabs.since) = (server, now);
        }
        !somebody_waits
    }

    /// Until when no server is asked for a job, because a pending answer makes progress; none if one may be asked.
    pub(super) fn held_until(&self, now: Duration) -> Option<Duration> {
        let answers = self.sessions.iter().filter_map(|session| session.connection_ref()?.answer);
        answers.filter_map(|answer| answer.holds_until(now)).max()
    }
}

pub(super) fn grab_packet(old: bool) -> &'static [u8] {
    if old { &encode::GRAB_JOB } else { &encode::GRAB_JOB_UNIQ }
}
