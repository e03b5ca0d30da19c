//! How a worker learns that it should drain, other than by a command: TERM, INT or QUIT from an operator, or the
//! manager's death.
//!
//! The handler sets a flag and writes to an eventfd, so that a worker that sleeps in poll wakes up without a race.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use nix::libc;
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::{handlers, orphan_output};

static STOP: AtomicBool = AtomicBool::new(false);
static ORPHAN: AtomicBool = AtomicBool::new(false);
static WAKE: AtomicI32 = AtomicI32::new(-1);
static GRACE_MS: AtomicU64 = AtomicU64::new(0);

/// Proof that the handlers are set. poll reports it readable once a stop was requested.
#[derive(Debug)]
pub(crate) struct StopSignal(EventFd);

/// The real-time signal that the kernel sends when the manager dies. Nothing else sends it.
fn orphan_signal() -> i32 {
    libc::SIGRTMIN() + 3
}

extern "C" fn on_signal(number: libc::c_int) {
    let saved = nix::errno::Errno::last_raw();
    if !handlers::is_childs(number) {
        STOP.store(true, Relaxed);
        if number == orphan_signal() {
            ORPHAN.store(true, Relaxed);
            orphan_output::discard();
            arm_kill_timer();
        }
        let one = 1_u64;
        // SAFETY: write(2) is async-signal-safe; the descriptor is an eventfd or -1, which fails harmlessly.
        unsafe { libc::write(WAKE.load(Relaxed), (&raw const one).cast(), 8) };
    }
    nix::errno::Errno::set_raw(saved);
}

/// An orphan may be inside a plugin that never returns: the kernel kills it after the grace period in any case.
fn arm_kill_timer() {
    kill_after(Duration::from_millis(GRACE_MS.load(Relaxed)));
}

/// A kill that the kernel has been asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct KillTimer(libc::c_int);

/// Has the kernel kill this process after `grace`, whatever a plugin does; `None` where it has no timer left.
/// Async-signal-safe, as the bare system calls are: glibc's wrapper allocates memory before 2.34.
pub(crate) fn kill_after(grace: Duration) -> Option<KillTimer> {
    // SAFETY: system calls on zeroed plain structs that live meanwhile.
    unsafe {
        let mut event: libc::sigevent = std::mem::zeroed();
        event.sigev_notify = libc::SIGEV_SIGNAL;
        event.sigev_signo = libc::SIGKILL;
        let mut timer: libc::c_int = 0;
        if libc::syscall(libc::SYS_timer_create, libc::CLOCK_MONOTONIC, &raw mut event, &raw mut timer) != 0 {
            return None;
        }
        let mut when: libc::itimerspec = std::mem::zeroed();
        when.it_value.tv_sec = grace.as_secs() as libc::time_t;
        // Zero would disarm it.
        when.it_value.tv_nsec = grace.subsec_nanos().max(1) as libc::c_long;
        libc::syscall(libc::SYS_timer_settime, timer, 0, &raw const when, std::ptr::null_mut::<libc::itimerspec>());
        Some(KillTimer(timer))
    }
}

/// Calls a kill off. Async-signal-safe.
pub(crate) fn cancel_kill(timer: KillTimer) {
    // SAFETY: a plain system call on a number.
    unsafe { libc::syscall(libc::SYS_timer_delete, timer.0) };
}

impl StopSignal {
    /// Sets the handlers.
    ///
    /// # Errors
    /// The system's: out of descriptors.
    pub(crate) fn install() -> io::Result<Self> {
        let wake = EventFd::from_value_and_flags(0, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        WAKE.store(wake.as_fd().as_raw_fd(), Relaxed);
        // No SA_RESTART: a blocking receive has to return and check the flag.
        for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
            handlers::set(signal, on_signal, 0)?;
        }
        Ok(Self(wake))
    }

    /// Makes the death of `manager` a stop with this grace period instead of the kill that [`spawn`](super::spawn) has
    /// arranged. Call it after any change of uid, which would undo it.
    ///
    /// # Errors
    /// The system's error.
    pub(crate) fn outlives(&self, manager: i32, grace: Duration) -> io::Result<()> {
        GRACE_MS.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), Relaxed);
        handlers::set(orphan_signal(), on_signal, 0)?;
        // SAFETY: a plain system call.
        unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, orphan_signal()) };
        if nix::unistd::getppid().as_raw() != manager {
            // The manager died before we asked.
            on_signal(orphan_signal());
        }
        Ok(())
    }

    /// Clears a wake-up without a stop request: every process that has the descriptor can write to it, and poll would
    /// return at once forever.
    pub(crate) fn settle(&self) {
        if !asked() {
            // The only possible error is that there is nothing to read.
            let _ = self.0.read();
        }
    }

    /// Whether a stop was requested.
    pub(crate) fn asked(&self) -> bool {
        asked()
    }
}

/// Whether a stop was requested, from any thread.
pub(crate) fn asked() -> bool {
    STOP.load(Relaxed)
}

/// The manager's end of the channel closed, or the kernel reported its death: stop within the grace period.
pub(crate) fn orphaned() {
    if !ORPHAN.swap(true, Relaxed) {
        STOP.store(true, Relaxed);
        orphan_output::discard();
        arm_kill_timer();
    }
}

/// The channel is closed although the manager lives: stop after the job in hand.
pub(crate) fn request_stop() {
    STOP.store(true, Relaxed);
}

impl AsFd for StopSignal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
