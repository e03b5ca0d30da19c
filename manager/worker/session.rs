//! One job server: connecting to it, reading from it, sending to it, and trying again.

use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::socket::{MsgFlags, recv};
use socket2::{Domain, Protocol, SockAddr, Socket, TcpKeepalive, Type};

use crate::gearman::packet::{Decoder, Magic, encode};
use crate::scoreboard::ScoreboardWriter;
use crate::system::errors::reason;
use crate::system::unsent::unacknowledged;
use crate::worker::log_rate_limit::{LogPermit, LogRateLimit};
use crate::worker::manager_link::POLL_INTERVAL;
use crate::worker::messages::{WorkerLimits, WorkerServer};
use crate::worker::pending::PendingAnswer;
use crate::worker::reconnect_backoff::ReconnectBackoff;
use crate::worker::sender::{self, Sender};
use crate::worker::server_connection::ServerConnection;

/// If the server does not acknowledge data within this time, the connection is closed, as with an unanswered keepalive.
const USER_TIMEOUT: Duration = Duration::from_secs(30);
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
/// Bytes of whole packets that a connection may buffer while they cannot be processed (because a result is being sent).
const MAX_BUFFERED: usize = 64 * 1024;

/// After so many failed attempts in a row the manager is told again: it knows whether other workers fare better.
const REPORT_EVERY: u32 = 4;

/// One job server of a worker.
pub(crate) struct ServerSession {
    /// As configured.
    pub name: String,
    addresses: Vec<SocketAddr>,
    next_address: usize,
    retry: ReconnectBackoff,
    link: Link,
    /// When the last connection to it was lost.
    pub lost_at: Option<Duration>,
    /// Losses and failed attempts since it was up; 0 while it is.
    failures: u32,
    /// How many more lines are logged about its answers.
    log_rate_limit: LogRateLimit,
}

enum Link {
    Down,
    Connecting { socket: Socket, deadline: Duration },
    Up(Box<OpenConnection>),
}

/// A connection that was made.
pub(crate) struct OpenConnection {
    /// Counts the worker's connections from 1.
    pub number: u32,
    /// The protocol state: what was sent, and which answers are outstanding.
    pub protocol: ServerConnection,
    /// Received bytes that were not processed yet.
    pub decoder: Decoder,
    /// The sending side.
    pub sender: Arc<Mutex<Sender>>,
    /// The pending answer, if there is one. No other job is taken from this connection meanwhile.
    pub answer: Option<PendingAnswer>,
    socket: Arc<Socket>,
    /// Identifies the socket: its descriptor number may belong to another file by now.
    identity: Option<(u64, u64)>,
    /// How much was still unacknowledged at the last check.
    on_its_way: Option<usize>,
}

/// What the manager is told about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DownReport {
    /// The server is down.
    Down,
    /// Another few attempts have failed.
    StillDown,
    /// Nothing.
    Nothing,
}

/// The outcome of an attempt to connect.
#[derive(Debug)]
pub(crate) enum ConnectAttempt {
    /// It is still in progress.
    Underway,
    /// The connection is made; nothing was sent yet.
    Made,
    /// It failed, with the reason for a log line.
    Failed(String),
}

impl ServerSession {
    /// A session that will connect at once.
    pub(crate) fn new(server: WorkerServer, siblings: u32, seed: u64) -> Self {
        Self {
            name: server.name,
            addresses: server.addresses,
            next_address: 0,
            retry: ReconnectBackoff::new(siblings, seed),
            link: Link::Down,
            lost_at: None,
            failures: 0,
            log_rate_limit: LogRateLimit::default(),
        }
    }

    /// The name now resolves to other addresses; an existing connection stays.
    pub(crate) fn set_addresses(&mut self, addresses: Vec<SocketAddr>) {
        self.addresses = addresses;
        self.next_address = 0;
    }

    /// The connection, where there is one.
    pub(crate) fn connection(&mut self) -> Option<&mut OpenConnection> {
        match &mut self.link {
            Link::Up(connection) => Some(connection),
            _ => None,
        }
    }

    /// The server's name, and the connection, if there is one.
    pub(crate) fn named_connection(&mut self) -> Option<(&str, &mut OpenConnection)> {
        match &mut self.link {
            Link::Up(connection) => Some((&self.name, connection)),
            _ => None,
        }
    }

    /// The connection, read-only.
    pub(crate) fn connection_ref(&self) -> Option<&OpenConnection> {
        match &self.link {
            Link::Up(connection) => Some(connection),
            _ => None,
        }
    }

    /// The protocol state, if there is a connection.
    pub(crate) fn protocol(&self) -> Option<&ServerConnection> {
        self.connection_ref().map(|connection| &connection.protocol)
    }

    /// Whether an answer waits for room in the connection.
    pub(crate) fn is_answering(&self) -> bool {
        self.connection_ref().is_some_and(|connection| connection.answer.is_some())
    }

    /// What to poll: the descriptor, and whether to wait for it to become writable.
    pub(crate) fn watched(&self) -> Option<(BorrowedFd<'_>, bool, bool)> {
        match &self.link {
            Link::Down => None,
            Link::Connecting { socket, .. } => Some((socket.as_fd(), false, true)),
            Link::Up(connection) => {
                let writes = connection.answer.is_some() || connection.sender().has_pending();
                Some((connection.socket.as_fd(), connection.may_read(), writes))
            }
        }
    }

    /// Whether it may be asked for a job now.
    pub(crate) fn may_ask(&self, now: Duration) -> bool {
        self.connection_ref().is_some_and(|connection| connection.answer.is_none() && connection.protocol.may_grab(now))
    }

    /// Whether the server may assign jobs to this worker, and the worker may take them.
    pub(crate) fn may_have_work(&self) -> bool {
        self.connection_ref()
            .is_some_and(|connection| connection.answer.is_none() && connection.protocol.may_have_work())
    }

    /// GRABs that are outstanding, or whose jobs are waiting in the receive buffer.
    pub(crate) fn grabs_out(&self) -> u32 {
        self.protocol().map_or(0, ServerConnection::grabs_out)
    }

    /// How many GRABs its connection allows.
    pub(crate) fn window(&self) -> u32 {
        self.connection_ref().map_or(1, |connection| {
            if connection.decoder.held() < MAX_BUFFERED { connection.protocol.window() } else { 1 }
        })
    }

    /// Whether a packet has come that can be taken now: a job, perhaps.
    pub(crate) fn has_packet(&self) -> bool {
        self.connection_ref().is_some_and(|connection| connection.answer.is_none() && connection.has_packet())
    }

    /// The next timeout, if nothing is received before. `asks`: whether the server may be asked for a job by then.
    pub(crate) fn next_due(&self, limits: &WorkerLimits, asks: bool) -> Option<Duration> {
        match &self.link {
            Link::Down => (!self.addresses.is_empty()).then(|| self.retry.at()),
            Link::Connecting { deadline, .. } => Some(*deadline),
            Link::Up(connection) if connection.answer.is_some() => None,
            Link::Up(connection) => {
                let asks = connection.protocol.grab_due().filter(|_| asks);
                let answers = connection.protocol.next_timeout(limits.echo_interval, connection.answer_timeout(limits));
                asks.into_iter().chain(answers).min()
            }
        }
    }

    /// Marks the server as down. Returns what the manager is told.
    pub(crate) fn mark_down(&mut self) -> DownReport {
        self.failures = self.failures.saturating_add(1);
        match self.failures {
            1 => DownReport::Down,
            failures if failures.is_multiple_of(REPORT_EVERY) => DownReport::StillDown,
            _ => DownReport::Nothing,
        }
    }

    /// Whether the server is known to be down or unresponsive.
    pub(crate) fn is_down(&self) -> bool {
        self.failures > 0 || self.addresses.is_empty()
    }

    /// Whether one more line may be logged of what the server answers.
    pub(crate) fn log_permit(&mut self, now: Duration) -> Option<LogPermit> {
        self.log_rate_limit.ask(now)
    }

    /// The server answers.
    pub(crate) fn mark_up(&mut self, now: Duration) {
        self.failures = 0;
        self.retry.worked(now);
    }

    /// Starts an attempt to connect if one is due, or checks the one in progress.
    pub(crate) fn connect(&mut self, now: Duration, limits: &WorkerLimits) -> ConnectAttempt {
        match &self.link {
            Link::Down if !self.addresses.is_empty() && now >= self.retry.at() => self.begin(now, limits),
            Link::Connecting { socket, deadline } => match (connect_error(socket), *deadline <= now) {
                (Ok(true), _) => ConnectAttempt::Made,
                (Ok(false), false) => ConnectAttempt::Underway,
                (Ok(false), true) => {
                    self.failed(now, format!("no connection within {} s", limits.connect_timeout.as_secs_f32()))
                }
                (Err(error), _) => self.failed(now, format!("cannot connect: {}", describe(&error))),
            },
            _ => ConnectAttempt::Underway,
        }
    }

    fn begin(&mut self, now: Duration, limits: &WorkerLimits) -> ConnectAttempt {
        let address = self.addresses[self.next_address % self.addresses.len()];
        self.next_address = self.next_address.wrapping_add(1);
        match open(address) {
            Ok(socket) => {
                self.link = Link::Connecting { socket, deadline: now.saturating_add(limits.connect_timeout) };
                ConnectAttempt::Underway
            }
            Err(error) => self.failed(now, format!("cannot connect to {address}: {}", describe(&error))),
        }
    }

    fn failed(&mut self, now: Duration, reason: String) -> ConnectAttempt {
        self.lose(now);
        ConnectAttempt::Failed(reason)
    }

    /// Starts to use an established connection, and greets the server with ECHO and GRAB before any CAN_DO: any answer
    /// proves that the server is alive, and it cannot assign a job yet.
    ///
    /// # Errors
    /// The system's error, if the connection is already gone.
    pub(crate) fn establish(
        &mut self,
        number: u32,
        id: &str,
        now: Duration,
        limits: &WorkerLimits,
        scoreboard: &Arc<ScoreboardWriter>,
    ) -> io::Result<&mut OpenConnection> {
        let Link::Connecting { socket, .. } = std::mem::replace(&mut self.link, Link::Down) else {
            return Err(io::ErrorKind::NotConnected.into());
        };
        tune(&socket)?;
        let socket = Arc::new(socket);
        let mut sender = Sender::new(Arc::clone(&socket), Arc::clone(scoreboard), number);
        let mut greeting = Vec::with_capacity(160);
        let encoded = encode::set_client_id(&mut greeting, id.as_bytes());
        encoded.and_then(|()| encode::echo_req(&mut greeting, b"greeting")).map_err(io::Error::other)?;
        greeting.extend_from_slice(&encode::GRAB_JOB_UNIQ);
        sender.send([&greeting])?;
        let max_packet = usize::try_from(limits.max_packet).unwrap_or(usize::MAX);
        self.link = Link::Up(Box::new(OpenConnection {
            number,
            protocol: ServerConnection::greeting(now),
            decoder: Decoder::new(Magic::Response, max_packet).cutting_jobs(),
            sender: Arc::new(Mutex::new(sender)),
            answer: None,
            identity: identity(&socket),
            socket,
            on_its_way: None,
        }));
        self.connection().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// The connection was closed to make another.
    pub(crate) fn reconnect_soon(&mut self, now: Duration) {
        self.retry.renewed(now);
    }

    /// Closes the connection and plans the next attempt. Returns the number of the closed connection.
    pub(crate) fn lose(&mut self, now: Duration) -> Option<u32> {
        self.retry.failed(now);
        match std::mem::replace(&mut self.link, Link::Down) {
            Link::Up(connection) => {
                self.lost_at = Some(now);
                Some(connection.close())
            }
            _ => None,
        }
    }
}

impl OpenConnection {
    /// The sending side, for the moment.
    pub(crate) fn sender(&self) -> MutexGuard<'_, Sender> {
        sender::lock(&self.sender)
    }

    /// The socket, for poll and to hand a copy to the manager.
    pub(crate) fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Whether something in this process has closed, replaced or shut it down.
    pub(crate) fn is_broken_by_plugin(&self) -> bool {
        identity(&self.socket) != self.identity || self.sender().was_shut_down()
    }

    /// Whether to read more. A packet that is still arriving is read to its end, however long it is, because it cannot
    /// be processed before.
    pub(crate) fn may_read(&self) -> bool {
        self.decoder.is_partial() || self.decoder.pending() < MAX_BUFFERED
    }

    /// Whether a whole packet waits to be taken.
    pub(crate) fn has_packet(&self) -> bool {
        !self.decoder.is_partial()
    }

    /// Whether the server has acknowledged some of the sent data since the last call: then it is alive, and what it has
    /// to answer may not even have reached it.
    pub(crate) fn takes_bytes(&mut self) -> bool {
        let left = unacknowledged(self.socket.as_fd());
        let before = self.on_its_way.replace(left);
        before.map_or(left > 0, |before| left < before)
    }

    /// Whether part of a packet (perhaps a job) has arrived since then.
    pub(crate) fn is_receiving(&self, since: Duration) -> bool {
        self.decoder.is_partial() && self.decoder.pending() > 0 && self.protocol.has_received_since(since)
    }

    /// More was sent: earlier readings of the send queue no longer count.
    pub(crate) fn was_sent_more(&mut self) {
        self.on_its_way = None;
    }

    /// How long the server may be silent: during the greeting, the connect timeout applies.
    pub(crate) fn answer_timeout(&self, limits: &WorkerLimits) -> Duration {
        if self.protocol.is_greeted() { limits.echo_timeout } else { limits.connect_timeout }
    }

    /// Reads what is there; never waits. `Ok(false)`: nothing was.
    ///
    /// # Errors
    /// The connection is over; `UnexpectedEof` where the server closed it.
    pub(crate) fn read_now(&mut self, now: Duration) -> io::Result<bool> {
        self.receive(MsgFlags::MSG_DONTWAIT, now)
    }

    /// Waits for something to read, up to the receive timeout, which is also how often commands are read.
    ///
    /// # Errors
    /// As [`OpenConnection::read_now`].
    pub(crate) fn read_soon(&mut self, now: Duration) -> io::Result<bool> {
        self.receive(MsgFlags::empty(), now)
    }

    fn receive(&mut self, flags: MsgFlags, now: Duration) -> io::Result<bool> {
        match self.decoder.read_from(|space| recv(self.socket.as_raw_fd(), space, flags)) {
            Ok(0) => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(_) => {
                self.protocol.bytes_received(now);
                self.sender().received();
                Ok(true)
            }
            Err(Errno::EAGAIN | Errno::EINTR) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    /// Shuts the connection down for every copy of the socket, including those that a plugin's children hold.
    fn close(&self) -> u32 {
        let _ = self.socket.shutdown(std::net::Shutdown::Both);
        self.number
    }
}

fn identity(socket: &Socket) -> Option<(u64, u64)> {
    nix::sys::stat::fstat(socket).ok().map(|stat| (stat.st_dev, stat.st_ino))
}

/// Starts to connect, without waiting.
fn open(address: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SockAddr::from(address)) {
        Ok(()) => Ok(socket),
        Err(error) if error.raw_os_error() == Some(Errno::EINPROGRESS as i32) => Ok(socket),
        Err(error) => Err(error),
    }
}

/// Whether the connection is established, or the error if it failed.
fn connect_error(socket: &Socket) -> io::Result<bool> {
    if let Some(error) = socket.take_error()? {
        return Err(error);
    }
    match socket.peer_addr() {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(false),
        Err(error) => Err(error),
    }
}

/// Nagle would cost 44 ms a job; keepalive and user timeout each notice a dead peer that the other misses.
fn tune(socket: &Socket) -> io::Result<()> {
    socket.set_tcp_nodelay(true)?;
    let keepalive = TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL);
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(POLL_INTERVAL))
}

/// A connection error, worded for a log line.
pub(crate) fn describe(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::UnexpectedEof => "the job server closed the connection".into(),
        _ if error.raw_os_error().is_some() => reason(error).to_lowercase(),
        _ => reason(error),
    }
}
