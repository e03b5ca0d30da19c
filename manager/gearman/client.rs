//! A client: submits jobs to one job server and receives what happens to them.

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use super::dial::{ServerError, ServerStream};
use super::packet::{ArgumentError, Decoder, JobStatus, Magic, Response, Submission, encode};
use crate::system::clock;

#[cfg(test)]
mod tests;

/// A job's handle: the server's name for it.
pub type JobHandle = Vec<u8>;

/// Something that happened to a job this client submitted in the foreground.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobUpdate {
    /// Which job.
    pub handle: JobHandle,
    /// What happened to it.
    pub event: JobEvent,
}

/// What can happen to a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobEvent {
    /// Progress.
    Status {
        /// How much is done...
        done: u64,
        /// ... of how much, in units of the function's own.
        of: u64,
    },
    /// Data, while the job runs.
    Data(Vec<u8>),
    /// A warning, while the job runs.
    Warning(Vec<u8>),
    /// The job ended with this result.
    Complete(Vec<u8>),
    /// The job failed.
    Fail,
    /// The job failed with this reason. Sent only after [`Client::forward_exceptions`]; only gearmand ends the job with
    /// it.
    Exception(Vec<u8>),
}

impl JobEvent {
    /// Whether this is the last event of the job.
    #[must_use]
    pub fn is_end(&self) -> bool {
        matches!(self, Self::Complete(_) | Self::Fail | Self::Exception(_))
    }
}

/// A connection to one job server. Every call blocks, and gives up after the timeout of [`connect`](Self::connect)
/// without progress.
pub struct Client {
    dialled: ServerStream,
    timeout: Duration,
    decoder: Decoder,
    out: Vec<u8>,
    /// Events that arrived while the client waited for something else.
    events: VecDeque<JobUpdate>,
}

impl Client {
    /// Connects to `server` (HOST:PORT) within `timeout`, which also bounds the wait for each answer. Results longer
    /// than `max_packet` bytes are refused.
    ///
    /// # Errors
    ///
    /// The name cannot be looked up (which blocks for as long as the resolver takes), or no address takes a connection.
    pub fn connect(server: &str, timeout: Duration, max_packet: usize) -> Result<Self, ServerError> {
        let dialled = ServerStream::connect(server, timeout)?;
        let decoder = Decoder::new(Magic::Response, max_packet);
        Ok(Self { dialled, timeout, decoder, out: Vec::new(), events: VecDeque::new() })
    }

    /// Sets how long to wait for each answer from now on.
    ///
    /// # Errors
    ///
    /// The system's, as for zero.
    pub fn set_timeout(&mut self, timeout: Duration) -> Result<(), ServerError> {
        let set = self.dialled.stream.set_write_timeout(Some(timeout));
        set.map_err(|error| self.dialled.broken("a timeout", timeout, error))?;
        self.timeout = timeout;
        Ok(())
    }

    /// Submits a job and returns its handle. An empty `unique` lets the server make one.
    ///
    /// # Errors
    ///
    /// As [`ServerError`] lists; `Refused` if the server does not accept the job.
    pub fn submit(
        &mut self,
        how: Submission,
        function: &[u8],
        unique: &[u8],
        workload: &[u8],
    ) -> Result<JobHandle, ServerError> {
        self.send(|out| encode::submit_head(out, how, function, unique, workload.len()), workload, "a job")?;
        self.answer("a job", |packet| match packet {
            Response::JobCreated { handle } => Some(handle.to_vec()),
            _ => None,
        })
    }

    /// The next event of any of the submitted jobs; `None` if there is none before `deadline`.
    ///
    /// # Errors
    ///
    /// As [`ServerError`] lists.
    pub fn next_event(&mut self, deadline: Instant) -> Result<Option<JobUpdate>, ServerError> {
        match self.events.pop_front() {
            Some(event) => Ok(Some(event)),
            None => self.receive(deadline, "a job", event),
        }
    }

    /// Asks for a job's status.
    ///
    /// # Errors
    ///
    /// As [`ServerError`] lists.
    pub fn job_status(&mut self, handle: &[u8]) -> Result<JobStatus, ServerError> {
        self.send(|out| encode::get_status(out, handle), b"", "GET_STATUS")?;
        self.answer("GET_STATUS", |packet| match packet {
            Response::StatusRes { handle: about, status } if about == handle => Some(status),
            _ => None,
        })
    }

    /// Asks the server to send `data` back, which proves that it lives and has read everything sent before.
    ///
    /// # Errors
    ///
    /// As [`ServerError`] lists; `Deadline` also from servers that do not answer this packet, such as geard.
    pub fn echo(&mut self, data: &[u8]) -> Result<(), ServerError> {
        self.send(|out| encode::echo_req(out, data), b"", "ECHO_REQ")?;
        self.answer("ECHO_REQ", |packet| (packet == Response::EchoRes(data)).then_some(()))
    }

    /// Asks for exceptions, which the server otherwise does not forward.
    ///
    /// # Errors
    ///
    /// As [`ServerError`] lists.
    pub fn forward_exceptions(&mut self) -> Result<(), ServerError> {
        self.send(|out| encode::option_req(out, b"exceptions"), b"", "OPTION_REQ")?;
        self.answer("OPTION_REQ", |packet| matches!(packet, Response::OptionRes(_)).then_some(()))
    }

    /// Checks that the server answers, and asks it for exceptions if it supports them.
    ///
    /// Every server answers `GET_STATUS`; some do not answer `ECHO_REQ` or `OPTION_REQ`, so this waits for neither.
    ///
    /// # Errors
    ///
    /// As [`ServerError`] lists, except `Refused`: a server that refuses is one that answers.
    pub fn greet(&mut self) -> Result<(), ServerError> {
        const NOBODY: &[u8] = b"H:nobody:0";
        let both =
            |out: &mut Vec<u8>| encode::option_req(out, b"exceptions").and_then(|()| encode::get_status(out, NOBODY));
        self.send(both, b"", "GET_STATUS")?;
        let answer = self.answer("GET_STATUS", |packet| matches!(packet, Response::StatusRes { .. }).then_some(()));
        match answer {
            Err(ServerError::Refused { .. }) => Ok(()),
            answer => answer,
        }
    }

    /// Writes a packet whose last argument is not copied.
    fn send(
        &mut self,
        encode: impl FnOnce(&mut Vec<u8>) -> Result<(), ArgumentError>,
        data: &[u8],
        question: &'static str,
    ) -> Result<(), ServerError> {
        self.out.clear();
        let argument = |source| ServerError::Argument { server: self.dialled.server.clone(), source };
        encode(&mut self.out).map_err(argument)?;
        let mut stream = &self.dialled.stream;
        let written = stream.write_all(&self.out).and_then(|()| stream.write_all(data));
        written.map_err(|error| self.dialled.broken(question, self.timeout, error))
    }

    /// Waits for the answer to the packet just sent.
    fn answer<T>(
        &mut self,
        question: &'static str,
        pick: impl FnMut(Response<'_>) -> Option<T>,
    ) -> Result<T, ServerError> {
        let deadline = clock::after(self.timeout);
        self.receive(deadline, question, pick)?.ok_or_else(|| {
            let server = self.dialled.server.clone();
            ServerError::Deadline { server, question, waited: self.timeout }
        })
    }

    /// Reads until `pick` accepts a packet. Keeps events of jobs for later; drops other packets.
    fn receive<T>(
        &mut self,
        deadline: Instant,
        question: &'static str,
        mut pick: impl FnMut(Response<'_>) -> Option<T>,
    ) -> Result<Option<T>, ServerError> {
        loop {
            let server = &self.dialled.server;
            let unreadable = |source| ServerError::Unreadable { server: server.clone(), source };
            while let Some(packet) = self.decoder.next().map_err(unreadable)? {
                let packet = Response::parse(packet).map_err(unreadable)?;
                if let Response::Error { code, text } = packet {
                    let (code, text) = (code.escape_ascii().to_string(), text.escape_ascii().to_string());
                    return Err(ServerError::Refused { server: server.clone(), question, code, text });
                }
                if let Some(answer) = pick(packet) {
                    return Ok(Some(answer));
                }
                self.events.extend(event(packet));
            }
            let dialled = &mut self.dialled;
            let read = self.decoder.read_from(|space| Ok(dialled.read(space, deadline, question)?.unwrap_or(0)))?;
            if read == 0 {
                return Ok(None);
            }
        }
    }
}

/// The event in a packet, if it is one.
fn event(packet: Response<'_>) -> Option<JobUpdate> {
    let (handle, news) = match packet {
        Response::WorkStatus { handle, done, of } => (handle, JobEvent::Status { done, of }),
        Response::WorkData { handle, data } => (handle, JobEvent::Data(data.to_vec())),
        Response::WorkWarning { handle, data } => (handle, JobEvent::Warning(data.to_vec())),
        Response::WorkComplete { handle, data } => (handle, JobEvent::Complete(data.to_vec())),
        Response::WorkFail { handle } => (handle, JobEvent::Fail),
        Response::WorkException { handle, data } => (handle, JobEvent::Exception(data.to_vec())),
        _ => return None,
    };
    Some(JobUpdate { handle: handle.to_vec(), event: news })
}
