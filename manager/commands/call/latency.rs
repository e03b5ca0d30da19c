//! How long jobs took. Pure.

use std::time::Duration;

/// `1000 jobs: min 1.9 us, p50 2.1 us, p99 8.0 us, max 41.3 us`. Sorts the times.
pub(super) fn summary(times: &mut [Duration]) -> String {
    times.sort_unstable();
    let [min, p50, p99, max] = [0, 50, 99, 100].map(|percent| short(percentile(times, percent)));
    format!("{} jobs: min {min}, p50 {p50}, p99 {p99}, max {max}", times.len())
}

/// The given percentile of sorted times.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// A short time, with its unit.
pub(super) fn short(time: Duration) -> String {
    let ns = time.as_nanos() as f64;
    match time.as_nanos() {
        0..1_000 => format!("{ns} ns"),
        1_000..1_000_000 => format!("{:.1} us", ns / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} ms", ns / 1e6),
        _ => format!("{:.3} s", ns / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks() {
        let mut hundred: Vec<Duration> = (1..=100).rev().map(Duration::from_nanos).collect();
        assert_eq!(summary(&mut hundred), "100 jobs: min 1 ns, p50 50 ns, p99 99 ns, max 100 ns");
        let mut two = [Duration::from_nanos(2_500), Duration::from_millis(3)];
        assert_eq!(summary(&mut two), "2 jobs: min 2.5 us, p50 2.5 us, p99 3.0 ms, max 3.0 ms");
        assert_eq!(
            summary(&mut [Duration::from_secs(2)]),
            "1 jobs: min 2.000 s, p50 2.000 s, p99 2.000 s, max 2.000 s"
        );
        assert_eq!(summary(&mut []), "0 jobs: min 0 ns, p50 0 ns, p99 0 ns, max 0 ns");
    }
}
