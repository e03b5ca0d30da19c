//! Decides which server to ask for the next job. If the worker may hold only one job, one GRAB is outstanding over all
//! servers, which take turns; a larger window is divided among them.

use std::time::Duration;

use crate::gearman::packet::encode;
use crate::system::clock;
use crate::worker::prefetch::{self, Division};
use crate::worker::serve::Worker;
use crate::worker::server_connection::ServerConnection;
use crate::worker::session::ServerSession;
use crate::worker::trace;

/// How long one job server keeps its turn before the next one is asked.
const SERVER_TURN: Duration = Duration::from_millis(10);

/// Whose turn it is.
#[derive(Debug, Default)]
pub(super) struct GrabTurns {
    /// The server that was asked last.
    server: usize,
    /// When its turn began.
    since: Duration,
    /// Whether the last call asked no server at all.
    pub(super) asks_nobody: bool,
    /// If that is because of pending answers: until when.
    pub(super) grabs_blocked_until: Option<Duration>,
}

impl Worker {
    /// Asks the job servers for jobs, as far as the worker may hold more.
    pub(super) fn ask(&mut self) {
        let (window, division) = self.division();
        let waits_its_turn = division == Division::Turns
            && self.sessions.iter().any(|session| session.protocol().is_some_and(ServerConnection::awaits_job));
        self.grabs.grabs_blocked_until = None;
        self.grabs.asks_nobody = waits_its_turn
            || !self.startup.registration.is_over()
            || self.draining.is_some()
            || self.exit_conditions.job_limit.is_reached(self.runner.last.number);
        if self.grabs.asks_nobody {
            return;
        }
        let now = clock::now();
        self.grabs.grabs_blocked_until = self.grabs_blocked_until(now);
        if self.grabs.grabs_blocked_until.is_some() {
            self.grabs.asks_nobody = true;
            return;
        }
        match division {
            Division::Turns => self.ask_next(window, now),
            Division::Shares(share) => self.ask_all(window, share, now),
        }
    }

    fn ask_next(&mut self, window: u32, now: Duration) {
        let skip = usize::from(now.saturating_sub(self.grabs.since) >= SERVER_TURN);
        let count = self.sessions.len();
        let mut round = (0..count).map(|step| (self.grabs.server + skip + step) % count);
        let next = round.find(|&server| self.sessions[server].may_ask(now));
        if let Some(server) = next {
            if server != self.grabs.server || skip == 1 {
                (self.grabs.server, self.grabs.since) = (server, now);
            }
            self.send_grabs(server, self.refill(server, window, window).max(1), now);
        }
    }

    fn ask_all(&mut self, window: u32, share: u32, now: Duration) {
        for server in 0..self.sessions.len() {
            if !self.sessions[server].may_ask(now) {
                continue;
            }
            match self.refill(server, window, share) {
                // The other servers use the whole window. This one is asked when one of their jobs has ended.
                0 => self.grabs.asks_nobody = true,
                count => self.send_grabs(server, count, now),
            }
        }
    }

    /// How many jobs the worker may hold now, over all job servers, and how they are divided among those.
    fn division(&self) -> (u32, Division) {
        let window = self.prefetch.window();
        if window == 1 {
            return (1, Division::Turns);
        }
        let window = self
            .exit_conditions
            .job_limit
            .left(self.runner.last.number)
            .map_or(window, |left| window.min(u32::try_from(left).unwrap_or(u32::MAX)).max(1));
        (window, prefetch::divide(window, self.sessions.iter().filter(|session| session.may_have_work()).count()))
    }

    /// How many more GRABs a server may have.
    fn refill(&self, server: usize, window: u32, share: u32) -> u32 {
        let own = self.sessions[server].grabs_out();
        let all: u32 = self.sessions.iter().map(ServerSession::grabs_out).sum();
        prefetch::refill(window, share.min(self.sessions[server].window()), own, all - own)
    }

    pub(super) fn send_grabs(&mut self, server: usize, count: u32, now: Duration) {
        let Some(connection) = self.sessions[server].connection() else { return };
        let first = if connection.protocol.grabs_with_pre_sleep() { &encode::PRE_SLEEP[..] } else { &[] };
        let grabs = grab_packet(connection.protocol.uses_old_grab()).repeat(count as usize);
        connection.protocol.grabs_sent(count, now);
        let sent = connection.sender().send([first, &grabs]);
        [first, &grabs].iter().for_each(|packets| trace::sent(self.manager_link, &self.sessions[server].name, packets));
        self.check(server, sent);
    }

    /// How many jobs to ask for together with a result, of the server that assigned the job.
    pub(super) fn grabs_with_result(&mut self, server: usize, now: Duration) -> u32 {
        let over = self.exit_conditions.is_broken || self.exit_conditions.job_limit.is_reached(self.runner.last.number);
        if !self.startup.registration.is_over() || over || self.draining.is_some() || self.manager_link.holds_requests()
        {
            return 0;
        }
        if self.renewal.as_ref().is_some_and(|renewal| renewal.drains(server)) {
            return 0;
        }
        let (window, division) = self.division();
        if self.grabs_blocked_until(now).is_some()
            || self.sessions[server].protocol().is_some_and(ServerConnection::is_in_doubt)
        {
            return 0;
        }
        match division {
            Division::Turns if self.keeps_its_turn(server, now) => self.refill(server, window, window),
            Division::Turns => 0,
            Division::Shares(share) => self.refill(server, window, share),
        }
    }

    /// Whether to ask the server that assigned the last job for the next one, too.
    fn keeps_its_turn(&mut self, server: usize, now: Duration) -> bool {
        let others =
            || self.sessions.iter().enumerate().filter(|(other, _)| *other != server).map(|(_, session)| session);
        if others().any(|session| session.protocol().is_some_and(ServerConnection::awaits_job)) {
            return false;
        }
        if server == self.grabs.server && now.saturating_sub(self.grabs.since) < SERVER_TURN {
            return true;
        }
        let somebody_waits = others().any(|session| session.may_ask(now));
        if !somebody_waits {
            (self.grabs.server, self.grabs.since) = (server, now);
        }
        !somebody_waits
    }

    /// Until when no server is asked for a job, because a pending answer makes progress; none if one may be asked.
    pub(super) fn grabs_blocked_until(&self, now: Duration) -> Option<Duration> {
        let answers = self.sessions.iter().filter_map(|session| session.connection_ref()?.answer);
        answers.filter_map(|answer| answer.blocks_grabs_until(now)).max()
    }
}

pub(super) fn grab_packet(old: bool) -> &'static [u8] {
    if old { &encode::GRAB_JOB } else { &encode::GRAB_JOB_UNIQ }
}
