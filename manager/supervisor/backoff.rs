//! How long a failing function backs off. Pure; the random numbers are passed in.

use std::time::Duration;

use crate::system::clock;

/// After this many deaths in jobs of one function, restarts are delayed; up to then they are immediate.
const FREE_JOB_DEATHS: u32 = 5;
const JOB_FIRST: Duration = Duration::from_millis(100);
const JOB_LONGEST: Duration = Duration::from_secs(5);
/// The same for deaths of serving workers outside a job: one may be an operator's kill.
const FREE_IDLE_DEATHS: u32 = 3;
const START_FIRST: Duration = Duration::from_millis(500);

/// The back-off of one function, or of one group of workers.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Backoff {
    /// Failures outside jobs since the function was last healthy.
    outside: u32,
    outside_at: Duration,
    /// Deaths in jobs since a job last completed.
    inside: u32,
    done_before: u64,
    until: Duration,
    delay: Duration,
}

/// Where a death outside a job happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IdleDeath {
    /// During the start, or in `new()`: the back-off begins with the first failure.
    Start,
    /// While waiting for a job.
    Idle,
}

/// Bounds from the configuration.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BackoffBounds {
    /// The longest wait after failures outside jobs.
    pub longest: Duration,
    /// A function without a failure for this long starts over.
    pub healthy_after: Duration,
}

impl Backoff {
    /// A worker died outside a job. `born` is when it was started: if that was before the last counted failure, the
    /// death belongs to that failure and is not counted again. `chance` is from 0 to 1.
    pub(crate) fn failed_outside(
        &mut self,
        at: IdleDeath,
        now: Duration,
        born: Duration,
        bounds: BackoffBounds,
        chance: f64,
    ) {
        if self.outside > 0 && now >= self.healthy_at(bounds.healthy_after) {
            (self.outside, self.delay) = (0, Duration::ZERO);
        }
        if self.outside > 0 && born < self.outside_at {
            return;
        }
        self.outside += 1;
        self.outside_at = now;
        let free = if at == IdleDeath::Idle { FREE_IDLE_DEATHS } else { 0 };
        // A free death adds no delay, and does not cut short a delay from an earlier failure.
        if let Some(times) = self.outside.checked_sub(free + 1) {
            self.delay = doubled(START_FIRST, times, bounds.longest, chance);
            self.until = self.until.max(now.saturating_add(self.delay));
        }
    }

    /// A worker died in a job of this function. `done` counts the function's finished jobs: if it has grown since the
    /// last death, the function works.
    pub(crate) fn died_in_job(&mut self, now: Duration, done: u64, chance: f64) {
        self.inside = if done > self.done_before { 1 } else { self.inside + 1 };
        self.done_before = done;
        if let Some(beyond) = self.inside.checked_sub(FREE_JOB_DEATHS + 1) {
            self.until = self.until.max(now.saturating_add(doubled(JOB_FIRST, beyond, JOB_LONGEST, chance)));
        }
    }

    /// When it may be tried again; `None` if it may be now.
    pub(crate) fn waits_until(&self, now: Duration) -> Option<Duration> {
        (self.until > now).then_some(self.until)
    }

    /// Whether workers must be started one at a time, until one has lived for longer than the last delay.
    pub(crate) fn is_on_probation(&self, now: Duration, healthy_after: Duration) -> bool {
        self.outside > 0 && now < self.healthy_at(healthy_after)
    }

    /// When it will have gone without a failure for long enough to count as healthy.
    fn healthy_at(&self, healthy_after: Duration) -> Duration {
        self.outside_at.saturating_add(self.delay).saturating_add(healthy_after)
    }

    /// How long a worker has to live before others may be started.
    pub(crate) fn probation(&self) -> Duration {
        self.delay
    }

    /// How many failures were counted, of both kinds.
    pub(crate) fn failures(&self) -> u32 {
        self.outside + self.inside
    }
}

/// `first`, doubled `times` times, at most `longest`, minus up to a quarter so that functions do not retry in lockstep.
fn doubled(first: Duration, times: u32, longest: Duration, chance: f64) -> Duration {
    let longest = first.saturating_mul(2_u32.pow(times.min(20))).min(longest);
    clock::fraction(longest, 1.0 - chance / 4.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: BackoffBounds =
        BackoffBounds { longest: Duration::from_secs(30), healthy_after: Duration::from_secs(60) };

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_function_that_dies_at_every_start_is_tried_ten_times_in_its_first_minute_then_twice_a_minute() {
        let cases =
            [IdleDeath::Start, IdleDeath::Idle].into_iter().flat_map(|at| [0.0, 0.5, 1.0].map(|chance| (at, chance)));
        for (at, chance) in cases {
            let mut backoff = Backoff::default();
            let mut now = ms(1_000_000);
            let mut starts = Vec::new();
            while starts.len() < 20 {
                starts.push((now - ms(1_000_000)).as_secs());
                backoff.failed_outside(at, now + ms(1), now, BOUNDS, chance);
                now = backoff.waits_until(now + ms(1)).unwrap_or(now + ms(1));
            }
            assert!(starts.iter().filter(|at| **at < 60).count() <= 11, "first start and ten more: {starts:?}");
            let late: Vec<u64> = starts.iter().copied().filter(|at| *at >= 120).collect();
            assert!(late.windows(3).all(|w| w[2] - w[0] >= 44), "{late:?}");
        }
    }

    #[test]
    fn workers_that_were_already_under_way_count_once() {
        let mut backoff = Backoff::default();
        backoff.failed_outside(IdleDeath::Start, ms(1000), ms(900), BOUNDS, 0.0);
        let once = backoff.clone();
        (0..9).for_each(|n| backoff.failed_outside(IdleDeath::Start, ms(1001 + n), ms(901), BOUNDS, 0.0));
        assert_eq!(backoff, once);
        backoff.failed_outside(IdleDeath::Start, ms(2000), ms(1500), BOUNDS, 0.0);
        assert_eq!(backoff.waits_until(ms(2000)), Some(ms(3000)));
    }

    #[test]
    fn a_further_failure_never_shortens_a_wait() {
        let mut start_then_idle = Backoff::default();
        start_then_idle.failed_outside(IdleDeath::Start, ms(1000), ms(900), BOUNDS, 0.0);
        start_then_idle.failed_outside(IdleDeath::Idle, ms(1100), ms(1050), BOUNDS, 0.0);
        assert_eq!(start_then_idle.waits_until(ms(1100)), Some(ms(1500)));
        assert_eq!(start_then_idle.probation(), ms(500));
        let mut jobs_then_idle = Backoff::default();
        (0..12).for_each(|_| jobs_then_idle.died_in_job(ms(1000), 0, 0.0));
        let wait = jobs_then_idle.waits_until(ms(1000));
        assert!(wait > Some(ms(4000)));
        jobs_then_idle.failed_outside(IdleDeath::Start, ms(1100), ms(1050), BOUNDS, 0.0);
        assert_eq!(jobs_then_idle.waits_until(ms(1100)), wait);
    }

    #[test]
    fn a_healthy_minute_starts_over() {
        let mut backoff = Backoff::default();
        (0..6).for_each(|n| backoff.failed_outside(IdleDeath::Start, ms(n * 40_000), ms(n * 40_000), BOUNDS, 0.0));
        assert!(backoff.is_on_probation(ms(201_000), BOUNDS.healthy_after));
        let healthy = ms(200_000) + ms(16_000) + BOUNDS.healthy_after;
        assert!(!backoff.is_on_probation(healthy, BOUNDS.healthy_after));
        backoff.failed_outside(IdleDeath::Start, healthy, healthy, BOUNDS, 0.0);
        assert_eq!(backoff.waits_until(healthy), Some(healthy + START_FIRST));
    }

    #[test]
    fn deaths_in_jobs_are_free_until_the_sixth_in_a_row_and_one_job_done_resets() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..14)
            .map(|_| {
                backoff.died_in_job(ms(0), 7, 0.0);
                backoff.waits_until(ms(0)).unwrap_or_default().as_millis()
            })
            .collect();
        // The first counts as after a success, since seven jobs were done before it.
        assert_eq!(waits, [0, 0, 0, 0, 0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000]);
        backoff.died_in_job(ms(60_000), 8, 0.0);
        assert_eq!(backoff.waits_until(ms(60_000)), None);
    }
}
