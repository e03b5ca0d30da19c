//! How many jobs a worker may hold: `prefetch` and `prefetch_hold`. Pure.
//!
//! A job in hand waits for the ones before it, and no other worker can take it meanwhile. A mean run time does not show
//! the long job that is yet to come, so a worker holds more than one job only after a probation: a run of consecutive
//! jobs that were all shorter than `prefetch_hold`.

use std::time::Duration;

/// The longest probation.
const LONGEST_PROBATION: u32 = 65_536;
/// Minimum number of short jobs between two long ones, per job in the window. With fewer, more than one job in a
/// hundred would wait for a long one, so the next probation is longer.
const MIN_SHORT_JOBS: u32 = 100;
/// If a run time or size drops, only this fraction (1/16) of the drop counts, so that the window opens slowly.
const DECAY: u64 = 16;
/// Bytes of workloads and answers of the jobs that a worker may hold: workloads wait in its receive buffer, and a job
/// waits while the answers before it are sent.
const MAX_HELD_BYTES: u64 = 64 * 1024;

/// The window of one worker: how many jobs it may hold over all job servers, the running one included.
#[derive(Debug)]
pub(super) struct Prefetch {
    most: u32,
    hold_ns: u64,
    /// Short jobs in a row that end the first probation.
    first_probation: u32,
    /// Likewise for the current probation.
    probation: u32,
    /// Short jobs in a row so far.
    short_jobs: u32,
    run_ns: u64,
    bytes: u64,
}

impl Prefetch {
    /// For a worker that may hold `most` jobs, none of which may wait longer than `hold` for the others.
    pub(super) fn new(most: u32, hold: Duration, first_probation: u32) -> Self {
        Self {
            most,
            hold_ns: nanos(hold),
            first_probation,
            probation: first_probation,
            short_jobs: 0,
            run_ns: 0,
            bytes: 0,
        }
    }

    /// Changes the limit.
    pub(super) fn set_most(&mut self, most: u32) {
        self.most = most;
    }

    /// A job ran this long, and its workload and its answer had this many bytes.
    pub(super) fn job_ended(&mut self, took: Duration, bytes: u64) {
        if self.most <= 1 {
            return;
        }
        let took_ns = nanos(took);
        self.run_ns = follow(self.run_ns, took_ns);
        self.bytes = follow(self.bytes, bytes);
        if took_ns < self.hold_ns {
            self.short_jobs = self.short_jobs.saturating_add(1);
            return;
        }
        let was_open = !self.is_on_probation();
        let since_open = self.short_jobs.saturating_sub(self.probation);
        if was_open && since_open < self.most.saturating_mul(MIN_SHORT_JOBS) {
            self.probation = self.probation.saturating_mul(2).min(LONGEST_PROBATION.max(self.first_probation));
        } else if was_open {
            self.probation = self.first_probation;
        }
        self.short_jobs = 0;
    }

    /// Probation begins again.
    pub(super) fn start_over(&mut self) {
        self.short_jobs = 0;
    }

    fn is_on_probation(&self) -> bool {
        self.short_jobs < self.probation
    }

    /// How many jobs the worker may hold now; at least one.
    pub(super) fn window(&self) -> u32 {
        if self.most <= 1 || self.is_on_probation() {
            return 1;
        }
        let by_time = self.hold_ns / self.run_ns.max(1);
        let by_size = MAX_HELD_BYTES / self.bytes.max(1);
        u32::try_from(by_time.min(by_size)).unwrap_or(u32::MAX).clamp(1, self.most)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// A moving value that rises at once and falls slowly.
fn follow(before: u64, now: u64) -> u64 {
    now.max(before - before.saturating_sub(now) / DECAY)
}

/// How many GRABs may be outstanding to one job server: one after each NO_JOB, doubled with each job. So a server that
/// has a job only now and then is not sent 64 GRABs for each of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct GrabRamp(u32);

impl Default for GrabRamp {
    fn default() -> Self {
        Self(1)
    }
}

impl GrabRamp {
    /// A job came.
    pub(super) fn job(&mut self) {
        self.0 = self.0.saturating_mul(2);
    }

    /// NO_JOB came.
    pub(super) fn no_job(&mut self) {
        *self = Self::default();
    }

    /// GRABs that may be outstanding.
    pub(super) fn window(self) -> u32 {
        self.0
    }
}

/// How the window is divided among the job servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Division {
    /// The servers take turns with the whole window, because there are fewer GRABs than servers.
    Turns,
    /// Each server has this many at most.
    Shares(u32),
}

/// Divides a window among the servers that may have work.
pub(super) fn divide(window: u32, servers: usize) -> Division {
    match window.checked_div(u32::try_from(servers).unwrap_or(u32::MAX)) {
        Some(share) if window > 1 && share > 0 => Division::Shares(share),
        _ => Division::Turns,
    }
}

/// How many GRABs to send to a server that has `own` outstanding, while `others` are outstanding to the other servers,
/// so that neither its `share` nor the window is exceeded.
pub(super) fn refill(window: u32, share: u32, own: u32, others: u32) -> u32 {
    share.min(window.saturating_sub(others)).saturating_sub(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOLD: Duration = Duration::from_millis(1);
    const PROBATION: u32 = 1_000;

    fn us(n: u64) -> Duration {
        Duration::from_micros(n)
    }

    fn open(most: u32, took: Duration) -> Prefetch {
        let mut prefetch = Prefetch::new(most, HOLD, PROBATION);
        (0..PROBATION).for_each(|_| prefetch.job_ended(took, 16));
        prefetch
    }

    /// Short jobs until the window is open.
    fn jobs_to_open(prefetch: &mut Prefetch) -> u32 {
        let mut jobs = 0;
        while prefetch.window() == 1 {
            prefetch.job_ended(us(1), 16);
            jobs += 1;
        }
        jobs
    }

    #[test]
    fn the_window_opens_after_a_row_of_short_jobs_only() {
        let mut prefetch = Prefetch::new(8, HOLD, PROBATION);
        assert_eq!(jobs_to_open(&mut prefetch), 1_000);
        assert_eq!(prefetch.window(), 8);
        let mut interrupted = Prefetch::new(8, HOLD, PROBATION);
        (0..999).for_each(|_| interrupted.job_ended(us(1), 16));
        interrupted.job_ended(HOLD, 16);
        assert_eq!(jobs_to_open(&mut interrupted), 1_000, "a long job during probation does not prolong it");
    }

    #[test]
    fn the_window_is_as_wide_as_the_hold_and_the_buffer_allow() {
        for (name, most, took, bytes, expected) in [
            ("no time at all", 64, us(0), 16, 64),
            ("short", 64, us(1), 16, 64),
            ("as many as fit", 64, us(100), 16, 10),
            ("rounded down", 64, us(300), 16, 3),
            ("one", 64, us(999), 16, 1),
            ("off", 1, us(1), 16, 1),
            ("long", 64, us(1_000), 16, 1),
            ("a KiB each", 64, us(1), 1 << 10, 64),
            ("larger", 64, us(1), 16 << 10, 4),
            ("too large", 64, us(1), 1 << 20, 1),
        ] {
            let mut prefetch = Prefetch::new(most, HOLD, PROBATION);
            (0..2_000).for_each(|_| prefetch.job_ended(took, bytes));
            assert_eq!(prefetch.window(), expected, "{name}");
        }
        let mut never = Prefetch::new(64, Duration::ZERO, PROBATION);
        (0..100_000).for_each(|_| never.job_ended(us(0), 0));
        assert_eq!(never.window(), 1, "a hold of 0");
    }

    #[test]
    fn a_longer_job_narrows_the_window_at_once_and_shorter_ones_widen_it_slowly() {
        let mut prefetch = open(64, us(10));
        assert_eq!(prefetch.window(), 64);
        prefetch.job_ended(us(500), 16);
        assert_eq!(prefetch.window(), 2);
        let mut jobs = 0;
        while prefetch.window() < 64 {
            prefetch.job_ended(us(10), 16);
            jobs += 1;
        }
        assert!((50..200).contains(&jobs), "{jobs}");
    }

    #[test]
    fn probation_doubles_while_long_jobs_come_soon_and_starts_over_when_they_do_not() {
        let mut prefetch = Prefetch::new(8, HOLD, PROBATION);
        let mut lengths = Vec::new();
        for _ in 0..9 {
            lengths.push(jobs_to_open(&mut prefetch));
            prefetch.job_ended(us(50_000), 16);
            assert_eq!(prefetch.window(), 1);
        }
        assert_eq!(lengths, [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 65_536, 65_536]);
        for (jobs, expected) in
            [(8 * MIN_SHORT_JOBS, 1_000), (8 * MIN_SHORT_JOBS - 1, 2_000), (8 * MIN_SHORT_JOBS, 1_000)]
        {
            jobs_to_open(&mut prefetch);
            (0..jobs).for_each(|_| prefetch.job_ended(us(1), 16));
            prefetch.job_ended(HOLD, 16);
            assert_eq!(jobs_to_open(&mut prefetch), expected, "{jobs} jobs");
            prefetch.short_jobs = 0;
        }
    }

    #[test]
    fn a_lost_connection_closes_the_window() {
        let mut prefetch = open(8, us(1));
        prefetch.start_over();
        assert_eq!(prefetch.window(), 1);
        assert_eq!(jobs_to_open(&mut prefetch), PROBATION);
    }

    #[test]
    fn a_server_is_asked_for_as_much_as_it_has() {
        let mut start = GrabRamp::default();
        let windows: Vec<u32> = (0..5).map(|_| (start.window(), start.job()).0).collect();
        assert_eq!(windows, [1, 2, 4, 8, 16]);
        start.no_job();
        assert_eq!(start.window(), 1);
        (0..100).for_each(|_| start.job());
        assert_eq!(start.window(), u32::MAX);
    }

    #[test]
    fn the_window_is_divided_among_the_servers() {
        for (window, servers, expected) in [
            (1, 1, Division::Turns),
            (1, 3, Division::Turns),
            (8, 0, Division::Turns),
            (8, 1, Division::Shares(8)),
            (8, 2, Division::Shares(4)),
            (8, 3, Division::Shares(2)),
            (3, 3, Division::Shares(1)),
            (2, 3, Division::Turns),
        ] {
            assert_eq!(divide(window, servers), expected, "{window} among {servers}");
        }
    }

    #[test]
    fn a_refill_exceeds_neither_share_nor_window() {
        for (window, share, own, others, expected) in [
            (8, 8, 0, 0, 8),
            (8, 8, 7, 0, 1),
            (8, 4, 3, 4, 1),
            (8, 4, 4, 4, 0),
            (8, 4, 0, 8, 0),
            (8, 4, 1, 6, 1),
            // The window has become narrower.
            (2, 2, 5, 0, 0),
            (2, 2, 0, 5, 0),
        ] {
            assert_eq!(refill(window, share, own, others), expected, "{window} {share} {own} {others}");
        }
    }
}
