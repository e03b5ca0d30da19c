//! Reaps children: each exactly once, with how it ended and its peak resource usage. Also sends signals to them.

use std::fmt;
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExitStatus {
    Exit(i32),
    Signal(i32),
}

impl ExitStatus {
    /// Whether it exited by itself with code 0.
    pub fn is_clean(self) -> bool {
        self == Self::Exit(0)
    }

    fn from_status(status: i32) -> Option<Self> {
        if libc::WIFEXITED(status) {
            Some(Self::Exit(libc::WEXITSTATUS(status)))
        } else if libc::WIFSIGNALED(status) {
            Some(Self::Signal(libc::WTERMSIG(status)))
        } else {
            None
        }
    }
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Exit(code) => write!(f, "exited with code {code}"),
            Self::Signal(number) => match Signal::try_from(number) {
                Ok(signal) => write!(f, "killed by {signal}"),
                Err(_) => write!(f, "killed by signal {number}"),
            },
        }
    }
}

/// A child that was reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Reaped {
    /// Its process id, free for others from now on.
    pub pid: i32,
    pub end: ExitStatus,
    /// Its peak resident memory, in KiB.
    pub peak_kib: u64,
    /// Processor time it used.
    pub cpu: Duration,
}

/// The next child that has ended, if any; never waits. Call it until it returns `None`: one SIGCHLD may stand for many.
pub(crate) fn next() -> Option<Reaped> {
    wait_for(-1)
}

/// Reaps this child if it has ended; never waits.
pub(crate) fn this(child: Pid) -> Option<Reaped> {
    wait_for(child.as_raw())
}

fn wait_for(which: libc::pid_t) -> Option<Reaped> {
    loop {
        let mut status = 0;
        // SAFETY: an all-zero rusage is a valid one.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: both pointers are to live, writable values of the right types.
        let pid = unsafe { libc::wait4(which, &raw mut status, libc::WNOHANG, &raw mut usage) };
        match pid {
            1.. => {
                if let Some(end) = ExitStatus::from_status(status) {
                    return Some(Reaped { pid, end, peak_kib: usage.ru_maxrss.max(0) as u64, cpu: cpu(&usage) });
                }
            }
            0 => return None,
            _ if Errno::last() == Errno::EINTR => {}
            _ => return None,
        }
    }
}

/// Sends a signal to a child that was not reaped yet, and to its process group. To both, since a plugin may have moved
/// the child to another group.
pub(crate) fn signal(child: Pid, signal: Signal) {
    signal_rest(child, signal);
    // An error means that it has ended.
    let _ = kill(child, signal);
}

/// Sends a signal to what is left of the process group that a child led.
pub(crate) fn signal_rest(child: Pid, signal: Signal) {
    // An error means that the group is empty.
    let _ = killpg(child, signal);
}

fn cpu(usage: &libc::rusage) -> Duration {
    let micros = |t: libc::timeval| Duration::from_micros((t.tv_sec * 1_000_000 + t.tv_usec).max(0) as u64);
    micros(usage.ru_utime).saturating_add(micros(usage.ru_stime))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_status_is_described() {
        for (end, words) in [
            (ExitStatus::Exit(0), "exited with code 0"),
            (ExitStatus::Exit(3), "exited with code 3"),
            (ExitStatus::Signal(libc::SIGSEGV), "killed by SIGSEGV"),
            (ExitStatus::Signal(64), "killed by signal 64"),
        ] {
            assert_eq!(end.to_string(), words);
        }
    }
}
