//! The command's side of the control socket: blocking, with a deadline for everything.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::messages::{
    AcceptedReply, AttemptsOf, ControlRequest, ErrorCode, PrintedLine, RequestError, RollbackReply, VersionStatus,
};
use super::status::StatusReply;
use super::{EventLine, PROTOCOL, other_users, read_only_socket, socket};
use crate::plugins::name::FunctionName;
use crate::system::clock;
use crate::system::errors::reason_at;
use crate::system::owner::owner;

/// The longest reply accepted: one about ten thousand workers has about 4 MB.
const LONGEST_REPLY: u64 = 64 * 1024 * 1024;

/// A connection to a manager.
#[derive(Debug)]
pub struct ControlClient {
    path: PathBuf,
    timeout: Duration,
    stream: BufReader<DeadlineStream>,
}

/// Why a manager did not answer as asked.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No manager listens.
    #[error(
        "no manager answers at {}: {}; {}",
        path.display(),
        reason_at(path, .source),
        elsewhere.as_deref().unwrap_or("if one runs, give the -c, -w, --state-dir or --control that it was started with")
    )]
    NoManager {
        /// The control socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
        /// Where another user's manager listens, and how to ask it.
        elsewhere: Option<String>,
    },
    /// This user may not connect.
    #[error("{text}")]
    NotAllowed {
        /// Whose manager it is, and how to ask it.
        text: String,
        /// The system's reason.
        source: io::Error,
    },
    /// The manager refused.
    #[error("{}", refusal.text)]
    Refused {
        /// The control socket.
        path: PathBuf,
        /// Its reason.
        refusal: RequestError,
    },
    /// The manager did not answer in time.
    #[error("the manager at {} did not answer within {timeout:?}; it may be stopped or overloaded", path.display())]
    Deadline {
        /// The control socket.
        path: PathBuf,
        /// How long the command waited.
        timeout: Duration,
    },
    /// The reply is not valid.
    #[error("the manager at {} gave an answer that is not understood: {text}", path.display())]
    Protocol {
        /// The control socket.
        path: PathBuf,
        /// What is wrong with it.
        text: String,
    },
}

impl ClientError {
    /// The exit code of a command that ends with this error: 3 no manager, 4 refused, 5 deadline, else 1.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoManager { .. } => 3,
            Self::NotAllowed { .. } => 4,
            Self::Deadline { .. } => 5,
            Self::Refused { refusal, .. } => match refusal.code {
                ErrorCode::Deadline => 5,
                ErrorCode::SlowReader | ErrorCode::Internal => 1,
                _ => 4,
            },
            Self::Protocol { .. } => 1,
        }
    }
}

/// Any line from a manager.
#[derive(Debug, Deserialize)]
struct ReplyLine {
    v: u32,
    ok: Option<Value>,
    error: Option<RequestError>,
    event: Option<EventLine<Map<String, Value>>>,
}

impl ControlClient {
    /// Connects to the manager with this control socket. `timeout` applies to this and to each answer. Blocks.
    ///
    /// # Errors
    ///
    /// No manager listens, this user may not connect, or the manager is too busy to accept a connection in time.
    pub fn connect(path: &Path, timeout: Duration) -> Result<Self, ClientError> {
        let until = clock::after(timeout);
        let connected =
            socket::connect_to(path, timeout).or_else(|error| read_only(path, &error, timeout).ok_or(error));
        match connected {
            Ok(stream) => {
                let stream = BufReader::new(DeadlineStream { stream, until: Some(until) });
                Ok(Self { path: path.to_owned(), timeout, stream })
            }
            Err(source) => Err(failed(path, timeout, source)),
        }
    }

    /// Asks what the manager and each of its workers are doing. Blocks at most for the timeout.
    ///
    /// # Errors
    ///
    /// The manager refuses, exits, answers something invalid, or answers too late.
    pub fn status(&mut self) -> Result<StatusReply, ClientError> {
        self.ask_status(true)
    }

    /// The same without the list of workers, which may be long.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn summary(&mut self) -> Result<StatusReply, ClientError> {
        self.ask_status(false)
    }

    fn ask_status(&mut self, workers: bool) -> Result<StatusReply, ClientError> {
        let content = self.ask(ControlRequest::Status { workers })?;
        StatusReply::deserialize(content).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks whether the manager's loop runs; returns its answer, a sentence.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn ping(&mut self) -> Result<String, ClientError> {
        self.tell(ControlRequest::Ping)
    }

    /// Asks for the stored versions of all functions.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn versions(&mut self) -> Result<Vec<VersionStatus>, ClientError> {
        let content = self.ask(ControlRequest::Versions)?;
        Vec::deserialize(content).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks for what a worker printed and logged last, oldest first.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn output(&mut self, pid: u32) -> Result<Vec<PrintedLine>, ClientError> {
        let content = self.ask(ControlRequest::Output { pid })?;
        Vec::deserialize(content).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks the manager to serve an earlier version until the file changes.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn roll_back(
        &mut self,
        function: &str,
        hash: Option<String>,
        force: bool,
    ) -> Result<RollbackReply, ClientError> {
        let function = self.function(function)?;
        let content = self.ask(ControlRequest::Rollback { function, hash, force })?;
        RollbackReply::deserialize(content).map_err(|error| self.protocol(error.to_string()))
    }

    /// Asks the manager to forget which workers a job has killed; returns its answer, a sentence.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn clear_attempts(&mut self, of: AttemptsOf) -> Result<String, ClientError> {
        self.tell(ControlRequest::ClearAttempts(of))
    }

    /// Asks the manager to try a rejected version again.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn retry(&mut self, function: &str) -> Result<AcceptedReply, ClientError> {
        let function = self.function(function)?;
        self.request(ControlRequest::Retry { function })
    }

    /// Sends a request that is answered with an [`AcceptedReply`].
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn request(&mut self, request: ControlRequest) -> Result<AcceptedReply, ClientError> {
        let content = self.ask(request)?;
        AcceptedReply::deserialize(content).map_err(|error| self.protocol(error.to_string()))
    }

    /// Sends a request that is answered with a sentence.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn tell(&mut self, request: ControlRequest) -> Result<String, ClientError> {
        let content = self.ask(request)?;
        String::deserialize(content).map_err(|error| self.protocol(error.to_string()))
    }

    /// The process that listens on the socket, if the kernel knows it in this namespace of processes.
    pub fn manager_pid(&self) -> Option<i32> {
        let peer = getsockopt(&self.stream.get_ref().stream, PeerCredentials).ok()?;
        Some(peer.pid()).filter(|pid| *pid > 0)
    }

    /// Asks for the events the manager has kept, oldest first.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn latest_events(mut self) -> Result<Events, ClientError> {
        self.ask(ControlRequest::Events { follow: false })?;
        Ok(Events(self))
    }

    /// Asks for future events. When this returns, the manager has subscribed us: no later event is missed.
    ///
    /// # Errors
    ///
    /// As for [`ControlClient::status`].
    pub fn follow_events(mut self) -> Result<Events, ClientError> {
        self.ask(ControlRequest::Events { follow: true })?;
        self.stream.get_mut().until = None;
        Ok(Events(self))
    }

    /// Sends one request, and returns the content of its answer.
    fn ask(&mut self, request: ControlRequest) -> Result<Value, ClientError> {
        self.stream.get_mut().until = Some(clock::after(self.timeout));
        let sent = self.stream.get_mut().stream.write_all(request.to_line().as_bytes());
        // A manager that refuses us may have closed the connection before we asked; its reason can still be read.
        if let Err(error) = sent
            && error.kind() != ErrorKind::BrokenPipe
        {
            return Err(failed(&self.path, self.timeout, error));
        }
        match self.line()? {
            Some(ReplyLine { ok: Some(content), .. }) => Ok(content),
            Some(_) => Err(self.protocol("it is neither ok nor error".into())),
            None => Err(failed(&self.path, self.timeout, ErrorKind::UnexpectedEof.into())),
        }
    }

    /// The next line, if it is no error; `None` at the end.
    fn line(&mut self) -> Result<Option<ReplyLine>, ClientError> {
        let mut line = Vec::new();
        let read = self.stream.by_ref().take(LONGEST_REPLY).read_until(b'\n', &mut line);
        read.map_err(|error| failed(&self.path, self.timeout, error))?;
        if line.is_empty() {
            return Ok(None);
        }
        let line: ReplyLine = serde_json::from_slice(&line).map_err(|error| self.protocol(error.to_string()))?;
        match line {
            ReplyLine { v, .. } if v != PROTOCOL => {
                Err(self.protocol(format!("it speaks version {v} of the control protocol, this command {PROTOCOL}")))
            }
            ReplyLine { error: Some(refusal), .. } => Err(ClientError::Refused { path: self.path.clone(), refusal }),
            line => Ok(Some(line)),
        }
    }

    /// Refuses a text that cannot be a function's name as the manager refuses an unknown name.
    ///
    /// # Errors
    ///
    /// It cannot be one.
    pub fn function(&self, name: &str) -> Result<FunctionName, ClientError> {
        FunctionName::new(name).map_err(|_| ClientError::Refused {
            path: self.path.clone(),
            refusal: RequestError::new(
                ErrorCode::Refused,
                format!("there is no function {name}: no library of it is in worker_dir"),
            ),
        })
    }

    fn protocol(&self, text: String) -> ClientError {
        ClientError::Protocol { path: self.path.clone(), text }
    }
}

/// A connection to the manager's socket for a group, where this user may not open the first, or where another user has
/// started the manager.
fn read_only(control: &Path, error: &io::Error, timeout: Duration) -> Option<UnixStream> {
    let control = match error.kind() {
        ErrorKind::PermissionDenied => control.to_owned(),
        ErrorKind::NotFound => other_users::same_configuration(control)?,
        _ => return None,
    };
    let (_, path) = read_only_socket(&control);
    let stream = socket::connect_to(&path, timeout).ok()?;
    let peer = getsockopt(&stream, PeerCredentials).ok()?.uid();
    // Someone else may have made a socket there, for a manager that has none.
    (peer == 0 || owner(&control).is_some_and(|owner| owner.as_raw() == peer)).then_some(stream)
}

fn failed(path: &Path, timeout: Duration, source: io::Error) -> ClientError {
    let path = path.to_owned();
    match source.kind() {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => ClientError::Deadline { path, timeout },
        ErrorKind::PermissionDenied => ClientError::NotAllowed { text: other_users::not_allowed(&path), source },
        _ => ClientError::NoManager { elsewhere: other_users::elsewhere(&path), path, source },
    }
}

/// A manager's events, in order, until it exits or the connection closes.
#[derive(Debug)]
pub struct Events(ControlClient);

impl Events {
    /// From now on waits for the next event until `until`; after that, returns [`ClientError::Deadline`].
    pub fn wait_until(&mut self, until: Instant) {
        self.0.stream.get_mut().until = Some(until);
    }
}

impl Iterator for Events {
    type Item = Result<EventLine<Map<String, Value>>, ClientError>;

    /// Blocks until there is one.
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.0.line() {
                Ok(Some(ReplyLine { event: Some(event), .. })) => return Some(Ok(event)),
                // A kind of line that a later manager sends.
                Ok(Some(_)) => {}
                Ok(None) => return None,
                // The manager was killed, or exited with something of ours unread.
                Err(ClientError::NoManager { .. }) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// A stream whose reads end at one deadline, rather than each after a timeout: a manager that sends a byte a second is
/// late as well.
#[derive(Debug)]
struct DeadlineStream {
    stream: UnixStream,
    until: Option<Instant>,
}

impl Read for DeadlineStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.until.map(|until| until.saturating_duration_since(Instant::now()));
        if left == Some(Duration::ZERO) {
            return Err(ErrorKind::TimedOut.into());
        }
        self.stream.set_read_timeout(left)?;
        self.stream.read(buffer)
    }
}

#[cfg(test)]
mod tests;
