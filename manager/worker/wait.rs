//! Where a worker blocks: in recv while it expects an answer from one server, otherwise in poll over everything.

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use crate::gearman::packet::encode;
use crate::scoreboard::WorkerActivity;
use crate::system::errors::reason;
use crate::system::{child_exit, clock};
use crate::worker::manager_link::POLL_INTERVAL;
use crate::worker::serve::Worker;
use crate::worker::server_connection::{ServerConnection, Timeout};
use crate::worker::session::{OpenConnection, ServerSession, describe};
use crate::worker::{CANNOT_SERVE, trace};

impl Worker {
    /// Waits for something to happen, and reads what came. A busy worker waits for its answer only, and polls
    /// everything now and then: so a job costs two system calls.
    pub(super) fn wait(&mut self) {
        let now = clock::now();
        let is_due = self.is_poll_due(now);
        let in_hand = self.sessions.iter().any(ServerSession::has_packet);
        if in_hand && !is_due {
            return;
        }
        let answers = self.sessions.iter().any(ServerSession::is_answering);
        if self.draining.is_none() && !is_due && !answers && self.read_awaited(now) {
            return;
        }
        self.poll_all(in_hand);
        let now = clock::now();
        self.runner.scoreboard.polled(now);
        let greeted = self.sessions.iter().filter_map(ServerSession::protocol).filter(|server| server.is_greeted());
        if let Some(at) = greeted.map(ServerConnection::received_at).max() {
            self.runner.scoreboard.received(at);
        }
        self.tick(now);
        self.connect(now);
    }

    /// Whether everything has to be polled again.
    ///
    /// This does not depend on when commands were last read: they are also read after a job, and then nothing else
    /// would ever be polled while one server has job after job.
    pub(super) fn is_poll_due(&self, now: Duration) -> bool {
        now.saturating_sub(self.polled) >= POLL_INTERVAL
    }

    /// Waits a little for the one server that owes an answer. False if there is none, or several do, or nothing came.
    fn read_awaited(&mut self, now: Duration) -> bool {
        let awaited = |s: &ServerSession| s.protocol().is_some_and(ServerConnection::awaits_job);
        let mut waiting = self.sessions.iter().enumerate().filter(|(_, session)| awaited(session));
        let (Some((server, _)), None) = (waiting.next(), waiting.next()) else { return false };
        let Some(connection) = self.sessions[server].connection() else { return false };
        match connection.read_soon(now) {
            Ok(came) => came,
            Err(error) => {
                self.lose(server, &describe(&error));
                true
            }
        }
    }

    /// `in_hand`: only what is there is read, since jobs wait to be run.
    fn poll_all(&mut self, in_hand: bool) {
        let now = clock::now();
        let due = if in_hand { Some(now) } else { self.next_due() };
        let timeout = due.map_or(PollTimeout::NONE, |due| timeout_until(now, due));
        let listens = self.draining.is_none();
        let events: Vec<(usize, PollFlags)> = {
            let mut watched = Vec::with_capacity(self.sessions.len() + 2);
            if listens {
                watched.push(PollFd::new(self.manager_link.as_fd(), PollFlags::POLLIN));
                watched.push(PollFd::new(self.stop.as_fd(), PollFlags::POLLIN));
            }
            let own = watched.len();
            let mut servers = Vec::with_capacity(self.sessions.len());
            for (server, session) in self.sessions.iter().enumerate() {
                if let Some((fd, reads, writes)) = session.watched() {
                    let mut flags = PollFlags::empty();
                    flags.set(PollFlags::POLLIN, reads);
                    flags.set(PollFlags::POLLOUT, writes);
                    watched.push(PollFd::new(fd, flags));
                    servers.push(server);
                }
            }
            match poll(&mut watched, timeout) {
                Ok(_) => {}
                Err(Errno::EINTR) => return,
                Err(error) => self.exit_unable_to_wait(error),
            }
            self.polled = clock::now();
            let happened = |fd: &PollFd<'_>| fd.revents().unwrap_or(PollFlags::empty());
            if listens {
                if happened(&watched[0]).is_empty() {
                    self.manager_link.note_poll(self.polled)
                } else {
                    self.manager_link.read_commands(self.polled)
                }
                if !happened(&watched[1]).is_empty() {
                    self.stop.settle();
                }
            }
            servers.into_iter().zip(watched[own..].iter().map(happened)).collect()
        };
        for (server, flags) in events {
            self.serve_socket(server, flags);
        }
    }

    /// Nothing would be read any more, neither a job nor a command, and the next attempt would fail as well.
    fn exit_unable_to_wait(&self, error: Errno) -> ! {
        let cause = match error {
            Errno::EINVAL => " (a job has lowered the limit of open files, RLIMIT_NOFILE, below what is in use)",
            _ => "",
        };
        let text = format!("the worker cannot wait for jobs and ends: poll failed: {}{cause}", reason(&error));
        self.manager_link.log(1, None, &text);
        self.runner.scoreboard.activity(WorkerActivity::Idle);
        child_exit::now(CANNOT_SERVE)
    }

    fn serve_socket(&mut self, server: usize, flags: PollFlags) {
        if flags.is_empty() {
            return;
        }
        if flags.contains(PollFlags::POLLOUT) {
            self.flush(server);
        }
        let readable = PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR;
        if flags.intersects(readable)
            && let Some(connection) = self.sessions[server].connection()
            && let Err(error) = connection.read_now(clock::now())
        {
            self.lose(server, &describe(&error));
        }
    }

    /// The earliest timeout, if nothing is received before.
    fn next_due(&self) -> Option<Duration> {
        let connects = self.draining.is_none() && self.startup.may_connect;
        let sessions = self.sessions.iter().filter(|session| connects || Self::is_connected(session));
        let sessions = sessions.filter_map(|session| session.next_due(&self.limits, !self.grabs.asks_nobody));
        let own = [
            self.startup.readiness.next_due(),
            self.startup.registration.next_due(),
            self.renewal.as_ref().and_then(|renewal| renewal.next_due(self.limits.stop_timeout)),
            self.drain_due(),
            self.stamp_due(),
            self.grabs.grabs_blocked_until,
        ];
        sessions.chain(own.into_iter().flatten()).min()
    }

    /// Sends an ECHO on connections that were silent for long, and closes unresponsive ones.
    fn tick(&mut self, now: Duration) {
        let limits = self.limits.clone();
        let quiet =
            self.draining.is_none() && !self.sessions.iter().any(|s| s.protocol().is_some_and(|t| t.awaits_job()));
        for server in 0..self.sessions.len() {
            // The server owes nothing while our answer is being sent (the kernel's timeout covers that), nor while we
            // have not processed what it has sent.
            let owes = |connection: &&mut OpenConnection| connection.answer.is_none() && !connection.has_packet();
            let connection = self.sessions[server].connection().filter(owes);
            let Some(connection) = connection else { continue };
            let timeout = connection.answer_timeout(&limits);
            match connection.protocol.check_timeouts(now, limits.echo_interval, timeout, quiet) {
                Timeout::Nothing => {}
                Timeout::Echo => self.send_echo(server, now),
                Timeout::Unresponsive if connection.protocol.is_greeted() && connection.takes_bytes() => {
                    connection.protocol.forgive_silence(now)
                }
                Timeout::Unresponsive => {
                    let greeted = connection.protocol.is_greeted();
                    let reason = no_answer_reason(greeted, timeout);
                    if greeted { self.lose(server, &reason) } else { self.report_unresponsive(server, &reason) }
                }
            }
        }
    }

    fn send_echo(&mut self, server: usize, now: Duration) {
        let Some(connection) = self.sessions[server].connection() else { return };
        connection.protocol.echo_sent(now);
        connection.takes_bytes();
        let mut packet = Vec::with_capacity(32);
        // An ECHO of a few bytes always fits a packet.
        let _ = encode::echo_req(&mut packet, b"alive?");
        let sent = connection.sender().send([&packet]);
        trace::sent(self.manager_link, &self.sessions[server].name, &packet);
        self.check(server, sent);
    }
}

fn no_answer_reason(greeted: bool, timeout: Duration) -> String {
    let seconds = timeout.as_secs_f32();
    if greeted {
        format!("unresponsive: no answer to ECHO within {seconds} s")
    } else {
        format!(
            "it accepts connections but does not answer within {seconds} s (stopped, or out of file descriptors: \
             gearmand serves no more connections than its soft limit of open files allows)"
        )
    }
}

/// Rounded up, so that what is due then really is due when poll returns.
fn timeout_until(now: Duration, due: Duration) -> PollTimeout {
    let left = due.saturating_sub(now);
    let millis = left.as_nanos().div_ceil(1_000_000);
    PollTimeout::try_from(Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))).unwrap_or(PollTimeout::MAX)
}
