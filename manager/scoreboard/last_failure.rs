//! Why the last job of a function failed, as its worker has written it. The manager takes it as hostile input.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Acquire, Ordering::Relaxed, Ordering::Release, fence};
use std::time::Duration;

use super::{load_bytes, store_bytes};

const HANDLE_WORDS: usize = 16;
const TEXT_WORDS: usize = 32;
/// The longest reason that fits, in bytes.
pub(crate) const FAILURE_TEXT: usize = TEXT_WORDS * 8;

/// A failed job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LastFailure {
    /// When it failed, of the monotonic clock.
    pub at: Duration,
    /// The job's handle; empty if it is too long.
    pub handle: Vec<u8>,
    /// The reason, at most [`FAILURE_TEXT`] bytes.
    pub reason: String,
}

#[repr(C)]
pub(super) struct FailureSlot {
    /// Odd while the words below are being written.
    sequence: AtomicU64,
    at_ns: AtomicU64,
    handle_len: AtomicU32,
    reason_len: AtomicU32,
    handle: [AtomicU64; HANDLE_WORDS],
    reason: [AtomicU64; TEXT_WORDS],
}

impl FailureSlot {
    pub(super) fn store(&self, failure: &LastFailure) {
        // A plugin may have written here, so an odd number is no reason to stop.
        let sequence = self.sequence.load(Relaxed) & !1;
        self.sequence.store(sequence.wrapping_add(1), Relaxed);
        fence(Release);
        self.at_ns.store(u64::try_from(failure.at.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.handle_len.store(store_bytes(&self.handle, &failure.handle), Relaxed);
        self.reason_len.store(store_bytes(&self.reason, failure.reason.as_bytes()), Relaxed);
        self.sequence.store(sequence.wrapping_add(2), Release);
    }

    /// What is there; none if nothing is, or it is being written.
    pub(super) fn load(&self) -> Option<LastFailure> {
        for _ in 0..8 {
            let before = self.sequence.load(Acquire);
            let at = Duration::from_nanos(self.at_ns.load(Relaxed));
            let handle = load_bytes(&self.handle, self.handle_len.load(Relaxed)).unwrap_or_default();
            let reason = load_bytes(&self.reason, self.reason_len.load(Relaxed)).unwrap_or_default();
            fence(Acquire);
            if before.is_multiple_of(2) && self.sequence.load(Relaxed) == before {
                let reason = String::from_utf8_lossy(&reason).into_owned();
                return (before > 0).then_some(LastFailure { at, handle, reason });
            }
        }
        None
    }
}
