//! The sending side of one connection.
//!
//! It stands behind a mutex of its own because a plugin's threads may report progress while the worker's thread waits
//! in the plugin. Nothing is ever sent between the halves of a packet: what could not be sent at once waits here, ahead
//! of everything later.

use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{MsgFlags, sendmsg};
use socket2::Socket;

use crate::system::page::PageWriter;

/// Data and warnings of a plugin wait for room from here on; progress reports are dropped for a newer one.
const BACKLOG: usize = 256 * 1024;

/// What is sent to one job server.
pub struct Sender {
    socket: Arc<Socket>,
    page: Arc<PageWriter>,
    /// Whole packets, the first of which may have been sent in part.
    pending: Vec<u8>,
}

impl Sender {
    /// The sending side of a connected socket.
    pub fn new(socket: Arc<Socket>, page: Arc<PageWriter>) -> Self {
        Self { socket, page, pending: Vec::new() }
    }

    /// Whether something waits for the socket to have room.
    pub fn has_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Sends what waits, as far as there is room.
    ///
    /// # Errors
    /// The connection is gone.
    pub fn flush(&mut self) -> io::Result<()> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let sent = send_some(&self.socket, &[IoSlice::new(&self.pending)])?;
        self.pending.drain(..sent);
        if self.pending.is_empty() {
            self.pending = Vec::new();
            self.page.sending_ends();
        }
        Ok(())
    }

    /// Sends whole packets; never waits: what the socket has no room for is sent by a later [`Sender::flush`].
    ///
    /// # Errors
    /// The connection is gone.
    pub fn send(&mut self, packets: &[&[u8]]) -> io::Result<()> {
        if self.has_pending() {
            packets.iter().for_each(|packet| self.pending.extend_from_slice(packet));
            return self.flush();
        }
        self.page.sending_begins();
        let mut parts: [IoSlice<'_>; 4] = [IoSlice::new(&[]); 4];
        let mut used = 0;
        for (part, packet) in parts.iter_mut().zip(packets) {
            *part = IoSlice::new(packet);
            used += 1;
        }
        debug_assert_eq!(used, packets.len());
        let sent = send_some(&self.socket, &parts[..used])?;
        self.keep_rest(packets, sent);
        if self.pending.is_empty() {
            self.page.sending_ends();
        }
        Ok(())
    }

    fn keep_rest(&mut self, packets: &[&[u8]], mut sent: usize) {
        for packet in packets {
            let taken = sent.min(packet.len());
            self.pending.extend_from_slice(&packet[taken..]);
            sent -= taken;
        }
    }

    /// Sends a job's answer, its data from where it lies. Waits for room through `wait`, which is to return when the
    /// socket may have some, and whose error ends the attempt.
    ///
    /// # Errors
    /// The connection is gone, or `wait` gave up.
    pub fn send_answer(&mut self, packets: [&[u8]; 3], mut wait: impl FnMut() -> io::Result<()>) -> io::Result<()> {
        let before = std::mem::take(&mut self.pending);
        if before.is_empty() {
            self.page.sending_begins();
        }
        let mut parts = [before.as_slice(), packets[0], packets[1], packets[2]].map(IoSlice::new);
        let mut left = parts.as_mut_slice();
        IoSlice::advance_slices(&mut left, 0);
        while !left.is_empty() {
            let sent = send_some(&self.socket, left)?;
            IoSlice::advance_slices(&mut left, sent);
            if sent == 0 {
                wait()?;
            }
        }
        self.page.sending_ends();
        Ok(())
    }

    /// Sends a packet of a running plugin, waiting at most `patience` for room. False: the connection is gone or stuck.
    pub fn send_part(&mut self, packets: [&[u8]; 2], patience: Duration) -> bool {
        if self.pending.len() > BACKLOG && !self.make_room(patience) {
            return false;
        }
        self.send(&packets).is_ok()
    }

    /// Sends a progress report, or drops it while older bytes wait: the next one says more anyway.
    pub fn send_status(&mut self, packet: &[u8]) -> bool {
        if self.has_pending() {
            return self.flush().is_ok();
        }
        self.send(&[packet]).is_ok()
    }

    fn make_room(&mut self, patience: Duration) -> bool {
        let timeout = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        while self.pending.len() > BACKLOG {
            match poll(&mut [PollFd::new(self.borrow(), PollFlags::POLLOUT)], timeout) {
                Ok(0) => return false,
                Ok(_) if self.flush().is_ok() => {}
                Err(Errno::EINTR) => {}
                _ => return false,
            }
        }
        true
    }

    fn borrow(&self) -> BorrowedFd<'_> {
        std::os::fd::AsFd::as_fd(&*self.socket)
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        if self.has_pending() {
            self.page.sending_ends();
        }
    }
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
