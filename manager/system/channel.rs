//! The socketpair between the manager and a child: whole messages, each at most [`MAX_MESSAGE`] long, and with one of
//! them at most one descriptor.
//!
//! `SOCK_SEQPACKET` keeps the messages apart, so neither side can be left in the middle of one by the other's death.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, Shutdown, SockFlag, SockType, sendmsg, shutdown, socketpair,
};

use super::child_poller::unread;

/// The longest message, in bytes. What is longer (a worker's configuration) goes in a memfd.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024;

/// How long a sender retries when the kernel has no room and gives nothing to wait for.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(5);

/// One end of the socketpair.
#[derive(Debug)]
pub(crate) struct Channel(OwnedFd);

/// What [`Channel::try_receive`] found.
#[derive(Debug)]
pub(crate) enum ChannelRead {
    /// The buffer holds a message of this many bytes; a descriptor may have come with it.
    Message(usize, Option<OwnedFd>),
    /// Nothing has been sent yet.
    Nothing,
    /// The other end is closed and everything it sent has been read.
    Closed,
}

/// Two connected ends, both closed on exec.
///
/// # Errors
/// The system's, when it has no descriptors left.
pub(crate) fn pair() -> io::Result<(Channel, Channel)> {
    let (a, b) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    Ok((Channel(a), Channel(b)))
}

impl Channel {
    /// The channel on a descriptor that was inherited.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// The descriptor, to hand it to a child.
    pub(crate) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// Device and inode of this end. They differ once the descriptor's number belongs to something else.
    pub(crate) fn identity(&self) -> Option<(u64, u64)> {
        nix::sys::stat::fstat(&self.0).ok().map(|stat| (stat.st_dev, stat.st_ino))
    }

    /// Sends a message. Waits at most `timeout` for the other side to read.
    ///
    /// # Errors
    /// `TimedOut` where the other side did not read in time; the system's where it is gone.
    pub(crate) fn send(&self, message: &[u8], timeout: Duration) -> io::Result<()> {
        self.send_parts(message, None, timeout)
    }

    /// Sends a message together with a copy of `fd`.
    ///
    /// # Errors
    /// As [`Channel::send`].
    pub(crate) fn send_fd(&self, message: &[u8], fd: BorrowedFd<'_>, timeout: Duration) -> io::Result<()> {
        self.send_parts(message, Some(fd.as_raw_fd()), timeout)
    }

    fn send_parts(&self, message: &[u8], fd: Option<RawFd>, timeout: Duration) -> io::Result<()> {
        let started = Instant::now();
        loop {
            match self.send_once(message, fd) {
                Ok(_) => return Ok(()),
                Err(Errno::EINTR) => {}
                Err(Errno::EAGAIN) => self.wait_writable(started, timeout)?,
                // This user has too many descriptors in transit in sockets, or there is no memory: there is nothing to
                // poll for, so try again shortly.
                Err(Errno::ETOOMANYREFS | Errno::ENOBUFS | Errno::ENOMEM)
                    if started.elapsed() < timeout.min(BRIEF_TIMEOUT) =>
                {
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

    fn wait_writable(&self, started: Instant, timeout: Duration) -> io::Result<()> {
        self.wait_for(PollFlags::POLLOUT, started, timeout)
    }

    fn wait_for(&self, what: PollFlags, started: Instant, timeout: Duration) -> io::Result<()> {
        let left = timeout.saturating_sub(started.elapsed());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let timeout = PollTimeout::try_from(left.max(Duration::from_millis(1))).unwrap_or(PollTimeout::MAX);
        match nix::poll::poll(&mut [PollFd::new(self.0.as_fd(), what)], timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for the next message.
    ///
    /// # Errors
    /// `TimedOut` if none comes in time; as [`Channel::try_receive`] otherwise.
    pub(crate) fn receive(&self, buffer: &mut [u8], timeout: Duration) -> io::Result<ChannelRead> {
        let started = Instant::now();
        loop {
            match self.try_receive(buffer)? {
                ChannelRead::Nothing => self.wait_for(PollFlags::POLLIN, started, timeout)?,
                other => return Ok(other),
            }
        }
    }

    /// Stops receiving: what is sent from now on does not arrive; what was sent before does, followed by the end.
    pub(crate) fn take_no_more(&self) {
        // An error means that the other end is gone already.
        let _ = shutdown(self.0.as_raw_fd(), Shutdown::Read);
    }

    /// Receives the next message if there is one; never waits. `buffer` should hold [`MAX_MESSAGE`] bytes.
    ///
    /// # Errors
    /// `InvalidData` for a message longer than the buffer; the system's otherwise.
    pub(crate) fn try_receive(&self, buffer: &mut [u8]) -> io::Result<ChannelRead> {
        let got = loop {
            match receive_once(self.0.as_fd(), buffer) {
                Err(Errno::EINTR) => {}
                other => break other,
            }
        };
        match got {
            Err(Errno::EAGAIN) => Ok(ChannelRead::Nothing),
            Err(Errno::ECONNRESET) => Ok(ChannelRead::Closed),
            Err(error) => Err(error.into()),
            Ok((0, None)) if self.is_at_its_end() => Ok(ChannelRead::Closed),
            Ok((length, _)) if length > buffer.len() => {
                Err(io::Error::new(io::ErrorKind::InvalidData, "a message was longer than 64 KiB"))
            }
            Ok((length, fd)) => Ok(ChannelRead::Message(length, fd)),
        }
    }

    /// Tells the end from an empty message, which also has no bytes.
    fn is_at_its_end(&self) -> bool {
        let mut fds = [PollFd::new(self.0.as_fd(), PollFlags::from_bits_retain(libc::POLLRDHUP))];
        let ended = matches!(nix::poll::poll(&mut fds, PollTimeout::ZERO), Ok(1..));
        ended && unread(&self.0) == 0
    }
}

/// Room for one descriptor and the header before it, aligned as the kernel requires.
type ControlBuffer = [u64; 3];

/// Receives a message: its whole length, which may be more than the buffer holds, and the descriptor that came with it.
/// Closes any further descriptors, which no honest sender adds. (nix returns none of them if there were more than
/// expected, or more than this process may open, although the kernel has opened some.)
fn receive_once(from: BorrowedFd<'_>, buffer: &mut [u8]) -> nix::Result<(usize, Option<OwnedFd>)> {
    let mut control = ControlBuffer::default();
    let mut part = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    // SAFETY: an all-zero msghdr is a valid one.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = (&raw mut control).cast();
    message.msg_controllen = size_of::<ControlBuffer>();
    let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC | libc::MSG_TRUNC;
    // SAFETY: what the message points to, buffer and control, outlives the call and may be written to.
    let length = unsafe { libc::recvmsg(from.as_raw_fd(), &raw mut message, flags) };
    let length = usize::try_from(length).map_err(|_| Errno::last())?;
    let mut found = None;
    // SAFETY: the kernel has filled in the control part; the macros stay within what it says it wrote.
    let mut header = unsafe { libc::CMSG_FIRSTHDR(&raw const message) };
    // SAFETY: not null, so it points to a header within the control part.
    while let Some(known) = unsafe { header.as_ref() } {
        if (known.cmsg_level, known.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            // SAFETY: plain arithmetic on a length.
            let bytes = known.cmsg_len.saturating_sub(unsafe { libc::CMSG_LEN(0) } as usize);
            // SAFETY: descriptors follow the header, as many as its length says.
            let first = unsafe { libc::CMSG_DATA(header) }.cast::<RawFd>();
            for at in 0..bytes / size_of::<RawFd>() {
                // SAFETY: within that length; the kernel has just opened it for us, and nobody else knows its number.
                let fd = unsafe { OwnedFd::from_raw_fd(first.add(at).read_unaligned()) };
                found.get_or_insert(fd);
            }
        }
        // SAFETY: as for the first one.
        header = unsafe { libc::CMSG_NXTHDR(&raw const message, header) };
    }
    Ok((length, found))
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

    const SEND_TIMEOUT: Duration = Duration::from_millis(20);

    #[test]
    fn messages_stay_apart_and_carry_a_descriptor() {
        let (a, b) = pair().unwrap();
        let (mut reader, writer) = std::io::pipe().unwrap();
        a.send(b"one", SEND_TIMEOUT).unwrap();
        a.send_fd(b"two", writer.as_fd(), SEND_TIMEOUT).unwrap();
        drop(a);
        let mut buffer = vec![0; MAX_MESSAGE];
        assert!(matches!(b.try_receive(&mut buffer).unwrap(), ChannelRead::Message(3, None)));
        let ChannelRead::Message(3, Some(copy)) = b.try_receive(&mut buffer).unwrap() else { panic!("no descriptor") };
        assert_eq!(&buffer[..3], b"two");
        assert!(matches!(b.try_receive(&mut buffer).unwrap(), ChannelRead::Closed));
        std::io::Write::write_all(&mut std::fs::File::from(copy), b"through the copy").unwrap();
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through the copy");
    }

    #[test]
    fn nothing_said_is_not_the_end() {
        let (_a, b) = pair().unwrap();
        assert!(matches!(b.try_receive(&mut [0; 16]).unwrap(), ChannelRead::Nothing));
    }

    #[test]
    fn a_reader_that_does_not_read_costs_the_sender_its_timeout_only() {
        let (a, _b) = pair().unwrap();
        let error = loop {
            if let Err(error) = a.send(&[0; 4096], SEND_TIMEOUT) {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn a_message_longer_than_the_buffer_is_refused() {
        let (a, b) = pair().unwrap();
        a.send(&[1; 100], SEND_TIMEOUT).unwrap();
        assert_eq!(b.try_receive(&mut [0; 10]).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }

    /// Counts the descriptors of this process that point to `target`; other tests open and close some meanwhile.
    fn points_to(target: &str) -> usize {
        let links = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
        links.filter(|link| std::fs::read_link(link.path()).is_ok_and(|to| to.to_string_lossy() == target)).count()
    }

    #[test]
    fn of_more_descriptors_than_expected_none_stays_open() {
        let (a, b) = pair().unwrap();
        let memfd = nix::sys::memfd::memfd_create(c"gm-native-many", nix::sys::memfd::MFdFlags::MFD_CLOEXEC).unwrap();
        let target = "/memfd:gm-native-many (deleted)";
        for count in [2, 3, 100, 253] {
            let many = vec![memfd.as_raw_fd(); count];
            let parts = [IoSlice::new(b"many")];
            let flags = MsgFlags::empty();
            sendmsg::<()>(a.0.as_raw_fd(), &parts, &[ControlMessage::ScmRights(&many)], flags, None).unwrap();
            let ChannelRead::Message(4, Some(one)) = b.try_receive(&mut [0; 16]).unwrap() else {
                panic!("no descriptor")
            };
            assert_eq!(points_to(target), 2, "of {count}: ours, and the one that came");
            drop(one);
            // Nor are the descriptors that come with a refused message leaked.
            let parts = [IoSlice::new(&[0; 100])];
            sendmsg::<()>(a.0.as_raw_fd(), &parts, &[ControlMessage::ScmRights(&many)], flags, None).unwrap();
            b.try_receive(&mut [0; 16]).unwrap_err();
            assert_eq!(points_to(target), 1, "of {count} with a message too long");
        }
    }

    #[test]
    fn an_empty_message_is_not_the_end() {
        let (a, b) = pair().unwrap();
        a.send(b"", SEND_TIMEOUT).unwrap();
        a.send(b"more", SEND_TIMEOUT).unwrap();
        assert!(matches!(b.try_receive(&mut [0; 16]).unwrap(), ChannelRead::Message(0, None)));
        a.send(b"", SEND_TIMEOUT).unwrap();
        a.send(b"last", SEND_TIMEOUT).unwrap();
        drop(a);
        for expected in [4, 0, 4] {
            let ChannelRead::Message(length, None) = b.try_receive(&mut [0; 16]).unwrap() else { panic!("the end") };
            assert_eq!(length, expected);
        }
        assert!(matches!(b.try_receive(&mut [0; 16]).unwrap(), ChannelRead::Closed));
    }

    #[test]
    fn what_was_sent_arrives_and_nothing_after_it() {
        let (a, b) = pair().unwrap();
        a.send(b"before", SEND_TIMEOUT).unwrap();
        b.take_no_more();
        assert!(a.send(b"after", SEND_TIMEOUT).is_err());
        assert!(matches!(b.try_receive(&mut [0; 16]).unwrap(), ChannelRead::Message(6, None)));
        assert!(matches!(b.try_receive(&mut [0; 16]).unwrap(), ChannelRead::Closed));
    }
}
