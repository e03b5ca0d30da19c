//! The socketpair between the manager and a child: whole messages, each at most [`MAX_MESSAGE`] long, and with one of
//! them at most one descriptor.
//!
//! `SOCK_SEQPACKET` keeps the messages apart, so neither side can be left in the middle of one by the other's death.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};

/// The longest message, in bytes. What is longer (a worker's orders) goes in a memfd.
pub const MAX_MESSAGE: usize = 64 * 1024;

/// How long a sender goes on trying where the kernel holds too many descriptors in flight (ETOOMANYREFS).
const IN_FLIGHT_PATIENCE: Duration = Duration::from_secs(5);

/// One end of the socketpair.
#[derive(Debug)]
pub struct Channel(OwnedFd);

/// What a look at the channel found.
#[derive(Debug)]
pub enum Received {
    /// A message of this many bytes lies in the buffer; a descriptor may have come with it.
    Message(usize, Option<OwnedFd>),
    /// Nothing has been said yet.
    Nothing,
    /// The other end is closed and everything it said has been read.
    Closed,
}

/// Two connected ends, both closed on exec.
///
/// # Errors
/// The system's, when it has no descriptors left.
pub fn pair() -> io::Result<(Channel, Channel)> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Channel(a), Channel(b)))
}

impl Channel {
    /// The channel on a descriptor that was inherited.
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor, to hand it to a child.
    pub fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Device and inode of this end: another pair once the descriptor's number is somebody else's.
    pub fn identity(&self) -> Option<(u64, u64)> {
        nix::sys::stat::fstat(&self.0).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// Sends a message; waits at most `patience` while the other side does not read.
    ///
    /// # Errors
    /// `TimedOut` where the other side did not read in time; the system's where it is gone.
    pub fn send(&self, message: &[u8], patience: Duration) -> io::Result<()> {
        self.send_parts(message, None, patience)
    }

    /// Sends a message together with a copy of `fd`.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub fn send_fd(&self, message: &[u8], fd: BorrowedFd<'_>, patience: Duration) -> io::Result<()> {
        self.send_parts(message, Some(fd.as_raw_fd()), patience)
    }

    fn send_parts(&self, message: &[u8], fd: Option<RawFd>, patience: Duration) -> io::Result<()> {
        let started = Instant::now();
        loop {
            match self.send_once(message, fd) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait_writable(started, patience)?,
                // Too many descriptors of this user wait in sockets: nothing to poll for, so look again shortly.
                Err(Errno::ETOOMANYREFS) if started.elapsed() < IN_FLIGHT_PATIENCE => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send_once(&self, message: &[u8], fd: Option<RawFd>) -> nix::Result<usize> {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        let parts = [IoSlice::new(message)];
        let carried = fd.map(|fd| [fd]);
        match &carried {
            Some(fds) => sendmsg::<()>(self.0.as_raw_fd(), &parts, &[ControlMessage::ScmRights(fds)], flags, None),
            None => sendmsg::<()>(self.0.as_raw_fd(), &parts, &[], flags, None),
        }
    }

    fn wait_writable(&self, started: Instant, patience: Duration) -> io::Result<()> {
        self.wait_for(PollFlags::POLLOUT, started, patience)
    }

    fn wait_for(&self, what: PollFlags, started: Instant, patience: Duration) -> io::Result<()> {
        let left = patience.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(self.0.as_fd(), what)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the next message, which the other side may not have sent yet.
    ///
    /// # Errors
    /// `TimedOut` where none comes in time; as [`Channel::try_receive`] otherwise.
    pub fn receive(&self, buffer: &mut [u8], patience: Duration) -> io::Result<Received> {
        let started = Instant::now();
        loop {
            match self.try_receive(buffer)? {
                Received::Nothing => self.wait_for(PollFlags::POLLIN, started, patience)?,
                other => return Ok(other),
            }
        }
    }

    /// Takes the next message, if there is one; never waits. `buffer` should hold [`MAX_MESSAGE`] bytes.
    ///
    /// # Errors
    /// `InvalidData` for a message longer than the buffer; the system's otherwise.
    pub fn try_receive(&self, buffer: &mut [u8]) -> io::Result<Received> {
        let mut control = nix::cmsg_space!([RawFd; 1]);
        let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
        let (length, truncated, fd) = {
            let mut parts = [IoSliceMut::new(buffer)];
            let got = loop {
                match recvmsg::<()>(self.0.as_raw_fd(), &mut parts, Some(&mut control), flags) {
                    Err(Errno::EINTR) => {}
                    other => break other,
                }
            };
            match got {
                Err(Errno::EAGAIN) => return Ok(Received::Nothing),
                Err(Errno::ECONNRESET) => return Ok(Received::Closed),
                Err(error) => return Err(error.into()),
                Ok(message) => {
                    (message.bytes, message.flags.contains(MsgFlags::MSG_TRUNC), carried_fd(message.cmsgs()))
                }
            }
        };
        match (length, truncated) {
            (0, _) => Ok(Received::Closed),
            (_, true) => Err(io::Error::new(io::ErrorKind::InvalidData, "a message was longer than 64 KiB")),
            (length, false) => Ok(Received::Message(length, fd)),
        }
    }
}

/// The descriptor that came with a message. Others, which no honest sender adds, are closed.
fn carried_fd(messages: nix::Result<nix::sys::socket::CmsgIterator<'_>>) -> Option<OwnedFd> {
    let mut found = None;
    for message in messages.ok()? {
        if let ControlMessageOwned::ScmRights(fds) = message {
            for fd in fds {
                // SAFETY: the kernel has just made this descriptor for us and nobody else knows its number.
                found.get_or_insert(unsafe { OwnedFd::from_raw_fd(fd) });
            }
        }
    }
    found
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const PATIENCE: Duration = Duration::from_millis(20);

    #[test]
    fn messages_stay_apart_and_carry_a_descriptor() {
        let (a, b) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        a.send(b"one", PATIENCE).unwrap();
        a.send_fd(b"two", writer.as_fd(), PATIENCE).unwrap();
        drop(a);
        let mut buffer = vec![0; MAX_MESSAGE];
        assert!(matches!(b.try_receive(&mut buffer).unwrap(), Received::Message(3, None)));
        let Received::Message(3, Some(copy)) = b.try_receive(&mut buffer).unwrap() else { panic!("no descriptor") };
        assert_eq!(&buffer[..3], b"two");
        assert!(matches!(b.try_receive(&mut buffer).unwrap(), Received::Closed));
        std::io::Write::write_all(&mut std::fs::File::from(copy), b"through the copy").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the copy");
    }

    #[test]
    fn nothing_said_is_not_the_end() {
        let (_a, b) = pair().unwrap();
        assert!(matches!(b.try_receive(&mut [0; 16]).unwrap(), Received::Nothing));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_the_sender_its_patience_only() {
        let (a, _b) = pair().unwrap();
        let error = loop {
            if let Err(error) = a.send(&[0; 4096], PATIENCE) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_refused() {
        let (a, b) = pair().unwrap();
        a.send(&[1; 100], PATIENCE).unwrap();
        assert_eq!(b.try_receive(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
