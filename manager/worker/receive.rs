//! Handles what a server sends, one packet at a time; a job is run and answered.

use std::time::Duration;

use crate::gearman::packet::{AssignedJob, PacketType, Response, encode};
use crate::system::clock;
use crate::system::errors::reason;
use crate::worker::job::FinishedJob;
use crate::worker::job_log::DEBUG;
use crate::worker::job_runner::{JobOrigin, JobRun};
use crate::worker::messages::WorkerMessage;
use crate::worker::serve::Worker;
use crate::worker::server_connection::{Reaction, ServerConnection, ServerMessage};
use crate::worker::trace;

/// What follows from the next packet of a server.
enum NextStep {
    /// There is no packet, or none may be taken now.
    Stop,
    /// The bytes are not a valid packet.
    Lose(String),
    /// Nothing.
    Continue,
    /// The server has answered the greeting.
    Greet,
    /// The server has no job: send PRE_SLEEP.
    Sleep,
    /// Log something about the server.
    Note(String),
    /// A job was run or refused. Log the note about it, if there is one.
    Answer(FinishedJob, Option<String>),
}

impl Worker {
    /// Processes what a server has sent, including its jobs, until everything has to be polled again.
    pub(super) fn take_packets(&mut self, server: usize) {
        let mut now = clock::now();
        loop {
            let was_greeted = self.is_greeted(server);
            match self.receive(server, now) {
                NextStep::Stop => return,
                NextStep::Lose(reason) => return self.lose(server, &reason),
                NextStep::Continue => {}
                NextStep::Greet => self.greeted(server),
                NextStep::Sleep => self.sleep(server),
                NextStep::Note(text) => self.note(server, &text),
                NextStep::Answer(finished, note) => {
                    note.into_iter().for_each(|text| self.note(server, &text));
                    now = self.answer(server, finished);
                    // A job in answer to the greeting's GRAB, although no function was registered yet.
                    if !was_greeted && self.is_greeted(server) {
                        self.greeted(server);
                    }
                    if self.is_poll_due(now) {
                        return;
                    }
                }
            }
        }
    }

    fn is_greeted(&self, server: usize) -> bool {
        self.sessions[server].protocol().is_some_and(ServerConnection::is_greeted)
    }

    /// Takes the next packet of a server, and runs the job if it is one.
    fn receive(&mut self, server: usize, now: Duration) -> NextStep {
        let Self { manager_link, sessions, runner, draining, .. } = self;
        let session = &mut sessions[server];
        let lost_at = session.lost_at;
        // While an answer is pending, no more packets are taken: one might be a job.
        let Some((name, connection)) = session.named_connection().filter(|(_, c)| c.answer.is_none()) else {
            return NextStep::Stop;
        };
        let (kind, missing, packet) = match connection.decoder.next() {
            Ok(None) => return NextStep::Stop,
            Ok(Some(packet)) => {
                if trace::is_wanted(manager_link) {
                    trace::received(manager_link, name, &packet);
                }
                (packet.kind, packet.missing, Response::parse(packet))
            }
            Err(error) => (PacketType::Noop, 0, Err(error)),
        };
        let packet = match packet {
            Ok(packet) => packet,
            Err(error) => return NextStep::Lose(format!("the job server sent nonsense: {}", reason(&error))),
        };
        match connection.protocol.receive(server_message(&packet), now) {
            Reaction::Nothing => NextStep::Continue,
            Reaction::Unexpected => {
                if manager_link.wants(DEBUG) {
                    manager_link.log(DEBUG, None, &format!("job server {name}: unexpected {}", kind.name()));
                }
                NextStep::Continue
            }
            Reaction::Greeted => NextStep::Greet,
            Reaction::Sleep => NextStep::Sleep,
            Reaction::Superseded => NextStep::Note("a result came too late: the job has been given to another".into()),
            Reaction::LogError => match packet {
                Response::Error { code, text } => {
                    let (code, text) = (String::from_utf8_lossy(code), String::from_utf8_lossy(text));
                    NextStep::Note(format!("answered with the error {code}: {text}"))
                }
                _ => NextStep::Continue,
            },
            reaction @ (Reaction::Run | Reaction::RunUnwoken) => {
                let Some(job) = assigned(&packet) else { return NextStep::Continue };
                if reaction == Reaction::RunUnwoken {
                    manager_link.try_send(&WorkerMessage::WakeUpLost { server });
                }
                let number = runner.next_job(&job);
                if number == 1 && draining.is_some() {
                    manager_link.send(&WorkerMessage::Draining { jobs: number });
                }
                let is_last = connection.protocol.grabs_out() == 0;
                let (sender, connection) = (&connection.sender, connection.number);
                let origin = JobOrigin { server: name, connection, sender, is_last, lost_at, now };
                let JobRun { finished, note } = runner.run(job, missing, &origin);
                NextStep::Answer(finished, note)
            }
        }
    }

    fn sleep(&mut self, server: usize) {
        let Some(connection) = self.sessions[server].connection() else { return };
        let sent = connection.sender().send([&encode::PRE_SLEEP]);
        trace::sent(self.manager_link, &self.sessions[server].name, &encode::PRE_SLEEP);
        self.check(server, sent);
    }
}

pub(crate) fn server_message<'a>(packet: &Response<'a>) -> ServerMessage<'a> {
    match *packet {
        Response::Noop => ServerMessage::Noop,
        Response::NoJob => ServerMessage::NoJob,
        Response::JobAssign(_) | Response::JobAssignUniq(_) | Response::JobAssignAll { .. } => ServerMessage::Assigned,
        Response::EchoRes(_) => ServerMessage::Echo,
        Response::Error { code, .. } => ServerMessage::Error(code),
        _ => ServerMessage::Other,
    }
}

fn assigned<'a>(packet: &Response<'a>) -> Option<AssignedJob<'a>> {
    match *packet {
        Response::JobAssign(job) | Response::JobAssignUniq(job) | Response::JobAssignAll { job, .. } => Some(job),
        _ => None,
    }
}
