//! The monotonic clock, as the one number that every process of this machine shares.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Time since the machine started, unaffected by anybody setting the wall clock. Costs no system call (vDSO).
pub fn now() -> Duration {
    // The call can fail only for a clock that does not exist.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}
