//! Everything children say, through one descriptor: an epoll instance of our own, itself watched by the runtime.
//!
//! So what a child said is read by the loop itself and nothing lies about in queues: when a child was reaped, reading
//! its channel to the end is one call.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Children looked at in one turn of the loop.
const BATCH: usize = 64;

/// Names a child process of any kind for as long as the manager runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChildId(pub u64);

/// Which of a child's descriptors has something to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ear {
    /// Its channel.
    Channel,
    /// Its standard output.
    Out,
    /// Its standard error.
    Err,
}

/// The set of descriptors listened to.
pub struct Ears {
    epoll: AsyncFd<EpollFd>,
}

struct EpollFd(Epoll);

impl std::os::fd::AsRawFd for EpollFd {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        std::os::fd::AsRawFd::as_raw_fd(&self.0.0)
    }
}

impl Ears {
    /// An empty set. To be called inside the runtime.
    ///
    /// # Errors
    /// The system's, out of descriptors.
    pub fn new() -> io::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        // SAFETY: the epoll descriptor is owned by the value that is handed over, nothing closes or replaces it before
        // that is dropped, and as_raw_fd always says the same number.
        let epoll = unsafe { AsyncFd::register_with_interest(EpollFd(epoll), Interest::READABLE) };
        Ok(Self { epoll: epoll.map_err(|error| error.into_parts().1)? })
    }

    /// Listens to a descriptor. It is forgotten when every copy of it is closed, or with [`Ears::forget`].
    ///
    /// # Errors
    /// The system's, at the limit of watches of this user.
    pub fn listen(&self, fd: &impl AsFd, child: ChildId, ear: Ear) -> io::Result<()> {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, child.0 << 2 | ear as u64);
        Ok(self.epoll.get_ref().0.add(fd, event)?)
    }

    /// Listens no more; needed at the end of a descriptor that stays readable, and harmless otherwise.
    pub fn forget(&self, fd: &impl AsFd) {
        let _ = self.epoll.get_ref().0.delete(fd);
    }

    /// Waits until somebody speaks, and says who. Cancel safe: nothing is read here.
    ///
    /// # Errors
    /// The system's; none is known to happen.
    pub async fn hear(&self) -> io::Result<Vec<(ChildId, Ear)>> {
        loop {
            let mut ready = self.epoll.readable().await?;
            let mut events = [EpollEvent::empty(); BATCH];
            let count = self.epoll.get_ref().0.wait(&mut events, EpollTimeout::ZERO)?;
            if count > 0 {
                // Level-triggered inside, but the runtime watches edges: look again until nobody has anything to say.
                return Ok(events[..count].iter().map(|event| decode(event.data())).collect());
            }
            ready.clear_ready();
        }
    }
}

fn decode(data: u64) -> (ChildId, Ear) {
    let ear = match data & 3 {
        0 => Ear::Channel,
        1 => Ear::Out,
        _ => Ear::Err,
    };
    (ChildId(data >> 2), ear)
}

/// A pipe for a child's output: the end to read, which never blocks, and the end for the child, which does.
///
/// # Errors
/// The system's, out of descriptors.
pub fn output_pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC)?;
    nix::fcntl::fcntl(&read, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
    Ok((read, write))
}
