//! The output of a worker whose manager is gone. No one reads it any more, but the job in hand may print, and must not
//! fail because of that.

use std::io;
use std::os::fd::{FromRawFd, IntoRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::stat::Mode;

use super::fork;

/// Standard output and standard error.
const STREAMS: [i32; 2] = [1, 2];

/// This process's own read ends of its streams' pipes; -1 means none. They are never closed: between the moment the
/// manager's descriptors close and the signal of its death, printing to a pipe without a reader would fail.
static READERS: [AtomicI32; 2] = [const { AtomicI32::new(-1) }; 2];

/// Keeps the pipes of standard output and standard error open for writing even if all others close them. Call it once,
/// in a worker.
///
/// # Errors
/// The system's: out of descriptors or memory.
pub(crate) fn keep_open() -> io::Result<()> {
    for (number, reader) in STREAMS.into_iter().zip(&READERS) {
        if is_pipe(number) {
            let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
            let own = open(format!("/proc/self/fd/{number}").as_str(), flags, Mode::empty())?;
            reader.store(own.into_raw_fd(), Relaxed);
        }
    }
    fork::in_each_child(close_in_child)
}

/// The manager is gone: discards what is printed from now on. Async-signal-safe.
pub(crate) fn discard() {
    // SAFETY: plain system calls. A stream that a plugin has replaced is left alone.
    unsafe {
        let nowhere = libc::open(c"/dev/null".as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        for (number, reader) in STREAMS.into_iter().zip(&READERS) {
            if nowhere >= 0 && is_same_pipe(number, reader.load(Relaxed)) {
                libc::dup2(nowhere, number);
            }
        }
        libc::close(nowhere);
    }
}

/// Closes them in a forked child, so that printing to a pipe without a reader ends it as usual. Async-signal-safe.
extern "C" fn close_in_child() {
    for (number, reader) in STREAMS.into_iter().zip(&READERS) {
        let own = reader.swap(-1, Relaxed);
        // A plugin may have closed it, and the number may belong to something else by now.
        if is_same_pipe(number, own) {
            // SAFETY: the child's copy of what this module has opened, which nothing else knows of.
            drop(unsafe { OwnedFd::from_raw_fd(own) });
        }
    }
}

fn is_pipe(number: i32) -> bool {
    status(number).is_some_and(|status| status.st_mode & libc::S_IFMT == libc::S_IFIFO)
}

/// Whether both are ends of one pipe.
fn is_same_pipe(stream: i32, reader: i32) -> bool {
    let place = |number| status(number).map(|status| (status.st_dev, status.st_ino));
    place(reader).is_some_and(|reader| place(stream) == Some(reader))
}

fn status(number: i32) -> Option<libc::stat> {
    // SAFETY: a zeroed stat is a valid one, and only written to; a number that is no descriptor is an error.
    unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        (libc::fstat(number, &raw mut status) == 0).then_some(status)
    }
}
