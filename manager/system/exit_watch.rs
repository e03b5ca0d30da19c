//! Waits for the end of a process that is not a child.

use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::clock;
use super::process::open;

/// A process, whatever becomes of its number.
#[derive(Debug)]
pub(crate) struct ExitWatch(OwnedFd);

impl ExitWatch {
    /// A running process; `None` if it cannot be watched.
    pub(crate) fn of(pid: i32) -> Option<Self> {
        open(pid).ok().map(Self)
    }

    /// Waits for its end; false if it does not come in time.
    pub(crate) fn wait(&self, timeout: Option<Duration>) -> bool {
        let until = timeout.map(clock::after);
        loop {
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            // Long waits are cut into pieces: poll takes milliseconds as an i32.
            let piece = left.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
            match poll(&mut [PollFd::new(self.0.as_fd(), PollFlags::POLLIN)], piece) {
                Ok(0) if left.is_some_and(|left| left.is_zero()) => return false,
                Ok(0) | Err(Errno::EINTR) => {}
                Ok(_) => return true,
                Err(_) => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn the_end_of_a_process_is_noticed() {
        let mut child = Command::new("cat").stdin(Stdio::piped()).spawn().unwrap();
        let watch = ExitWatch::of(child.id().cast_signed()).unwrap();
        assert!(!watch.wait(Some(Duration::from_millis(1))));
        drop(child.stdin.take());
        assert!(watch.wait(None));
        child.wait().unwrap();
    }
}
