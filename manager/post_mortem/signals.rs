//! Signals in words.

use nix::libc;
use nix::sys::signal::Signal;

/// `SIGSEGV`, or `signal 64`.
pub(super) fn name(signal: i32) -> String {
    Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |signal| signal.to_string())
}

/// What an `si_code` means.
pub(super) fn meaning(signal: i32, code: i32) -> &'static str {
    match (signal, code) {
        (_, libc::SI_USER) => "sent by a process",
        (_, libc::SI_TKILL) if signal == libc::SIGABRT => "the process aborted itself",
        (_, libc::SI_TKILL) => "sent to a thread",
        (_, libc::SI_QUEUE) => "sent by a process with a value",
        (libc::SIGSEGV, 1) => "address not mapped",
        (libc::SIGSEGV, 2) => "no permission to access the address",
        (libc::SIGSEGV, 3) => "bounds check failed",
        (libc::SIGSEGV, 4) => "access denied by a memory protection key",
        (libc::SIGSEGV, 128) => "an address that no memory can have",
        (libc::SIGBUS, 1) => "address not aligned",
        (libc::SIGBUS, 2) => "nothing there: the mapped file is shorter",
        (libc::SIGBUS, 3) => "hardware error",
        (libc::SIGBUS, 4 | 5) => "memory error in the hardware",
        (libc::SIGILL, 1) => "illegal instruction",
        (libc::SIGILL, 2) => "illegal operand",
        (libc::SIGILL, 5) => "privileged instruction",
        (libc::SIGILL, _) => "illegal use of an instruction",
        (libc::SIGFPE, 1) => "integer division by zero",
        (libc::SIGFPE, 2) => "integer overflow",
        (libc::SIGFPE, 3) => "division by zero",
        (libc::SIGFPE, _) => "arithmetic error",
        (libc::SIGTRAP, _) => "breakpoint or trace trap",
        (libc::SIGSYS, _) => "a system call that is filtered",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_in_words() {
        for (signal, code, words) in [
            (libc::SIGSEGV, 1, "address not mapped"),
            (libc::SIGSEGV, 0, "sent by a process"),
            (libc::SIGABRT, -6, "the process aborted itself"),
            (libc::SIGSEGV, -6, "sent to a thread"),
            (libc::SIGFPE, 1, "integer division by zero"),
            (libc::SIGSEGV, 77, ""),
        ] {
            assert_eq!(meaning(signal, code), words);
        }
        assert_eq!((name(11), name(64)), ("SIGSEGV".into(), "signal 64".into()));
    }
}
