//! A child process that does not outlive its test.

#![allow(unsafe_code, reason = "only the child itself can ask the kernel to end it with its parent, before exec")]

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpid, getppid};

use super::wait::{DEADLINE, try_wait_for, wait_for};

/// A child that is killed when it goes out of scope, when the thread that started it ends, and when the test's process
/// is killed. Its output is kept, and shown if the test panics.
pub struct ChildGuard {
    name: String,
    child: Child,
    output: File,
}

impl ChildGuard {
    /// Starts `command` with nothing on stdin, its output going to the log.
    ///
    /// # Panics
    ///
    /// When the program cannot be started.
    #[track_caller]
    pub fn start(name: &str, command: &mut Command) -> Self {
        let output = tempfile::tempfile().unwrap();
        command.stdin(Stdio::null()).stdout(output.try_clone().unwrap()).stderr(output.try_clone().unwrap());
        Self { name: name.to_owned(), child: spawn(command), output }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// All its output.
    pub fn output(&self) -> String {
        read_all(&self.output)
    }

    /// Its exit status, if it has exited.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until it exits.
    #[track_caller]
    pub fn wait(&mut self) -> ExitStatus {
        let what = format!("the end of {}", self.name);
        wait_for(&what, DEADLINE, || self.child.try_wait().unwrap())
    }

    /// Waits until it exits; `None` if it still runs at the deadline.
    pub fn wait_until(&mut self, deadline: Duration) -> Option<ExitStatus> {
        try_wait_for(deadline, || self.ended())
    }

    /// Sends a signal. It must not have been reaped.
    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap_or_else(|error| panic!("{signal} to {}: {error}", self.name));
    }

    /// Kills it and waits until it has exited; does nothing if it has already.
    pub fn kill(&mut self) {
        // A child that has exited is not signalled, but still reaped.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for ChildGuard {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("---- output of {} ({})\n{}----", self.name, self.child.id(), self.output());
        }
    }
}

/// Starts `command` so that the kernel kills it when the calling thread ends.
///
/// # Panics
///
/// When the program cannot be started.
#[track_caller]
pub fn spawn(command: &mut Command) -> Child {
    let parent = getpid();
    // SAFETY: between fork and exec the closure makes two system calls and touches no memory but its own.
    unsafe { command.pre_exec(move || die_with(parent)) };
    command.spawn().unwrap_or_else(|error| panic!("cannot start {}: {error}", command.get_program().display()))
}

fn die_with(parent: Pid) -> io::Result<()> {
    set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before prctl.
    if getppid() == parent { Ok(()) } else { Err(io::ErrorKind::NotFound.into()) }
}

/// The whole file, without moving the position at which the child writes.
pub fn read_all(file: &File) -> String {
    String::from_utf8_lossy(&read_bytes(file)).into_owned()
}

/// As [`read_all`], as bytes.
pub fn read_bytes(file: &File) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(file.metadata().unwrap().len()).unwrap()];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64).unwrap() {
            0 => break,
            count => filled += count,
        }
    }
    bytes.truncate(filled);
    bytes
}
