//! The sending side of one connection.
//!
//! It stands behind a mutex of its own because a plugin's threads may report progress while the worker's thread waits
//! in the plugin. No packet is ever sent in the middle of another: what could not be sent at once is kept here, ahead
//! of everything sent later.

use std::io::{self, IoSlice};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, sendmsg};
use socket2::Socket;

use crate::plugins::loader::ResultBytes;
use crate::scoreboard::{ScoreboardWriter, SendingGuard};
use crate::worker::pending::{Part, Queue};

/// What is sent to one job server.
pub(crate) struct Sender {
    socket: Arc<Socket>,
    scoreboard: Arc<ScoreboardWriter>,
    connection: u32,
    /// Pending output.
    pending: Option<Pending>,
    /// What was pending and is sent, see [`Sender::take_spent`].
    spent: Vec<Part>,
    /// Total bytes of packets accepted so far, sent or pending.
    accepted: u64,
    /// A send has failed, perhaps in the middle of a packet: nothing may follow.
    broken: Option<Broken>,
    /// Whether nothing was sent since the running job began, nor between the last receive and the start of the job.
    silent: bool,
    /// Whether something was sent since the last receive.
    sent_since: bool,
}

/// A send has failed.
#[derive(Debug, Clone, Copy)]
struct Broken {
    /// Whether the connection could be shut down, for every copy of the socket.
    ended: bool,
    /// Whether this process (a plugin) had already shut it down.
    by_shutdown: bool,
}

/// Packets, the first of which may have been partly sent.
struct Pending {
    queue: Queue,
    sending: SendingGuard,
}

/// How much of an answer could be sent at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The socket has taken it, together with the GRAB.
    Whole,
    /// The rest of it is pending, and the GRAB was not sent: no job may wait behind a slow answer.
    Pending,
}

impl Sender {
    /// The sending side of a connected socket; `connection` is its number on the scoreboard.
    pub(crate) fn new(socket: Arc<Socket>, scoreboard: Arc<ScoreboardWriter>, connection: u32) -> Self {
        Self {
            socket,
            scoreboard,
            connection,
            pending: None,
            spent: Vec::new(),
            accepted: 0,
            broken: None,
            silent: false,
            sent_since: true,
        }
    }

    /// Results that were sent completely. The caller frees them when it has noted that: their library's code does it,
    /// which may crash or hang.
    pub(crate) fn take_spent(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.spent)
    }

    /// Whether there is pending output.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Sends as much pending output as fits. Returns the number of bytes sent.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<usize> {
        let Some(mut pending) = self.pending.take() else { return Ok(0) };
        let pushed = self.push(&pending.queue.slices());
        self.spent.extend(pending.queue.advance(*pushed.as_ref().unwrap_or(&0)));
        // Half a packet stays half a packet as long as the manager's copy of the socket is open.
        if pending.queue.left() > 0 && self.broken.is_none_or(|broken| !broken.ended) {
            self.pending = Some(pending);
        }
        pushed
    }

    /// Sends whole packets. Never blocks: what does not fit is sent by a later [`Sender::flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn send<const N: usize>(&mut self, packets: [&[u8]; N]) -> io::Result<()> {
        self.accepted += packets.iter().map(|packet| packet.len() as u64).sum::<u64>();
        if let Some(pending) = &mut self.pending {
            packets.iter().for_each(|packet| pending.queue.extend(packet));
            return self.flush().map(drop);
        }
        let sending = self.scoreboard.sending(self.connection);
        let mut sent = self.push(&packets.map(IoSlice::new))?;
        let mut queue = Queue::default();
        for packet in packets {
            let taken = sent.min(packet.len());
            queue.extend(&packet[taken..]);
            sent -= taken;
        }
        self.keep(queue, sending);
        Ok(())
    }

    /// Sends a job's answer, without copying its data, and then `grab`. Never blocks: if the answer does not fit
    /// completely, the rest is kept without copying (`head` and `data` are taken) for a later [`Sender::flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn send_answer(
        &mut self,
        head: &mut Vec<u8>,
        data: &mut ResultBytes,
        grab: &[u8],
    ) -> io::Result<Answered> {
        self.flush()?;
        let length = head.len() + data.len();
        let (sending, sent) = match self.pending.take() {
            Some(Pending { mut queue, sending }) => {
                queue.push(Part::Bytes(std::mem::take(head)));
                queue.push(Part::Data(std::mem::take(data)));
                self.accepted += length as u64;
                self.pending = Some(Pending { queue, sending });
                return Ok(Answered::Pending);
            }
            None => {
                let sending = self.scoreboard.sending(self.connection);
                (sending, self.push(&[head.as_slice(), data, grab].map(IoSlice::new))?)
            }
        };
        let mut queue = Queue::default();
        self.accepted += length as u64;
        if sent < length {
            queue.push(Part::Bytes(std::mem::take(head)));
            queue.push(Part::Data(std::mem::take(data)));
            self.spent.extend(queue.advance(sent));
            self.keep(queue, sending);
            return Ok(Answered::Pending);
        }
        self.accepted += grab.len() as u64;
        queue.extend(&grab[sent - length..]);
        self.keep(queue, sending);
        Ok(Answered::Whole)
    }

    fn keep(&mut self, queue: Queue, sending: SendingGuard) {
        if queue.left() > 0 {
            self.pending = Some(Pending { queue, sending });
        }
    }

    /// Sends a progress report, or drops it while older bytes wait: the next one is newer anyway.
    pub(crate) fn send_status(&mut self, packet: &[u8]) -> bool {
        if self.has_pending() { self.flush().is_ok() } else { self.send([packet]).is_ok() }
    }

    /// A job begins. If the connection turns out to be shut down before anything was sent, this job did it, unless the
    /// job was already in hand when the previous one was answered: then the server may have reset the connection at
    /// that answer.
    ///
    /// `is_last`: every GRAB that was sent has been answered.
    pub(crate) fn job_begins(&mut self, is_last: bool) {
        self.silent = is_last && !self.sent_since;
    }

    /// Something came.
    pub(crate) fn received(&mut self) {
        self.sent_since = false;
    }

    /// The job took long, so its server may have reset the connection in the meantime; then the first send would fail
    /// at once, too.
    pub(crate) fn job_was_long(&mut self) {
        self.silent &= matches!(self.socket.take_error(), Ok(None));
    }

    /// Whether this process has shut the connection down: then a send fails at once. If the server closed it, the first
    /// send succeeds, and only the reset that it causes makes the next one fail.
    pub(crate) fn was_shut_down(&self) -> bool {
        self.broken.is_some_and(|broken| broken.by_shutdown)
    }

    /// One system call; 0 if the socket has no room.
    fn push(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sent = self.broken_by(send_some(&self.socket, parts))?;
        self.silent &= sent == 0;
        self.sent_since |= sent > 0;
        Ok(sent)
    }

    /// After an error, half a packet may have been sent, so no thread may send more: shuts the connection down, for
    /// every copy of the socket.
    fn broken_by<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result
            && self.broken.is_none()
        {
            let by_shutdown = self.silent && error.kind() == io::ErrorKind::BrokenPipe;
            let ended = self.socket.shutdown(std::net::Shutdown::Both);
            let is_socket = |error: &io::Error| error.raw_os_error() == Some(Errno::ENOTCONN as i32);
            let ended = ended.as_ref().err().is_none_or(is_socket);
            self.broken = Some(Broken { ended, by_shutdown });
        }
        result
    }

    /// How many of the accepted bytes were sent.
    fn sent(&self) -> u64 {
        self.accepted - self.pending.as_ref().map_or(0, |pending| pending.queue.left() as u64)
    }
}

/// Sends a packet for a running plugin, and returns once it is completely sent, so that a later crash cannot leave half
/// of it on the wire. The lock is free while this waits for room. `is_wanted` is checked until the first byte is sent.
///
/// Returns false if the packet is not wanted any more, the connection is gone, or no byte was sent for `limit`.
pub(crate) fn send_part(
    sender: &Mutex<Sender>,
    packets: [&[u8]; 2],
    is_wanted: impl Fn() -> bool,
    limit: Duration,
) -> bool {
    let mut last = (lock(sender).sent(), Instant::now());
    let mut end = None;
    loop {
        let mut sending = lock(sender);
        if sending.flush().is_err() {
            return false;
        }
        if end.is_none() && !sending.has_pending() {
            if !is_wanted() || sending.send(packets).is_err() {
                return false;
            }
            end = Some(sending.accepted);
        }
        let sent = sending.sent();
        if end.is_some_and(|end| sent >= end) {
            return true;
        }
        if sent != last.0 {
            last = (sent, Instant::now());
        }
        let left = limit.saturating_sub(last.1.elapsed());
        let socket = Arc::clone(&sending.socket);
        drop(sending);
        if left.is_zero() || (end.is_none() && !is_wanted()) {
            return false;
        }
        wait_writable(&socket, left);
    }
}

/// The sender, for the moment.
pub(crate) fn lock(sender: &Mutex<Sender>) -> MutexGuard<'_, Sender> {
    sender.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An error shows at the next send.
fn wait_writable(socket: &Socket, limit: Duration) {
    let timeout = PollTimeout::try_from(limit.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
    let _ = poll(&mut [PollFd::new(std::os::fd::AsFd::as_fd(socket), PollFlags::POLLOUT)], timeout);
}

/// One system call; 0 if the socket has no room.
fn send_some(socket: &Socket, parts: &[IoSlice<'_>]) -> io::Result<usize> {
    let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
    loop {
        match sendmsg::<()>(socket.as_raw_fd(), parts, &[], flags, None) {
            Ok(sent) => return Ok(sent),
            Err(Errno::EINTR) => {}
            Err(Errno::EAGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests;
