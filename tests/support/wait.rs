//! Waits for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; reached only if a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(3);

/// Calls `look` until it returns something, and returns that.
///
/// # Panics
///
/// If it returns nothing before the deadline; `what` names what was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, look: impl FnMut() -> Option<T>) -> T {
    try_wait_for(deadline, look).unwrap_or_else(|| panic!("waited {deadline:?} in vain for {what}"))
}

/// Calls `look` until it returns something; `None` if it does not before the deadline.
pub fn try_wait_for<T>(deadline: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        if let Some(seen) = look() {
            return Some(seen);
        }
        if Instant::now() >= end {
            return None;
        }
        std::thread::sleep(PAUSE);
    }
}
