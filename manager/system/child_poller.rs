//! Everything children say, through one descriptor: an epoll instance of our own, itself watched by the runtime.
//!
//! So the loop itself reads what a child sent, and nothing waits in queues: when a child was reaped, reading
//! its channel to the end is one call.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Descriptors that are asked for at a time.
const BATCH: usize = 64;

/// Names a child process of any kind for as long as the manager runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(pub u64);

/// Which of a child's descriptors has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChildFd {
    /// Its channel.
    Channel,
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// The set of descriptors listened to.
pub(crate) struct ChildPoller {
    epoll: AsyncFd<EpollFd>,
    /// Who was found to have something to say, and has not had a turn yet.
    speaking: VecDeque<(ChildId, ChildFd)>,
}

struct EpollFd(Epoll);

impl AsRawFd for EpollFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.0.as_raw_fd()
    }
}

impl ChildPoller {
    /// An empty set. To be called inside the runtime.
    ///
    /// # Errors
    /// The system's, out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // SAFETY: the epoll descriptor is owned by the value that is handed over, nothing closes or replaces it before
        // that is dropped, and as_raw_fd always says the same number.
        let epoll = unsafe { AsyncFd::register_with_interest(EpollFd(epoll), Interest::READABLE) };
        let epoll = epoll.map_err(|error| error.into_parts().1)?;
        Ok(Self { epoll, speaking: VecDeque::new() })
    }

    /// Listens to a descriptor. It is forgotten when every copy of it is closed, or with [`ChildPoller::forget`].
    ///
    /// # Errors
    /// The system's, at the limit of watches of this user.
    pub(crate) fn listen(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd) -> io::Result<()> {
        Ok(self.epoll.get_ref().0.add(fd, event(EpollFlags::EPOLLIN, child, child_fd))?)
    }

    /// Listens no more; needed at the end of a descriptor that stays readable, and harmless otherwise.
    pub(crate) fn forget(&self, fd: &impl AsFd) {
        let _ = self.epoll.get_ref().0.delete(fd);
    }

    /// Does not listen for a while, so that a pipe fills up and the process that writes into it waits; until
    /// [`ChildPoller::listen_again`].
    pub(crate) fn pause(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd) {
        // epoll reports the end of the other side all the same; EPOLLONESHOT lets it do so once only.
        self.change(fd, child, child_fd, EpollFlags::EPOLLONESHOT);
    }

    /// Listens again after [`ChildPoller::pause`].
    pub(crate) fn listen_again(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd) {
        self.change(fd, child, child_fd, EpollFlags::EPOLLIN);
    }

    fn change(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd, flags: EpollFlags) {
        // It fails only for a descriptor that was forgotten.
        let _ = self.epoll.get_ref().0.modify(fd, &mut event(flags, child, child_fd));
    }

    /// Whether somebody has something to say; [`ChildPoller::next_ready`] tells who.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.speaking.is_empty() {
            let Ok(mut ready) = std::task::ready!(self.epoll.poll_read_ready(context)) else { return Poll::Pending };
            let mut events = [EpollEvent::empty(); BATCH];
            let count = self.epoll.get_ref().0.wait(&mut events, EpollTimeout::ZERO).unwrap_or_default();
            // Level-triggered inside, but the runtime watches edges: look again until nobody has anything to say. The
            // kernel puts whom it has named at the end of its list, so everybody has a turn.
            self.speaking.extend(events[..count].iter().map(|event| decode(event.data())));
            if count == 0 {
                ready.clear_ready();
            }
        }
        Poll::Ready(())
    }

    /// The next one who has something to say, of those whom the last [`ChildPoller::poll`] found.
    pub(crate) fn next_ready(&mut self) -> Option<(ChildId, ChildFd)> {
        self.speaking.pop_front()
    }

    /// Whether [`ChildPoller::next_ready`] has somebody left.
    pub(crate) fn has_ready(&self) -> bool {
        !self.speaking.is_empty()
    }
}

fn event(flags: EpollFlags, child: ChildId, child_fd: ChildFd) -> EpollEvent {
    EpollEvent::new(flags, child.0 << 2 | child_fd as u64)
}

fn decode(data: u64) -> (ChildId, ChildFd) {
    let child_fd = match data & 3 {
        0 => ChildFd::Channel,
        1 => ChildFd::Out,
        _ => ChildFd::Err,
    };
    (ChildId(data >> 2), child_fd)
}

/// A pipe for a child's output: the end to read, which never blocks, and the end for the child, which does.
///
/// # Errors
/// The system's, out of descriptors.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// Bytes that lie in a pipe.
pub(crate) fn unread(pipe: &impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives as long as the call.
    let asked = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    usize::try_from(count).ok().filter(|_| asked == 0).unwrap_or_default()
}
