//! The sending side of one connection.
//!
//! It stands behind a mutex of its own because a plugin's threads may report progress while the worker's thread waits
//! in the plugin. Nothing is ever sent between the halves of a packet: what could not be sent at once waits here, ahead
//! of everything later.

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
    /// What had no room yet.
    pending: Option<Pending>,
    /// Bytes of whole packets taken over so far, sent or pending.
    accepted: u64,
    /// A send has failed, perhaps in the middle of a packet: nothing may follow.
    broken: Option<Broken>,
    /// Whether nothing was sent since the running job began, nor between that and what was received last.
    silent: bool,
    /// Whether something was sent since something was received.
    sent_since: bool,
}

/// A send has failed.
#[derive(Debug, Clone, Copy)]
struct Broken {
    /// Whether the connection could be ended, on every copy of the socket.
    ended: bool,
    /// Whether this process had shut it down before.
    by_shutdown: bool,
}

/// Whole packets, the first of which may have been sent in part.
struct Pending {
    queue: Queue,
    sending: SendingGuard,
}

/// How far an answer got at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answered {
    /// The socket has taken it, together with the GRAB.
    Whole,
    /// The rest of it is pending, and the GRAB was not sent: no job may wait behind an answer that takes long.
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
            accepted: 0,
            broken: None,
            silent: false,
            sent_since: true,
        }
    }

    /// Whether something waits for the socket to have room.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending.is_some()
    }

    /// Sends what waits, as far as there is room. Returns how many bytes that were.
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn flush(&mut self) -> io::Result<usize> {
        let Some(mut pending) = self.pending.take() else { return Ok(0) };
        let pushed = self.push(&pending.queue.slices());
        pending.queue.advance(*pushed.as_ref().unwrap_or(&0));
        // Half a packet stays one where the manager's copy of the socket is still open.
        if pending.queue.left() > 0 && self.broken.is_none_or(|broken| !broken.ended) {
            self.pending = Some(pending);
        }
        pushed
    }

    /// Sends whole packets; never waits: what the socket has no room for is sent by a later [`Sender::flush`].
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

    /// Sends a job's answer, its data from where it lies, and `grab` behind it; never waits. Where the socket has no
    /// room for all of the answer, the rest of it is kept as it is (`head` is taken) for a later [`Sender::flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub(crate) fn send_answer(&mut self, head: &mut Vec<u8>, data: ResultBytes, grab: &[u8]) -> io::Result<Answered> {
        self.flush()?;
        let length = head.len() + data.len();
        let (sending, sent) = match self.pending.take() {
            Some(Pending { mut queue, sending }) => {
                queue.push(Part::Bytes(std::mem::take(head)));
                queue.push(Part::Data(data));
                self.accepted += length as u64;
                self.pending = Some(Pending { queue, sending });
                return Ok(Answered::Pending);
            }
            None => {
                let sending = self.scoreboard.sending(self.connection);
                (sending, self.push(&[head.as_slice(), &data, grab].map(IoSlice::new))?)
            }
        };
        let mut queue = Queue::default();
        self.accepted += length as u64;
        if sent < length {
            queue.push(Part::Bytes(std::mem::take(head)));
            queue.push(Part::Data(data));
            queue.advance(sent);
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

    /// A job begins, whose doing it is where the connection turns out to be shut down before anything was sent. But where
    /// it was in hand while the one before it was answered, the server may have reset the connection at that answer.
    ///
    /// `is_last`: every GRAB that was sent is answered.
    pub(crate) fn job_begins(&mut self, is_last: bool) {
        self.silent = is_last && !self.sent_since;
    }

    /// Something came.
    pub(crate) fn received(&mut self) {
        self.sent_since = false;
    }

    /// The job took long: its server may have reset the connection meanwhile, and then the first send fails at once,
    /// too.
    pub(crate) fn job_was_long(&mut self) {
        self.silent &= matches!(self.socket.take_error(), Ok(None));
    }

    /// Whether this process has shut the connection down: a send fails at once. Where it was the server that ended it,
    /// the first one does not: its answer, a reset, is what makes the next one fail.
    pub(crate) fn was_shut_down(&self) -> bool {
        self.broken.is_some_and(|broken| broken.by_shutdown)
    }

    /// One system call; 0 where the socket has no room.
    fn push(&mut self, parts: &[IoSlice<'_>]) -> io::Result<usize> {
        if self.broken.is_some() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let sent = self.broken_by(send_some(&self.socket, parts))?;
        self.silent &= sent == 0;
        self.sent_since |= sent > 0;
        Ok(sent)
    }

    /// Nothing may follow what may be half a packet, from any thread: the connection ends, on every copy of the socket.
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

/// Sends a packet of a running plugin, and returns once it is sent whole: what ends the worker later finds no half of
/// it on the wire. While it waits for room the lock is free. `is_wanted` is asked until the packet is begun.
///
/// False where it is not wanted any more, the connection is gone, or no byte left it for as long as `limit`.
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

/// One system call; 0 where the socket has no room.
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
