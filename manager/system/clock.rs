//! The monotonic clock, as one number that all processes of this machine share.

use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};

/// Time since the machine started, unaffected by changes of the wall clock. Costs no system call (vDSO).
pub(crate) fn now() -> Duration {
    // The call can fail only for a clock that does not exist.
    clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from)
}

/// Stands for a moment that never comes, for waits that an [`Instant`] cannot represent.
pub(crate) const FAR: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// The moment after `wait`; if an [`Instant`] cannot represent it, one that never comes.
pub(crate) fn after(wait: Duration) -> Instant {
    let now = Instant::now();
    // The second cannot fail: an Instant counts seconds in 63 bits.
    now.checked_add(wait).or_else(|| now.checked_add(FAR)).unwrap_or(now)
}

/// A part of a duration, from 0 for none of it to 1 for all.
pub(crate) fn fraction(whole: Duration, part: f64) -> Duration {
    Duration::try_from_secs_f64(whole.as_secs_f64() * part).unwrap_or(whole).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDLESS: Duration = Duration::MAX;

    #[test]
    fn a_moment_without_end_never_comes() {
        let now = Instant::now();
        assert!(after(ENDLESS) > now + FAR / 2);
        assert!(after(Duration::ZERO) < now + FAR / 2);
    }

    #[test]
    fn a_fraction_is_never_more_than_the_whole() {
        for (whole, part, expected) in [
            (Duration::from_secs(4), 0.5, Duration::from_secs(2)),
            (Duration::from_secs(4), 0.0, Duration::ZERO),
            (Duration::from_secs(4), 1.0, Duration::from_secs(4)),
            (ENDLESS, 1.0, ENDLESS),
        ] {
            assert_eq!(fraction(whole, part), expected, "{part} of {whole:?}");
        }
    }
}
