//! Polls all descriptors of all children through one: an epoll instance of our own, which the runtime watches.
//!
//! The loop itself reads what a child sent, and nothing waits in queues: once a child is reaped, one call reads its
//! channel to the end.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::task::{Context, Poll};

use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// How many ready descriptors one epoll_wait returns at most.
const BATCH: usize = 64;

/// Names a child process of any kind for as long as the manager runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct ChildId(pub u64);

/// Which of a child's descriptors can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ChildFd {
    Channel,
    Out,
    Err,
}

/// The set of polled descriptors.
pub(crate) struct ChildPoller {
    epoll: AsyncFd<EpollFd>,
    /// The descriptors that were found ready and have not had their turn yet.
    speaking: VecDeque<(ChildId, ChildFd)>,
}

struct EpollFd(Epoll);

impl AsRawFd for EpollFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.0.0.as_raw_fd()
    }
}

impl ChildPoller {
    /// An empty set. Call it inside the runtime.
    ///
    /// # Errors
    /// The system's: out of descriptors.
    pub(crate) fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // SAFETY: the epoll descriptor is owned by the value that is handed over, nothing closes or replaces it before
        // that is dropped, and as_raw_fd always says the same number.
        let epoll = unsafe { AsyncFd::register_with_interest(EpollFd(epoll), Interest::READABLE) };
        let epoll = epoll.map_err(|error| error.into_parts().1)?;
        Ok(Self { epoll, speaking: VecDeque::new() })
    }

    /// Adds a descriptor. It is removed when every copy of it is closed, or by [`ChildPoller::forget`].
    ///
    /// # Errors
    /// The system's: this user's limit of watches.
    pub(crate) fn listen(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd) -> io::Result<()> {
        Ok(self.epoll.get_ref().0.add(fd, event(EpollFlags::EPOLLIN, child, child_fd))?)
    }

    /// Removes a descriptor. Needed at the end of one that stays readable, harmless otherwise.
    pub(crate) fn forget(&self, fd: &impl AsFd) {
        let _ = self.epoll.get_ref().0.delete(fd);
    }

    /// Stops polling a descriptor until [`ChildPoller::resume_paused`], so that its pipe fills up and the process that
    /// writes into it waits.
    pub(crate) fn pause(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd) {
        // epoll still reports that the other side closed; EPOLLONESHOT limits that to once.
        self.change(fd, child, child_fd, EpollFlags::EPOLLONESHOT);
    }

    /// Polls again after [`ChildPoller::pause`].
    pub(crate) fn resume_paused(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd) {
        self.change(fd, child, child_fd, EpollFlags::EPOLLIN);
    }

    fn change(&self, fd: &impl AsFd, child: ChildId, child_fd: ChildFd, flags: EpollFlags) {
        // It fails only for a descriptor that was removed.
        let _ = self.epoll.get_ref().0.modify(fd, &mut event(flags, child, child_fd));
    }

    /// Whether any descriptor is ready; [`ChildPoller::next_ready`] returns which.
    pub(crate) fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        while self.speaking.is_empty() {
            let Ok(mut ready) = std::task::ready!(self.epoll.poll_read_ready(context)) else { return Poll::Pending };
            let mut events = [EpollEvent::empty(); BATCH];
            let count = self.epoll.get_ref().0.wait(&mut events, EpollTimeout::ZERO).unwrap_or_default();
            // Level-triggered inside, but the runtime watches edges: poll again until nothing is ready. The kernel
            // moves the descriptors it has returned to the end of its list, so each one gets a turn.
            self.speaking.extend(events[..count].iter().map(|event| decode(event.data())));
            if count == 0 {
                ready.clear_ready();
            }
        }
        Poll::Ready(())
    }

    /// The next ready descriptor of those that the last [`ChildPoller::poll`] found.
    pub(crate) fn next_ready(&mut self) -> Option<(ChildId, ChildFd)> {
        self.speaking.pop_front()
    }

    /// Whether [`ChildPoller::next_ready`] has any left.
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
/// The system's: out of descriptors.
pub(crate) fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((read, write))
}

/// How many bytes a pipe holds.
pub(crate) fn unread(pipe: &impl AsFd) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int, which lives as long as the call.
    let asked = unsafe { libc::ioctl(pipe.as_fd().as_raw_fd(), libc::FIONREAD, &raw mut count) };
    usize::try_from(count).ok().filter(|_| asked == 0).unwrap_or_default()
}
