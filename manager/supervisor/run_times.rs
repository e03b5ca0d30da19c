//! How long jobs ran: percentiles from counts by powers of two. Pure.

use std::time::Duration;

use crate::scoreboard::BUCKETS;

/// Jobs by how long they ran: entry `n` counts those that took less than 2^n microseconds, and not less than half of
/// that. The last one has no upper bound.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RunTimes(pub [u64; BUCKETS]);

impl RunTimes {
    /// Adds those of another worker. A scoreboard may hold anything.
    pub(crate) fn add(&mut self, more: &Self) {
        self.0.iter_mut().zip(more.0).for_each(|(sum, more)| *sum = sum.saturating_add(more));
    }

    /// How many jobs were counted.
    pub(crate) fn jobs(&self) -> u64 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// The time within which this share of the jobs had run, from 0 to 1; `None` if there was none. Within a power of
    /// two the times are taken to be spread evenly.
    pub(crate) fn percentile(&self, share: f64) -> Option<Duration> {
        let jobs = self.jobs();
        let rank = (jobs as f64 * share.clamp(0.0, 1.0)).max(1.0);
        let mut below = 0_u64;
        for (index, count) in self.0.iter().enumerate().filter(|(_, count)| **count > 0) {
            let up_to = below.saturating_add(*count);
            if up_to as f64 >= rank {
                let (low, high) = bounds(index);
                let part = (rank - below as f64) / *count as f64;
                return Duration::try_from_secs_f64((low + (high - low) * part.clamp(0.0, 1.0)) / 1e6).ok();
            }
            below = up_to;
        }
        None
    }
}

/// The bounds of an entry, in microseconds.
fn bounds(index: usize) -> (f64, f64) {
    let power = |index: usize| 2_f64.powi(i32::try_from(index).unwrap_or(i32::MAX));
    if index == 0 { (0.0, 1.0) } else { (power(index - 1), power(index)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(counts: &[(usize, u64)]) -> RunTimes {
        let mut times = RunTimes::default();
        counts.iter().for_each(|(index, count)| times.0[*index] = *count);
        times
    }

    #[test]
    fn percentiles_lie_within_their_power_of_two() {
        // Counts by entry; the 50th and 99th percentile in microseconds.
        for (counts, median, most) in [
            (&[(0, 1)][..], 1.0, 1.0),
            (&[(0, 100)], 0.5, 0.99),
            (&[(10, 100)], 768.0, 1018.88),
            // One slow job of a hundred is not in the 99th percentile; two are.
            (&[(10, 99), (20, 1)], 770.586, 1024.0),
            (&[(10, 98), (20, 2)], 773.224, 786_432.0),
            (&[(1, 1), (2, 1)], 2.0, 3.96),
            (&[(BUCKETS - 1, 1)], 2_147_483_648.0, 2_147_483_648.0),
        ] {
            let micros = |share| times(counts).percentile(share).map(|time| time.as_secs_f64() * 1e6);
            for (share, expected) in [(0.5, median), (0.99, most)] {
                let found = micros(share).unwrap();
                assert!((found - expected).abs() < 0.01, "{share} of {counts:?} is {found}, not {expected}");
            }
        }
        assert_eq!(RunTimes::default().percentile(0.5), None);
    }

    #[test]
    fn no_count_is_too_high() {
        let mut sum = times(&[(3, u64::MAX), (4, u64::MAX)]);
        sum.add(&times(&[(3, 1)]));
        assert_eq!((sum.0[3], sum.jobs()), (u64::MAX, u64::MAX));
        assert!(sum.percentile(1.0).is_some());
    }
}
