//! Processes that are not our children: identified by id and start time, held by a pidfd, killed with their group.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;
use serde::Serialize;

/// When a process started, in clock ticks since boot; `None` if there is no such process.
pub(crate) fn started(pid: i32) -> Option<u64> {
    start_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of /proc/PID/stat, see proc(5). A name before it may contain brackets.
fn start_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// The resident memory of a process in bytes; `None` if there is no such process.
pub(crate) fn resident(pid: i32) -> Option<u64> {
    resident_in(&std::fs::read_to_string(format!("/proc/{pid}/statm")).ok()?)
}

/// Bytes, from the second number of a `statm`.
pub(crate) fn resident_in(statm: &str) -> Option<u64> {
    const PAGE: u64 = 4096;
    statm.split_ascii_whitespace().nth(1)?.parse::<u64>().ok()?.checked_mul(PAGE)
}

/// What a process that does not respond is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RunState {
    /// A debugger or another tracer is attached.
    Traced,
    /// Stopped by a signal.
    Stopped,
    /// In a system call that no signal interrupts.
    Uninterruptible,
    /// It runs, or waits for something; or its state cannot be read.
    Other,
}

impl RunState {
    /// The state of a child that was not reaped yet.
    pub(crate) fn of(child: Pid) -> Self {
        Self::in_status(&std::fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default())
    }

    /// By the text of `/proc/PID/status`.
    fn in_status(status: &str) -> Self {
        let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        match field("State:").and_then(|state| state.chars().next()) {
            _ if field("TracerPid:").is_some_and(|tracer| tracer != "0") => Self::Traced,
            Some('T') => Self::Stopped,
            Some('D') => Self::Uninterruptible,
            _ => Self::Other,
        }
    }
}

/// A process that runs, or has just ended.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    started: u64,
    /// `None` if the kernel gives none: too many open files, or a seccomp filter.
    held: Option<OwnedFd>,
}

impl Process {
    /// The process with this id, if it is the one that started at `at`.
    pub(crate) fn find(pid: i32, at: u64) -> Option<Self> {
        // Open first, check after: if the start time matches then, it matched all along, and the pidfd is that
        // process's.
        let held = open(pid).ok();
        (started(pid) == Some(at)).then_some(Self { pid: Pid::from_raw(pid), started: at, held })
    }

    /// Becomes readable when the process ends.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has ended. If so, kills what is left of the group it led.
    pub(crate) fn has_ended(&self) -> bool {
        let ended = match &self.held {
            Some(held) => {
                let mut watched = [nix::poll::PollFd::new(held.as_fd(), nix::poll::PollFlags::POLLIN)];
                nix::poll::poll(&mut watched, nix::poll::PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            }
            None => started(self.pid.as_raw()) != Some(self.started),
        };
        if ended && self.number_is_free() {
            // An error means that the group is empty.
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        ended
    }

    /// Whether no other process has its id now, in which case its group would be another's, too.
    fn number_is_free(&self) -> bool {
        started(self.pid.as_raw()).is_none_or(|started| started == self.started)
    }

    /// Kills it and its group. While it exists no other process can have its id, nor a group of that id.
    pub(crate) fn kill(&self) {
        // An error means that it has just ended, or is another user's by now.
        let _ = killpg(self.pid, Signal::SIGKILL);
        match &self.held {
            Some(held) => send(held, Signal::SIGKILL),
            None if self.number_is_free() => drop(kill(self.pid, Signal::SIGKILL)),
            None => {}
        }
    }
}

pub(super) fn open(pid: i32) -> io::Result<OwnedFd> {
    // SAFETY: a plain system call on numbers.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    match i32::try_from(fd) {
        // SAFETY: the kernel has just made it for us.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Errno::last().into()),
    }
}

fn send(held: &OwnedFd, signal: Signal) {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: a plain system call; it passes no signal information.
    unsafe { libc::syscall(libc::SYS_pidfd_send_signal, held.as_raw_fd(), signal as libc::c_int, no_info, 0) };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::{CommandExt, ExitStatusExt};
    use std::process::Command;

    #[test]
    fn the_start_is_found_behind_a_name_with_brackets() {
        let fields: Vec<String> = (3..=52).map(|n| n.to_string()).collect();
        assert_eq!(start_in(&format!("12 (a) b) {}", fields.join(" "))), Some(22));
        assert_eq!(start_in("12 (a) S 1 2"), None);
    }

    #[test]
    fn resident_memory_is_the_second_number() {
        assert_eq!(resident_in("2207 412 380 1 0 77 0\n"), Some(412 * 4096));
        assert_eq!(resident_in("2207\n"), None);
        assert_eq!(resident_in("a b c"), None);
        assert!(resident(std::process::id().cast_signed()) > Some(4096));
    }

    #[test]
    fn the_state_of_a_process_is_read() {
        for (status, expected) in [
            ("Name:\tx\nState:\tT (stopped)\nTracerPid:\t0\n", RunState::Stopped),
            ("State:\tt (tracing stop)\nTracerPid:\t12\n", RunState::Traced),
            ("State:\tS (sleeping)\nTracerPid:\t12\n", RunState::Traced),
            ("State:\tD (disk sleep)\nTracerPid:\t0\n", RunState::Uninterruptible),
            ("State:\tR (running)\nTracerPid:\t0\n", RunState::Other),
            ("", RunState::Other),
        ] {
            assert_eq!(RunState::in_status(status), expected, "{status}");
        }
        assert_eq!(RunState::of(Pid::this()), RunState::Other);
    }

    #[test]
    fn a_process_is_known_by_its_start_and_ended_with_its_group() {
        for held in [true, false] {
            // The shell waits for the second sleep, which is in its group.
            let mut shell = Command::new("sh").args(["-c", "sleep 600 & wait"]).process_group(0).spawn().unwrap();
            let pid = shell.id().cast_signed();
            let at = started(pid).unwrap();
            assert!(Process::find(pid, at + 1).is_none());
            let mut process = Process::find(pid, at).unwrap();
            if !held {
                process.held = None;
            }
            assert!(!process.has_ended());
            process.kill();
            assert_eq!(shell.wait().unwrap().signal(), Some(9));
            assert!(process.has_ended());
            assert!(Process::find(pid, at).is_none());
        }
    }
}
