//! What the constructors of a library change about the signals that end a process.

use std::sync::atomic::Ordering::Relaxed;

use nix::libc::{self, sigaction};

use super::{SIGNALS, use_alternate_stack};

/// What each of [`SIGNALS`] did at one moment.
pub(crate) struct Dispositions([sigaction; SIGNALS.len()]);

impl Dispositions {
    /// Those of now.
    pub(crate) fn current() -> Self {
        Self(SIGNALS.map(|signal| {
            // SAFETY: a zeroed sigaction is a valid one, and only written to.
            unsafe {
                let mut action: sigaction = std::mem::zeroed();
                libc::sigaction(signal, std::ptr::null(), &raw mut action);
                action
            }
        }))
    }

    /// Undoes what has changed since: the handlers, and the alternate stack of the thread that runs plugins, which has
    /// to be this one.
    pub(crate) fn restore(&self) {
        for ((signal, before), now) in SIGNALS.into_iter().zip(&self.0).zip(&Self::current().0) {
            if before.sa_sigaction != now.sa_sigaction || before.sa_flags != now.sa_flags {
                // SAFETY: it is what the kernel returned for this signal; its handler is still there, as nothing is
                // ever unloaded.
                unsafe { libc::sigaction(signal, before, std::ptr::null_mut()) };
            }
        }
        if super::ALTERNATE_STACK_SIZE.load(Relaxed) != 0 {
            // The only error is that the handler is running.
            let _ = use_alternate_stack();
        }
    }
}
