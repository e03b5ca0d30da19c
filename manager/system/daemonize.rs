//! Moves the manager into the background (`-d`), and lets the caller's exit code report how the start ended.
//!
//! ```text
//! gm-native -d --fork--> leader of a new session --fork--> the manager, which can never get a terminal again
//!      |                      `- exits at once                  |
//!      `<------------------- pipe: exit code, text -------------'
//! ```
//!
//! The calling process stays until the manager has reported how its start ended, prints that, and exits with that code.
//! Until then the manager keeps its working directory and standard streams, so that relative paths and messages mean
//! what they mean to the user.
#![allow(unsafe_code)] // fork is unsafe where threads are, and this is the one place that forks without exec.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use super::errors::reason;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::stat::{Mode, umask};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, Pid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, pipe2, setsid};

/// The exit code of a start that failed without a report.
const FAILED: u8 = 1;

/// Reports to the caller how the manager's start ended. Dropped without a report, it reports a failure.
#[derive(Debug)]
pub(crate) struct StartReport(Option<StartCaller>);

/// What waits for the outcome.
#[derive(Debug)]
enum StartCaller {
    /// A terminal or service manager that runs us and sees us.
    Foreground,
    /// The calling process of `-d`, at the other end of this pipe.
    Waiting(File),
}

/// Closes what our caller left open beyond the standard streams: a terminal, or the pipe of an ssh that waits for its
/// end.
///
/// Call it before this program opens anything: it cannot tell its own descriptors from others.
pub(crate) fn close_inherited() {
    let Ok(open) = std::fs::read_dir("/proc/self/fd") else { return };
    let numbers = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let inherited: Vec<i32> = numbers.filter(|number| *number > 2).collect();
    for number in inherited {
        // SAFETY: nothing in this process owns it (the caller's duty). One of them is the directory's, which is closed
        // by now.
        unsafe { nix::libc::close(number) };
    }
}

/// Detaches this process: returns in the new one, a member but not the leader of a session of its own, with at least
/// group and others' write bits in its umask. In the calling process it never returns, but exits with the outcome.
///
/// Call it while the process has one thread, before there is a runtime, and before locks and pid file, which belong to
/// the new process.
///
/// # Errors
///
/// No pipe or process could be made; nothing has been started.
pub(crate) fn daemonize() -> io::Result<StartReport> {
    let (outcome, report) = pipe2(OFlag::O_CLOEXEC)?;
    // Lets the caller see how a manager that died without a report ended: it becomes our child, not init's.
    prctl::set_child_subreaper(true)?;
    // SAFETY: there is no other thread (the caller's duty), so the child has no lock held for ever.
    if let ForkResult::Parent { child } = unsafe { fork() }? {
        drop(report);
        exit_like(File::from(outcome), child);
    }
    drop(outcome);
    let announce = StartReport(Some(StartCaller::Waiting(File::from(report))));
    match detach() {
        Ok(()) => Ok(announce),
        // Our caller in the new process would take an error for one of the calling process.
        Err(error) => {
            announce.failed(FAILED, &format!("cannot run in the background: {}", reason(&error)));
            exit_at_once(FAILED);
        }
    }
}

/// Takes the owner's own rights out of the umask: under 0177 or 0777 a process may not enter the directories it makes.
pub(crate) fn keep_own_rights() {
    let callers = umask(Mode::empty());
    umask(callers & !Mode::S_IRWXU);
}

/// Leaves the terminal's session, and by a second fork the leadership of the new one: a session leader gets the next
/// terminal it opens as its controlling terminal.
fn detach() -> io::Result<()> {
    setsid()?;
    // SAFETY: as above; a forked process has one thread.
    if let ForkResult::Parent { .. } = unsafe { fork() }? {
        exit_at_once(0);
    }
    // Whatever the caller's umask: what we make is never writable for others.
    let callers = umask(Mode::empty());
    umask(callers | Mode::S_IWGRP | Mode::S_IWOTH);
    Ok(())
}

/// Ends a forked process without running the exit handlers of the calling process.
fn exit_at_once(code: u8) -> ! {
    // SAFETY: _exit takes any code and touches nothing of ours.
    unsafe { nix::libc::_exit(i32::from(code)) }
}

/// In the calling process: waits for the outcome, prints it and exits with it.
fn exit_like(mut outcome: File, between: Pid) -> ! {
    let mut message = Vec::new();
    let _ = outcome.read_to_end(&mut message);
    let (code, text) = match message.split_first() {
        Some((code, text)) => (*code, String::from_utf8_lossy(text).into_owned()),
        None => (FAILED, format!("gm-native: the manager ended before it was up: {}", manager_end(between))),
    };
    if !text.is_empty() {
        let _ = writeln!(io::stderr(), "{text}");
    }
    std::process::exit(i32::from(code))
}

/// How a manager that died without a report ended: our first child to exit other than the process `between` us. The
/// manager's orphans become ours too, and may outlive it.
fn manager_end(between: Pid) -> String {
    loop {
        match waitpid(None, None) {
            Ok(status) if status.pid() == Some(between) => {}
            Ok(WaitStatus::Signaled(_, signal, _)) => return format!("killed by {signal}"),
            Ok(WaitStatus::Exited(_, code)) => return format!("exit code {code}"),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return "for an unknown reason".into(),
        }
    }
}

impl StartReport {
    /// For a manager in the foreground: its caller sees its log and its exit code.
    pub(crate) fn foreground() -> Self {
        Self(Some(StartCaller::Foreground))
    }

    /// The start worked. In the background: changes the working directory to `/` and the standard streams to /dev/null,
    /// so that no terminal or file system stays in use; the caller then prints `note`, if any, on its stderr and exits
    /// with 0. In the foreground the log has the note. If there is no log, `no_log` is printed in either case.
    ///
    /// # Errors
    ///
    /// The streams or the working directory cannot be changed; the caller knows that the start failed.
    pub(crate) fn ready(mut self, note: Option<&str>, no_log: Option<&str>) -> io::Result<()> {
        match self.0.take() {
            Some(StartCaller::Waiting(pipe)) => detach_streams()
                .inspect_err(|error| {
                    send_outcome(&pipe, FAILED, &format!("cannot leave the terminal: {}", reason(&error)));
                })
                .map(|()| send_outcome(&pipe, 0, &note.into_iter().chain(no_log).collect::<Vec<_>>().join("\n"))),
            Some(StartCaller::Foreground) | None => {
                no_log.into_iter().for_each(|text| drop(writeln!(io::stderr(), "gm-native: {text}")));
                Ok(())
            }
        }
    }

    /// The start failed: the caller prints `text` on its stderr and exits with `code`; in the foreground the text is
    /// printed here. The process itself continues, and should end with the same code.
    pub(crate) fn failed(mut self, code: u8, text: &str) {
        match self.0.take() {
            Some(StartCaller::Waiting(pipe)) => send_outcome(&pipe, code, text),
            Some(StartCaller::Foreground) | None => {
                let _ = writeln!(io::stderr(), "{text}");
            }
        }
    }
}

impl Drop for StartReport {
    fn drop(&mut self) {
        if let Some(StartCaller::Waiting(pipe)) = self.0.take() {
            send_outcome(
                &pipe,
                FAILED,
                &format!("gm-native: the manager (pid {}) gave up its start without a reason", getpid()),
            );
        }
    }
}

/// Sends the outcome. If the caller is gone (Ctrl-C), the manager continues.
fn send_outcome(mut pipe: &File, code: u8, text: &str) {
    let _ = pipe.write_all(&[&[code], text.as_bytes()].concat());
}

/// Releases the terminal and the directory we were started in.
fn detach_streams() -> io::Result<()> {
    chdir("/")?;
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(null.as_fd())?;
    dup2_stdout(null.as_fd())?;
    dup2_stderr(null.as_fd())?;
    Ok(())
}

#[cfg(test)]
mod tests;
