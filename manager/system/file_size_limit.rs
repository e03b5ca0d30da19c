//! The limit of the size of files (RLIMIT_FSIZE, LimitFSIZE= of a unit, `ulimit -f`).

use std::io;

use nix::libc::c_int;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

/// Makes a write beyond the limit an error in this process. By default its signal, SIGXFSZ, ends the process without a
/// word, and a log file is enough for that. A handler that does nothing, and not SIG_IGN: programs that this one starts
/// have the default again.
///
/// # Errors
/// The system's: out of memory.
pub(crate) fn catch() -> io::Result<()> {
    let action = SigAction::new(SigHandler::Handler(do_nothing), SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler does nothing.
    unsafe { sigaction(Signal::SIGXFSZ, &action) }.map(drop).map_err(Into::into)
}

extern "C" fn do_nothing(_: c_int) {}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use nix::libc;
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

    /// In a process of its own, since the limit and the handler are the process's.
    #[test]
    fn a_write_beyond_the_limit_is_an_error() {
        let mut file = tempfile::tempfile().unwrap();
        // SAFETY: the child calls only what is async-signal-safe, then `_exit`.
        match unsafe { fork() }.unwrap() {
            ForkResult::Parent { child } => assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 7)),
            ForkResult::Child => {
                let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap_or((0, 0));
                let is_set = catch().is_ok() && setrlimit(Resource::RLIMIT_FSIZE, 0, hard).is_ok();
                let failed = file.write(b"x").is_err_and(|error| error.raw_os_error() == Some(libc::EFBIG));
                // SAFETY: no arguments that could be wrong.
                unsafe { libc::_exit(if is_set && failed { 7 } else { 1 }) }
            }
        }
    }
}
