//! Counts how the jobs of a function end, and decides what to report about failures. Pure.
//!
//! A function whose jobs fail is watched from its first failure until jobs complete again: its counters are read every
//! [`STEP`], and not while it is idle. The log gets a line when failures begin, change or end, at a limited rate.

use std::collections::VecDeque;
use std::time::Duration;

use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// Between two readings of the counters of a function that fails.
pub(crate) const STEP: Duration = Duration::from_secs(10);
/// The window over which the failure rate is measured.
const WINDOW: Duration = Duration::from_secs(60);
/// Failures are over when there was none for this long, and jobs completed.
const QUIET: Duration = Duration::from_secs(60);
/// A function whose jobs failed longer ago is not reported as failing, whether or not it has had a job since.
const FRESH: Duration = Duration::from_secs(600);
/// The pause between two lines about one function: the first one, doubled each time, and the longest.
const PAUSE: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(3600)];

/// Jobs of one function that have ended, by how. Each run counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobTotals {
    /// With a result.
    pub completed: u64,
    /// The function returned a failure, or panicked.
    pub failed: u64,
    /// The worker died in the job.
    pub crashed: u64,
    /// The worker was ended because the job was past its timeout.
    pub timed_out: u64,
}

impl JobTotals {
    /// All of them.
    pub(crate) fn jobs(&self) -> u64 {
        self.completed.saturating_add(self.unsuccessful())
    }

    /// Those without a result.
    pub(crate) fn unsuccessful(&self) -> u64 {
        self.failed.saturating_add(self.crashed).saturating_add(self.timed_out)
    }

    /// The difference to `earlier`. A worker whose scoreboard was overwritten is no longer counted, so a count may
    /// shrink.
    pub(super) fn since(&self, earlier: &Self) -> Self {
        Self {
            completed: self.completed.saturating_sub(earlier.completed),
            failed: self.failed.saturating_sub(earlier.failed),
            crashed: self.crashed.saturating_sub(earlier.crashed),
            timed_out: self.timed_out.saturating_sub(earlier.timed_out),
        }
    }
}

/// Why a job has no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FailureKind {
    Failed,
    Crashed,
    TimedOut,
}

impl FailureKind {
    /// The word in JSON.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::Crashed => "crashed",
            Self::TimedOut => "timed_out",
        }
    }
}

/// A job without a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FailedJob {
    pub kind: FailureKind,
    pub at: Duration,
    /// The job's handle, as text.
    pub handle: String,
    /// The version that ran it.
    pub version: ShortHash,
    pub reason: String,
}

/// The counters of a function, and its last failed job, if any. Crashes and timeouts are not included.
#[derive(Debug, Clone)]
pub(crate) struct FailureReading {
    pub function: FunctionName,
    pub completed: u64,
    pub failed: u64,
    pub last: Option<FailedJob>,
}

/// How many of the latest jobs had no result.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct FailureRate {
    pub failed: u64,
    pub jobs: u64,
    /// Over how long.
    pub over: Duration,
}

impl FailureRate {
    /// Whether at least half of the jobs had no result.
    pub(crate) fn is_high(&self) -> bool {
        self.failed > 0 && self.failed >= self.jobs.saturating_sub(self.failed)
    }
}

/// What the log is to say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum FailureNotice {
    /// Failures began, or they changed.
    Failing(FailureRate),
    /// Failures are over; a summary of them.
    Recovered(FailureRate),
}

/// What is known of the failures of one function.
#[derive(Debug, Default)]
pub(crate) struct FailureHistory {
    state: FailureState,
    /// The totals at the last reading: failures up to then were already reported.
    known: JobTotals,
    last_report: Option<ReportedFailures>,
}

#[derive(Debug, Default)]
enum FailureState {
    /// No job fails.
    #[default]
    Quiet,
    /// A job failed at this time, but the counters were not read yet.
    Failed(Duration),
    /// Jobs fail.
    Failing(FailureWatch),
    /// The failures were of a version that is gone: the counters are read once more, to count from there.
    Discarded(Duration),
}

/// The state of a function whose jobs are failing.
#[derive(Debug)]
struct FailureWatch {
    since: Duration,
    /// The totals before the first failure.
    base: JobTotals,
    /// The totals at the beginning of the window, and at steps since.
    samples: VecDeque<(Duration, JobTotals)>,
    /// When the last failure was seen, and how many jobs had completed by then.
    failed_at: Duration,
    completed: u64,
    /// When the counters are read next; `None` while nothing runs.
    next: Option<Duration>,
    /// Whether the log has a line about it.
    is_reported: bool,
}

/// The last line of the log.
#[derive(Debug, Clone)]
struct ReportedFailures {
    at: Duration,
    pause: Duration,
    reason: String,
    is_high: bool,
    /// Failures by then.
    failed: u64,
}

impl FailureHistory {
    /// A job of the function failed: schedules a reading of its counters, unless one is already scheduled.
    pub(crate) fn job_failed(&mut self, now: Duration) {
        match &mut self.state {
            FailureState::Quiet => self.state = FailureState::Failed(now),
            FailureState::Failed(_) | FailureState::Discarded(_) => {}
            FailureState::Failing(watch) => watch.next = Some(watch.next.unwrap_or(now)),
        }
    }

    /// Another version is in service, or the one that failed was rejected: earlier failures say nothing any more.
    pub(crate) fn discard(&mut self, now: Duration) {
        if !matches!(self.state, FailureState::Quiet) {
            self.state = FailureState::Discarded(now);
        }
    }

    /// At a re-scan, an idle function is read once more.
    pub(crate) fn schedule_reading(&mut self, now: Duration) {
        if let FailureState::Failing(watch) = &mut self.state {
            watch.next = Some(watch.next.unwrap_or(now));
        }
    }

    /// When the counters are to be read next.
    pub(crate) fn due(&self) -> Option<Duration> {
        match &self.state {
            FailureState::Quiet => None,
            FailureState::Failed(at) | FailureState::Discarded(at) => Some(*at),
            FailureState::Failing(watch) => watch.next,
        }
    }

    /// Takes in the counters. `reason` is that of the last job that failed.
    pub(crate) fn observe(&mut self, totals: JobTotals, reason: &str, now: Duration) -> Option<FailureNotice> {
        let known = std::mem::replace(&mut self.known, totals);
        let failed_more = totals.unsuccessful() > known.unsuccessful();
        let mut watch = match std::mem::take(&mut self.state) {
            FailureState::Failed(_) if failed_more => FailureWatch::new(known, totals, now),
            FailureState::Quiet | FailureState::Failed(_) | FailureState::Discarded(_) => return None,
            FailureState::Failing(watch) => watch,
        };
        watch.observe(totals, failed_more, now);
        if watch.is_over(&totals, now) {
            let whole = FailureRate::of(&totals.since(&watch.base), now.saturating_sub(watch.since));
            return watch.is_reported.then_some(FailureNotice::Recovered(whole));
        }
        let rate = watch.rate(&totals, now);
        let new = ReportedFailures {
            at: now,
            pause: PAUSE[0],
            reason: alike(reason),
            is_high: rate.is_high(),
            failed: totals.failed,
        };
        let report = next_report(self.last_report.as_ref(), watch.is_reported, new);
        watch.is_reported |= report.is_some();
        self.state = FailureState::Failing(watch);
        self.last_report = Some(report?);
        Some(FailureNotice::Failing(rate))
    }

    /// The current failure rate; `None` if no job fails, or none has failed for a while.
    pub(crate) fn rate(&self, totals: &JobTotals, now: Duration) -> Option<FailureRate> {
        let FailureState::Failing(watch) = &self.state else { return None };
        if now >= watch.failed_at.saturating_add(FRESH) {
            return None;
        }
        Some(watch.rate(totals, now)).filter(|rate| rate.failed > 0)
    }
}

/// The line to log, if any: failures that began or changed, once the pause since the last line is over. What
/// crashes or times out has lines of its own.
fn next_report(
    before: Option<&ReportedFailures>,
    is_reported: bool,
    new: ReportedFailures,
) -> Option<ReportedFailures> {
    let Some(before) = before else { return (new.failed > 0).then_some(new) };
    let changed = !is_reported || before.reason != new.reason || (new.is_high && !before.is_high);
    let quiet = new.at.saturating_sub(before.at);
    let is_due = new.failed > before.failed && changed && quiet >= before.pause;
    let long = quiet >= before.pause.saturating_mul(4);
    let pause = if long { PAUSE[0] } else { before.pause.saturating_mul(2).min(PAUSE[1]) };
    is_due.then_some(ReportedFailures { pause, ..new })
}

/// A reason without its numbers, which may differ from job to job.
fn alike(reason: &str) -> String {
    reason.split(|c: char| c.is_ascii_digit()).filter(|part| !part.is_empty()).collect::<Vec<_>>().join("0")
}

impl FailureRate {
    fn of(totals: &JobTotals, over: Duration) -> Self {
        Self { failed: totals.unsuccessful(), jobs: totals.jobs(), over }
    }
}

impl FailureWatch {
    /// When the jobs before the first failure ended is unknown, so they are left out of the rate.
    fn new(known: JobTotals, totals: JobTotals, now: Duration) -> Self {
        let base = JobTotals { completed: totals.completed, ..known };
        let samples = VecDeque::from([(now, base)]);
        Self { since: now, base, samples, failed_at: now, completed: totals.completed, next: None, is_reported: false }
    }

    fn observe(&mut self, totals: JobTotals, failed_more: bool, now: Duration) {
        if failed_more {
            (self.failed_at, self.completed) = (now, totals.completed);
        }
        // While nothing runs the window stays where it is.
        if let Some((at, last)) = self.samples.back().copied()
            && now >= at.saturating_add(STEP)
            && last != totals
        {
            self.samples.push_back((now, totals));
            while self.samples.get(1).is_some_and(|(at, _)| now >= at.saturating_add(WINDOW)) {
                self.samples.pop_front();
            }
        }
        self.next = (now < self.failed_at.saturating_add(QUIET)).then(|| now.saturating_add(STEP));
    }

    fn is_over(&self, totals: &JobTotals, now: Duration) -> bool {
        now >= self.failed_at.saturating_add(QUIET) && totals.completed > self.completed
    }

    fn rate(&self, totals: &JobTotals, now: Duration) -> FailureRate {
        let (at, first) = self.samples.front().copied().unwrap_or((self.since, self.base));
        FailureRate::of(&totals.since(&first), now.saturating_sub(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEVER: Option<Duration> = None;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn totals(completed: u64, failed: u64) -> JobTotals {
        JobTotals { completed, failed, ..JobTotals::default() }
    }

    fn failing(failed: u64, jobs: u64, over: u64) -> Option<FailureNotice> {
        Some(FailureNotice::Failing(FailureRate { failed, jobs, over: at(over) }))
    }

    fn recovered(failed: u64, jobs: u64, over: u64) -> Option<FailureNotice> {
        Some(FailureNotice::Recovered(FailureRate { failed, jobs, over: at(over) }))
    }

    /// What is reported at each reading: seconds, jobs with results, failures, reason, notice.
    #[track_caller]
    fn story(steps: &[(u64, u64, u64, &str, Option<FailureNotice>)]) -> FailureHistory {
        let mut history = FailureHistory::default();
        let mut before = 0;
        for (now, completed, failed, reason, expected) in steps {
            if *failed > before {
                history.job_failed(at(*now));
            }
            before = *failed;
            let report = history.observe(totals(*completed, *failed), reason, at(*now));
            assert_eq!(report, *expected, "at {now} s");
        }
        history
    }

    #[test]
    fn a_line_when_failures_begin_and_one_when_they_are_over() {
        let history = story(&[
            (100, 900, 1, "no such table", failing(1, 1, 0)),
            (110, 901, 40, "no such table", None),
            (120, 901, 80, "no such table", None),
            (170, 950, 80, "no such table", None),
            (180, 990, 80, "no such table", recovered(80, 170, 80)),
        ]);
        assert_eq!((history.due(), history.rate(&totals(990, 80), at(180))), (NEVER, None));
    }

    #[test]
    fn other_reasons_and_far_more_failures_are_reported_after_a_pause() {
        story(&[
            (0, 100, 1, "row 7 is gone", failing(1, 1, 0)),
            (10, 200, 2, "disk full", None),
            (20, 300, 3, "row 8 is gone", None),
            (60, 400, 4, "row 9 is gone", None),
            (70, 500, 5, "disk full", failing(3, 303, 60)),
            (80, 600, 6, "row 9 is gone", None),
            (190, 601, 9, "row 9 is gone", failing(3, 4, 110)),
            (500, 601, 900, "row 9 is gone", None),
        ]);
        story(&[(0, 100, 1, "x", failing(1, 1, 0)), (10, 200, 2, "x", None), (70, 300, 3, "x", None)]);
    }

    /// However a function fails, the log does not fill.
    #[test]
    fn lines_become_fewer_the_longer_it_lasts() {
        let mut history = FailureHistory::default();
        let mut lines = 0;
        for step in 0..8640 {
            let reason = "x".repeat(step % 97);
            history.job_failed(at(step as u64 * 10));
            let report = history.observe(totals(step as u64, step as u64 + 1), &reason, at(step as u64 * 10));
            lines += usize::from(report.is_some());
        }
        assert!((20..40).contains(&lines), "{lines} lines in a day");
    }

    #[test]
    fn nothing_is_read_while_nothing_runs() {
        let mut history = story(&[(0, 5, 1, "x", failing(1, 1, 0)), (10, 5, 1, "x", None)]);
        assert_eq!(history.due(), Some(at(20)));
        assert_eq!(history.observe(totals(5, 1), "x", at(60)), None);
        assert_eq!(history.due(), NEVER);
        // The rate is that of the last jobs, for ten minutes after the last failure.
        assert_eq!(history.rate(&totals(5, 1), at(599)), Some(FailureRate { failed: 1, jobs: 1, over: at(599) }));
        assert_eq!(history.rate(&totals(5, 1), at(600)), None);
        history.schedule_reading(at(930));
        assert_eq!(history.due(), Some(at(930)));
        assert_eq!(history.observe(totals(5, 1), "x", at(930)), None);
        assert_eq!(history.due(), NEVER);
        history.schedule_reading(at(960));
        assert_eq!(history.observe(totals(6, 1), "x", at(960)), recovered(1, 2, 960));
    }

    #[test]
    fn failures_of_a_version_that_is_gone_are_forgotten() {
        let mut history = story(&[(0, 5, 1, "x", failing(1, 1, 0)), (10, 5, 8, "x", None)]);
        history.discard(at(12));
        assert_eq!((history.rate(&totals(5, 8), at(12)), history.due()), (None, Some(at(12))));
        assert_eq!(history.observe(totals(5, 9), "x", at(12)), None, "one more, of a worker that is still draining");
        assert_eq!((history.rate(&totals(5, 9), at(12)), history.due()), (None, NEVER));
        history.job_failed(at(70));
        assert_eq!(history.observe(totals(6, 10), "x", at(70)), failing(1, 1, 0), "the next one is counted from there");
    }

    #[test]
    fn crashes_count_and_have_lines_of_their_own() {
        let mut history = FailureHistory::default();
        let mut totals = JobTotals { crashed: 1, ..JobTotals::default() };
        history.job_failed(at(0));
        assert_eq!(history.observe(totals, "killed", at(0)), None);
        assert_eq!(history.rate(&totals, at(1)).map(|rate| rate.is_high()), Some(true));
        totals.completed = 9;
        assert_eq!(history.observe(totals, "killed", at(70)), None);
        assert_eq!(history.rate(&totals, at(71)), None);
    }

    #[test]
    fn a_report_without_a_failure_is_nothing() {
        let mut history = FailureHistory::default();
        history.job_failed(at(1));
        assert_eq!(history.due(), Some(at(1)));
        assert_eq!(history.observe(totals(3, 0), "", at(1)), None);
        assert_eq!(history.due(), NEVER);
    }

    #[test]
    fn half_of_the_jobs_is_a_high_rate() {
        for (failed, jobs, expected) in [(0, 0, false), (0, 9, false), (1, 1, true), (1, 2, true), (1, 3, false)] {
            assert_eq!(FailureRate { failed, jobs, over: at(1) }.is_high(), expected, "{failed} of {jobs}");
        }
    }
}
