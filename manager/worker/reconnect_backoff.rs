//! When to try a job server again. Pure but for its own random numbers, whose seed is given.

use std::time::Duration;

use crate::system::clock;

const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(30);
/// A connection that is lost sooner than this counts as a failed attempt. Otherwise the worker would reconnect in a
/// loop to a server that answers the greeting and then sends garbage or hangs up.
const STEADY: Duration = Duration::from_secs(1);

/// The back-off of one job server.
#[derive(Debug)]
pub(crate) struct ReconnectBackoff {
    siblings: u32,
    failures: u32,
    /// Connections in a row that did not last.
    brief: u32,
    /// Since when the server answers on this connection.
    since: Option<Duration>,
    at: Duration,
    random: fastrand::Rng,
}

impl ReconnectBackoff {
    /// Due at once.
    pub(crate) fn new(siblings: u32, seed: u64) -> Self {
        Self {
            siblings,
            failures: 0,
            brief: 0,
            since: None,
            at: Duration::ZERO,
            random: fastrand::Rng::with_seed(seed),
        }
    }

    /// When the next attempt is due.
    pub(crate) fn at(&self) -> Duration {
        self.at
    }

    /// An attempt failed, or a connection was lost. The first new attempt is spread over one millisecond per worker, so
    /// that thousands do not reconnect at once. After that, the pauses double from 100 ms to 30 s, each randomly
    /// shortened by up to half.
    pub(crate) fn failed(&mut self, now: Duration) {
        if let Some(since) = self.since.take() {
            self.brief = if now < since.saturating_add(STEADY) { self.brief.saturating_add(1) } else { 0 };
            self.failures = self.brief.saturating_sub(1);
        }
        let most = match self.failures {
            0 => Duration::from_millis(u64::from(self.siblings.max(1))),
            n => FIRST.saturating_mul(2_u32.pow((n - 1).min(16))).min(LONGEST),
        };
        let least = if self.failures == 0 { 0.0 } else { 0.5 };
        self.failures = self.failures.saturating_add(1);
        self.at = now.saturating_add(clock::fraction(most, least + (1.0 - least) * self.random.f64()));
    }

    /// The worker has closed the connection itself, to make another: that is no failure, however soon it comes.
    pub(crate) fn renewed(&mut self, now: Duration) {
        (self.failures, self.brief, self.since) = (0, 0, None);
        self.at =
            now.saturating_add(clock::fraction(Duration::from_millis(u64::from(self.siblings)), self.random.f64()));
    }

    /// The server answers: if the connection lasts, the back-off starts over at the next loss.
    pub(crate) fn worked(&mut self, now: Duration) {
        self.since = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_start_over() {
        let mut retry = ReconnectBackoff::new(50, 1);
        assert_eq!(retry.at(), Duration::ZERO);
        for round in 0..2 {
            let mut now = Duration::from_secs(100 * (round + 1));
            for (least, most) in [(0, 50), (50, 100), (100, 200), (200, 400), (400, 800), (800, 1600)] {
                retry.failed(now);
                let wait = (retry.at() - now).as_millis();
                assert!((least..=most).contains(&wait), "{wait} ms is not within {least}..={most}");
                now = retry.at();
            }
            (0..20).for_each(|_| retry.failed(now));
            assert!((15_000..=30_000).contains(&(retry.at() - now).as_millis()));
            retry.worked(now);
        }
    }

    /// S5: a server that answers each greeting and is lost at once is no reason to connect a thousand times a second.
    #[test]
    fn a_connection_that_does_not_last_is_no_success() {
        let mut retry = ReconnectBackoff::new(1, 1);
        let mut now = Duration::from_secs(100);
        for (least, most) in [(0, 1), (50, 100), (100, 200), (200, 400), (400, 800)] {
            retry.worked(now);
            retry.failed(now + STEADY / 2);
            let wait = (retry.at() - now - STEADY / 2).as_millis();
            assert!((least..=most).contains(&wait), "{wait} ms is not within {least}..={most}");
            now = retry.at();
        }
        retry.worked(now);
        retry.failed(now + STEADY);
        assert!(retry.at() - now - STEADY <= Duration::from_millis(1), "it lasted");
    }

    #[test]
    fn siblings_are_spread() {
        let firsts: std::collections::BTreeSet<u128> = (0..100)
            .map(|seed| {
                let mut retry = ReconnectBackoff::new(1000, seed);
                retry.failed(Duration::ZERO);
                retry.at().as_millis()
            })
            .collect();
        assert!(firsts.len() > 80, "{firsts:?}");
    }
}
