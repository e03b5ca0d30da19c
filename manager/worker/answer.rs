//! Sends a job's answer (its result or failure) together with the request for the next job, and keeps what the server
//! does not read at once.
//!
//! Nothing blocks here. What does not fit into the socket buffer becomes pending output of that connection
//! ([`super::pending`]), and the worker turns to its other servers.

use std::time::Duration;

use gm_plugin_api::abi::RawFail;

use crate::plugins::loader::ResultBytes;
use crate::scoreboard::WorkerActivity;
use crate::system::errors::reason;
use crate::system::{child_exit, clock};
use crate::worker::broken_connection::LastJob;
use crate::worker::failures::FailureReports;
use crate::worker::grab::grab_packet;
use crate::worker::job::{self, FinishedJob};
use crate::worker::messages::{WaitingJob, WorkerMessage};
use crate::worker::pending::PendingAnswer;
use crate::worker::plugin::PluginOutcome;
use crate::worker::plugin::explain;
use crate::worker::sender::Answered;
use crate::worker::serve::Worker;
use crate::worker::session::{ServerSession, describe};
use crate::worker::{CANNOT_SERVE, trace};

/// If a job, or sending its answer, took longer than this, the worker read nothing meanwhile, so a server's silence
/// proves nothing.
const LONG: Duration = Duration::from_millis(100);
/// After a job longer than this, commands are read before the next one is asked for; after shorter ones now and then.
const SHORT: Duration = Duration::from_millis(1);
/// Sending a result larger than this may take long, and commands may arrive meanwhile, so the next job is requested
/// only afterwards.
const LARGE: usize = 1 << 20;

/// How far the worker has got with the answer to the last job.
#[derive(Debug, Default)]
pub(super) struct Answering {
    /// The last job that began.
    pub(super) last_job: Option<LastJob>,
    /// Its function has returned, but its answer is not encoded yet.
    is_answering: bool,
    pub(super) failure_reports: FailureReports,
    /// Reused for each job, to avoid allocations.
    head: Vec<u8>,
    /// Likewise: the GRABs for the next jobs.
    asks: Vec<u8>,
}

/// Size of a job's answer: a result, or a failure with its text. Sending it takes time, too.
fn size(outcome: &PluginOutcome) -> u64 {
    let bytes = outcome
        .as_ref()
        .map_or_else(|fail| fail.message.len().saturating_add(fail.payload.len()), |result| result.len());
    bytes as u64
}

impl Worker {
    /// Sends a job's answer and, in the same write, asks for the next jobs. Returns the time when sending began.
    pub(super) fn answer(&mut self, server: usize, finished: FinishedJob) -> Duration {
        let FinishedJob { outcome, mut end, scoreboard_intact } = finished;
        let began = end.function != usize::MAX;
        if began {
            let connection = self.sessions[server].connection_ref().map_or(0, |connection| connection.number);
            let (number, ran) = (self.runner.last.number, Duration::from_nanos(end.run_ns));
            self.answering.last_job = Some(LastJob { number, connection, ran, sent: None });
            self.sessions[server].connection().into_iter().for_each(|connection| connection.protocol.job_ran());
        }
        self.answering.is_answering = began;
        if let Err(fail) = &outcome
            && fail.kind == RawFail::NO_OBJECT
        {
            self.replace_after_failed_new(server, &explain(fail));
            return clock::now();
        }
        let now = clock::now();
        if Duration::from_nanos(end.run_ns) > LONG {
            self.sessions
                .iter_mut()
                .filter_map(ServerSession::connection)
                .for_each(|c| c.protocol.forgive_silence(now));
            self.sessions[server].connection_ref().into_iter().for_each(|c| c.sender().job_was_long());
        }
        // The worker must know of a stop that came during the job before it asks for the next one.
        if Duration::from_nanos(end.run_ns) > SHORT {
            self.manager_link.read_commands(now);
        } else {
            self.manager_link.poll_commands(now);
        }
        let mut outcome = job::within(outcome, self.limits.max_packet, self.runner.last.handle.len() + 1);
        if !scoreboard_intact {
            self.runner.scoreboard.recover();
            self.log_overwritten(&end);
        }
        self.exit_conditions.is_broken |= !scoreboard_intact;
        self.resume_answers();
        end.succeeded = outcome.is_ok();
        end.bytes_out = outcome.as_ref().map_or(0, |result| result.len() as u64);
        self.prefetch.job_ended(Duration::from_nanos(end.run_ns), end.bytes_in.saturating_add(size(&outcome)));
        self.record_failure(&end, &outcome, now);
        self.log_result(&end, &outcome);
        let mut head = std::mem::take(&mut self.answering.head);
        head.clear();
        let mut result = ResultBytes::default();
        match job::answer(&outcome, &self.runner.last.handle, self.limits.max_packet, &mut head) {
            Ok(()) => {
                if outcome.as_ref().is_err_and(|fail| fail.kind == RawFail::EXCEPTION) {
                    self.sessions[server].connection().into_iter().for_each(|c| c.protocol.exception_sent());
                }
                result = outcome.as_mut().map(std::mem::take).unwrap_or_default();
                self.send_answer(server, &mut head, &mut result, end.function, now);
            }
            Err(error) => self.note(server, &format!("a job's handle cannot be answered: {}", reason(&error))),
        }
        if self.draining.is_some() || self.renewal.is_some() {
            self.extend_drain(clock::now());
        }
        self.answering.is_answering = false;
        self.runner.scoreboard.end(&end, self.resting());
        // The library frees it. Whatever happens there, the job is over and its answer is sent.
        drop(result);
        self.report_failure(&end, now);
        self.runner.proctitle.idle();
        self.log_job(&end, &outcome);
        self.answering.head = head;
        self.check_job_limit(Duration::from_nanos(end.run_ns));
        self.exit_conditions
            .memory_limit
            .due_message(now)
            .into_iter()
            .for_each(|message| self.manager_link.send(&message));
        if self.exit_conditions.is_broken {
            self.begin_drain(clock::now());
        }
        now
    }

    /// The job was not begun, since there is no object. The worker sends no answer, so the server gives the job to
    /// another worker.
    fn replace_after_failed_new(&mut self, server: usize, why: &str) {
        self.manager_link.log(1, None, &format!("{why}; the worker ends, its job goes to another"));
        if !self.sessions.iter().any(ServerSession::is_answering) {
            self.runner.scoreboard.activity(WorkerActivity::Idle);
            child_exit::now(CANNOT_SERVE);
        }
        // Jobs of other servers are done, and their answers are being sent.
        let now = clock::now();
        self.answering.is_answering = false;
        self.disconnect(server, now);
        self.runner.proctitle.idle();
        self.begin_drain(now);
    }

    fn send_answer(
        &mut self,
        server: usize,
        head: &mut Vec<u8>,
        result: &mut ResultBytes,
        function: usize,
        now: Duration,
    ) {
        let grabs = if result.len() <= LARGE { self.grabs_with_result(server, now) } else { 0 };
        let traced = trace::is_wanted(self.manager_link).then(|| head.clone());
        let asks = &mut self.answering.asks;
        let Some(connection) = self.sessions[server].connection() else { return };
        asks.clear();
        (0..grabs).for_each(|_| asks.extend_from_slice(grab_packet(connection.protocol.uses_old_grab())));
        let sent = connection.sender().send_answer(head, result, asks);
        let is_whole = matches!(sent, Ok(Answered::Whole));
        connection.was_sent_more();
        let sent_at = clock::now();
        if grabs > 0 && is_whole {
            connection.protocol.grabs_sent(grabs, sent_at);
        } else {
            connection.protocol.answer_sent();
        }
        if matches!(sent, Ok(Answered::Pending)) {
            let began = function != usize::MAX;
            connection.answer = Some(PendingAnswer::new(began.then_some(self.runner.last.number), sent_at));
            let (handle, unique) = (self.runner.last.handle.clone(), self.runner.last.unique.clone());
            let job = began.then_some(WaitingJob { function, handle, unique });
            self.manager_link.send(&WorkerMessage::AnswerPending { server, job });
        } else if is_whole {
            self.is_sent(server, sent_at);
        }
        let name = &self.sessions[server].name;
        traced.iter().for_each(|head| trace::sent(self.manager_link, name, head));
        trace::sent(self.manager_link, name, if is_whole { &self.answering.asks } else { &[] });
        self.check(server, sent.map(drop));
    }

    /// No pending answer could be sent during the job that has just ended. Those that make progress now get a full
    /// turn.
    fn resume_answers(&mut self) {
        for server in 0..self.sessions.len() {
            if !self.sessions[server].is_answering() || self.flush(server) == 0 {
                continue;
            }
            if let Some(answer) = self.sessions[server].connection().and_then(|connection| connection.answer.as_mut()) {
                answer.has_its_turn(clock::now());
            }
        }
    }

    /// Sends as much of a connection's pending output as fits. Returns the number of bytes sent.
    pub(super) fn flush(&mut self, server: usize) -> usize {
        let Some(connection) = self.sessions[server].connection() else { return 0 };
        let mut sender = connection.sender();
        let (flushed, spent, is_out) = (sender.flush(), sender.take_spent(), !sender.has_pending());
        drop(sender);
        let now = clock::now();
        let sent = match flushed {
            Ok(sent) => sent,
            Err(error) => {
                self.lose(server, &describe(&error));
                return 0;
            }
        };
        match &mut connection.answer {
            Some(PendingAnswer { since, .. }) if is_out => {
                let since = *since;
                self.answer_is_out(server, since, now);
            }
            Some(answer) if sent > 0 => answer.moved(now),
            _ => {}
        }
        // As above.
        drop(spent);
        sent
    }

    /// The socket has taken an answer, whose sending began at `since`: the server may take as long again to answer what
    /// it owes.
    fn answer_is_out(&mut self, server: usize, since: Duration, now: Duration) {
        let Some(connection) = self.sessions[server].connection() else { return };
        connection.answer = None;
        connection.was_sent_more();
        connection.protocol.forgive_silence(now);
        let took = now.saturating_sub(since);
        if took > LONG {
            connection.protocol.answer_took(took);
        }
        self.extend_drain(now);
        self.is_sent(server, now);
        self.manager_link.send(&WorkerMessage::AnswerPending { server, job: None });
        self.runner.scoreboard.activity(self.resting());
    }

    /// The kernel has taken a whole answer, perhaps that of the last job.
    fn is_sent(&mut self, server: usize, now: Duration) {
        let number = self.sessions[server].connection_ref().map(|connection| connection.number);
        if let Some(job) = self.answering.last_job.as_mut().filter(|job| Some(job.connection) == number) {
            job.sent = Some(now);
        }
    }

    /// What the worker is doing outside the functions of plugins.
    pub(super) fn resting(&self) -> WorkerActivity {
        let is_of = |session: &ServerSession| session.connection_ref()?.answer?.job;
        match self.draining {
            _ if self.answering.is_answering => WorkerActivity::Answering,
            _ if self
                .answering
                .last_job
                .is_some_and(|job| self.sessions.iter().any(|session| is_of(session) == Some(job.number))) =>
            {
                WorkerActivity::AnswerPending
            }
            Some(_) => WorkerActivity::Draining,
            None => WorkerActivity::Idle,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::prefetch::Prefetch;

    fn failed(message: &str, payload: Vec<u8>) -> RawFail {
        let file = String::new().into();
        RawFail { kind: RawFail::EXCEPTION, message: message.to_owned().into(), payload: payload.into(), file, line: 0 }
    }

    /// A job in hand waits while the answers before it are sent, which a function's run time does not show.
    #[test]
    fn a_large_answer_narrows_the_window_like_a_large_workload() {
        for (name, outcome, bytes, window) in [
            ("no result", Ok(ResultBytes::default()), 0, 64),
            ("a KiB", Ok(vec![0; 1 << 10].into()), 1 << 10, 64),
            ("16 KiB", Ok(vec![0; 16 << 10].into()), 16 << 10, 4),
            ("300 KB", Ok(vec![0; 300_000].into()), 300_000, 1),
            ("an exception", Err(failed("", vec![0; 300_000])), 300_000, 1),
            ("a reason", Err(failed(&"x".repeat(16 << 10), Vec::new())), 16 << 10, 4),
        ] {
            assert_eq!(size(&outcome), bytes, "{name}");
            let mut prefetch = Prefetch::new(64, Duration::from_millis(1), 1);
            prefetch.job_ended(Duration::from_micros(1), size(&outcome));
            assert_eq!(prefetch.window(), window, "{name}");
        }
    }
}
