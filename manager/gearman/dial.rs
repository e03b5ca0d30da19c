//! Connects to a job server with a timeout; and the errors of talking to one.

use std::io::{self, Read};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use super::packet::{ArgumentError, PacketError};
use crate::system::clock;
use crate::system::errors::reason;

/// Why a job server did not do what was asked. Each text names the server.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// Its name is not an address and cannot be looked up.
    #[error("cannot look up job server {server}: {}", reason(.source))]
    Lookup {
        /// HOST:PORT as it was given.
        server: String,
        /// The resolver's error.
        source: io::Error,
    },
    /// None of its addresses accepts a connection.
    #[error("cannot connect to job server {server}: {}", reason(.source))]
    Connect {
        /// HOST:PORT as it was given.
        server: String,
        /// The error of the last address tried.
        source: io::Error,
    },
    /// It did not answer in time.
    #[error("job server {server} did not answer {question} within {} s", .waited.as_secs_f64())]
    Deadline {
        /// HOST:PORT as it was given.
        server: String,
        /// What was sent.
        question: &'static str,
        /// How long was waited.
        waited: Duration,
    },
    /// The connection failed.
    #[error("the connection to job server {server} broke at {question}: {}", reason(.source))]
    Broken {
        /// HOST:PORT as it was given.
        server: String,
        /// What was being asked.
        question: &'static str,
        /// The system's error.
        source: io::Error,
    },
    /// It closed the connection.
    #[error("job server {server} closed the connection before it answered {question}")]
    Closed {
        /// HOST:PORT as it was given.
        server: String,
        /// What was being asked.
        question: &'static str,
    },
    /// What it sent is no packet.
    #[error("job server {server} sent something unreadable: {}", reason(.source))]
    Unreadable {
        /// HOST:PORT as it was given.
        server: String,
        /// What is wrong with it.
        source: PacketError,
    },
    /// What it sent does not have the form of an answer to an administrative command.
    #[error("job server {server} answered {question} with \"{answer}\", which is not its form")]
    Form {
        /// HOST:PORT as it was given.
        server: String,
        /// What was being asked.
        question: &'static str,
        /// The beginning of its answer, escaped.
        answer: String,
    },
    /// It answered with `ERROR`.
    #[error("job server {server} refused {question}: {code}: {text}")]
    Refused {
        /// HOST:PORT as it was given.
        server: String,
        /// What was being asked.
        question: &'static str,
        /// The server's code, escaped.
        code: String,
        /// The server's text, escaped.
        text: String,
    },
    /// Nothing was sent: no packet can carry the arguments.
    #[error("cannot ask job server {server}: {}", reason(.source))]
    Argument {
        /// HOST:PORT as it was given.
        server: String,
        /// What is wrong with it.
        source: ArgumentError,
    },
}

/// A connection, and the server's name for errors.
pub(super) struct ServerStream {
    pub(super) stream: TcpStream,
    pub(super) server: String,
}

impl ServerStream {
    /// Connects to HOST:PORT, trying its addresses in turn, for at most `timeout` in all. Looks the name up first,
    /// which blocks for as long as the system's resolver takes.
    pub(super) fn connect(server: &str, timeout: Duration) -> Result<Self, ServerError> {
        let lookup = |source| ServerError::Lookup { server: server.to_owned(), source };
        let addresses = server.to_socket_addrs().map_err(lookup)?;
        let deadline = clock::after(timeout);
        let mut last = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in addresses {
            let Some(left) = left_until(deadline) else { break };
            match TcpStream::connect_timeout(&address, left).and_then(|stream| ready(stream, timeout)) {
                Ok(stream) => return Ok(Self { stream, server: server.to_owned() }),
                Err(error) => last = error,
            }
        }
        Err(ServerError::Connect { server: server.to_owned(), source: last })
    }

    /// Reads what has arrived; `None` if nothing does before the deadline.
    pub(super) fn read(
        &mut self,
        space: &mut [u8],
        deadline: Instant,
        question: &'static str,
    ) -> Result<Option<usize>, ServerError> {
        loop {
            let Some(left) = left_until(deadline) else { return Ok(None) };
            let read = self.stream.set_read_timeout(Some(left)).and_then(|()| self.stream.read(space));
            match read {
                Ok(0) => return Err(ServerError::Closed { server: self.server.clone(), question }),
                Ok(count) => return Ok(Some(count)),
                Err(error) if is_timeout(&error) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(ServerError::Broken { server: self.server.clone(), question, source }),
            }
        }
    }

    /// The error of a write.
    pub(super) fn broken(&self, question: &'static str, timeout: Duration, source: io::Error) -> ServerError {
        let server = self.server.clone();
        if is_timeout(&source) {
            return ServerError::Deadline { server, question, waited: timeout };
        }
        ServerError::Broken { server, question, source }
    }
}

/// Without TCP_NODELAY a small packet waits up to 40 ms for the acknowledgement of the previous one.
fn ready(stream: TcpStream, timeout: Duration) -> io::Result<TcpStream> {
    stream.set_nodelay(true)?;
    stream.set_write_timeout(Some(timeout))?;
    Ok(stream)
}

/// Linux reports a socket's timeout as `WouldBlock`, other systems as `TimedOut`.
fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut)
}

/// The time left, or `None`; never zero, which would mean "no limit" to a socket.
fn left_until(deadline: Instant) -> Option<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}
