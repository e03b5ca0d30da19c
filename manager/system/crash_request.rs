//! Asking a worker what its thread is doing: a signal that its [crash handler](super::crash_handler) answers by saving
//! the thread as in a crash, and going on. No privilege is needed, and nobody waits for an answer.

use std::fs;

use nix::libc;
use nix::unistd::Pid;

use super::handlers::request_signal;

/// Asks a child that was not reaped yet. One that does not catch the signal would die of it, so it gets none: it has
/// not set the handler yet, or runs another program by now.
pub(crate) fn ask(child: Pid) {
    let status = fs::read_to_string(format!("/proc/{child}/status")).unwrap_or_default();
    if catches(&status, request_signal()) {
        // SAFETY: a plain system call. To the main thread, which runs the plugins. An error means that it has ended, or
        // is another user's by now.
        unsafe { libc::syscall(libc::SYS_tgkill, child.as_raw(), child.as_raw(), request_signal()) };
    }
}

/// Whether a process catches a signal, by the text of its `/proc/PID/status`.
fn catches(status: &str, signal: i32) -> bool {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let mask = mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0);
    u32::try_from(signal)
        .ok()
        .and_then(|signal| mask.checked_shr(signal.checked_sub(1)?))
        .is_some_and(|mask| mask & 1 == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_caught_if_its_bit_is_set() {
        let status = "Name:\tx\nSigIgn:\tffffffffffffffff\nSigCgt:\t0000002000000400\n";
        for (signal, caught) in [(11, true), (38, true), (1, false), (10, false), (64, false), (65, false), (0, false)]
        {
            assert_eq!(catches(status, signal), caught, "{signal}");
        }
        assert!(!catches("", 11));
    }
}
