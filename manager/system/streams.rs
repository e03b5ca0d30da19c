//! The descriptors that the caller left open for us.

use std::fmt;
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

use nix::fcntl::{F_GETFD, F_GETFL, FdFlag, OFlag, fcntl};
use nix::libc;

/// Which standard streams were closed when this program began, one bit each: before `main` the standard library opens
/// /dev/null in their place.
static CLOSED: AtomicU8 = AtomicU8::new(0);

#[used]
#[unsafe(link_section = ".init_array")]
static RECORD_CLOSED: extern "C" fn() = record_closed;

extern "C" fn record_closed() {
    for number in 0..3 {
        // SAFETY: F_GETFD only queries; for a descriptor that is not open it returns the error we look for.
        if unsafe { libc::fcntl(number, libc::F_GETFD) } < 0 {
            CLOSED.fetch_or(1 << number, Relaxed);
        }
    }
}

/// A copy of a stream that was open for writing when we were started.
///
/// # Errors
/// It was not open, or it is one that we have opened ourselves.
pub(crate) fn inherited(number: i32) -> io::Result<OwnedFd> {
    let closed = || {
        io::Error::other(format!(
            "it was not open when gm-native was started; open it there ({number}>>FILE in a shell)"
        ))
    };
    if number < 0 || (number < 3 && CLOSED.load(Relaxed) & (1 << number) != 0) {
        return Err(closed());
    }
    // SAFETY: it is only queried and copied, and not used if it is not open.
    let open = unsafe { BorrowedFd::borrow_raw(number) };
    let flags = fcntl(open, F_GETFD).map_err(|_| closed())?;
    // No such descriptor survives exec, and all of ours have the flag.
    if number > 2 && FdFlag::from_bits_retain(flags).contains(FdFlag::FD_CLOEXEC) {
        return Err(closed());
    }
    let mode = OFlag::from_bits_retain(fcntl(open, F_GETFL)?) & OFlag::O_ACCMODE;
    if mode == OFlag::O_RDONLY {
        return Err(io::Error::other("it is open for reading only; open it for writing"));
    }
    open.try_clone_to_owned()
}

/// A standard stream by its usual name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct StandardStream(pub i32);

impl fmt::Display for StandardStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("standard output"),
            2 => f.write_str("standard error"),
            number => write!(f, "descriptor {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;
    use std::os::fd::AsRawFd;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::system::reexec;

    const NAME: &str = "system::streams::tests::open_streams_are_distinguished_from_closed_ones";

    #[test]
    fn open_streams_are_distinguished_from_closed_ones() {
        if reexec::is_child() {
            let own = File::open("/dev/null").unwrap();
            let state = |number: i32| inherited(number).err().map(|error| error.to_string()).unwrap_or("open".into());
            assert!(state(0).contains("for reading only"), "{}", state(0));
            assert!(state(1).starts_with("it was not open"), "{}", state(1));
            assert_eq!(state(2), "open");
            assert_eq!(state(9), "open");
            assert!(state(8).starts_with("it was not open"), "{}", state(8));
            assert!(state(own.as_raw_fd()).contains("was not open"), "one of our own is none");
            return;
        }
        let child = reexec::child(NAME);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$0\" \"$@\" 0</dev/null 1>&- 9>&2"]).arg(child.get_program()).args(child.get_args());
        shell.envs(child.get_envs().filter_map(|(name, value)| Some((name, value?)))).stderr(Stdio::piped());
        let mut run = shell.spawn().unwrap();
        let mut state = String::new();
        run.stderr.take().unwrap().read_to_string(&mut state).unwrap();
        assert!(run.wait().unwrap().success(), "{state}");
    }
}
