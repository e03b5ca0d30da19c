//! Processes that are nobody's children here: known by number and start, held by a descriptor, ended for sure.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::signal::{Signal, kill, killpg};
use nix::unistd::Pid;

/// When a process was started, in clock ticks since the machine was; `None` where there is none of that number.
pub(crate) fn started(pid: i32) -> Option<u64> {
    start_in(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of /proc/PID/stat, see proc(5). A name with brackets in it may come before.
fn start_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(22 - 3)?.parse().ok()
}

/// A process that runs, or has just ended.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    started: u64,
    /// `None` where the kernel gives none: too many open files, or a filter of system calls.
    held: Option<OwnedFd>,
}

impl Process {
    /// The process of this number, where it is the one that was started then.
    pub(crate) fn find(pid: i32, at: u64) -> Option<Self> {
        // Held first: if the one of that start is there afterwards, it was there all the while and is the one held.
        let held = open(pid).ok();
        (started(pid) == Some(at)).then_some(Self { pid: Pid::from_raw(pid), started: at, held })
    }

    /// Becomes readable when the process ends.
    pub(crate) fn watched(&self) -> Option<BorrowedFd<'_>> {
        self.held.as_ref().map(AsFd::as_fd)
    }

    /// Whether it has ended. What is left of the group it led is killed then.
    pub(crate) fn has_ended(&self) -> bool {
        let ended = match &self.held {
            Some(held) => {
                let mut watched = [nix::poll::PollFd::new(held.as_fd(), nix::poll::PollFlags::POLLIN)];
                nix::poll::poll(&mut watched, nix::poll::PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
            }
            None => started(self.pid.as_raw()) != Some(self.started),
        };
        if ended && self.number_is_free() {
            // An error means that nobody is left in it.
            let _ = killpg(self.pid, Signal::SIGKILL);
        }
        ended
    }

    /// Whether no other process has its number now, which would make its group another's, too.
    fn number_is_free(&self) -> bool {
        started(self.pid.as_raw()).is_none_or(|started| started == self.started)
    }

    /// Kills it and its group. While it is there nobody else can have its number, nor a group of that number.
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

fn open(pid: i32) -> io::Result<OwnedFd> {
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
    // SAFETY: a plain system call; no information about the signal is given.
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
    fn a_process_is_known_by_its_start_and_ended_with_its_group() {
        for held in [true, false] {
            // The shell waits for the other sleep, which is in its group.
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
