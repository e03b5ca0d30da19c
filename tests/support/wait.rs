//! Waiting for a condition, with a deadline.

use std::time::{Duration, Instant};

/// Long enough for a loaded machine; reached only when a test fails.
pub const DEADLINE: Duration = Duration::from_secs(60);

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(3);

/// Looks until there is something to see, and returns it.
///
/// # Panics
///
/// When there is nothing to see at the deadline; `what` says what was waited for.
#[track_caller]
pub fn wait_for<T>(what: &str, deadline: Duration, look: impl FnMut() -> Option<T>) -> T {
    try_wait_for(deadline, look).unwrap_or_else(|| panic!("waited {deadline:?} in vain for {what}"))
}

/// Looks until there is something to see; `None` when there is not at the deadline.
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
