//! How many jobs ended in the last minute, from totals that are read now and then. Pure.
//!
//! There is no timer for it: the totals are recorded at each re-scan and whenever a status is asked for.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::job_failures::JobTotals;
use crate::plugins::name::FunctionName;

/// What is reported on.
const MINUTE: Duration = Duration::from_secs(60);
/// Totals are not recorded more often than this.
const STEP: Duration = Duration::from_secs(5);

/// The totals of every function.
type TotalsOfAll = BTreeMap<FunctionName, JobTotals>;

/// The totals of the last minute or so, the oldest first.
#[derive(Debug)]
pub(crate) struct LastMinute {
    samples: VecDeque<(Duration, TotalsOfAll)>,
}

/// Jobs of one function that ended in the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CountedJobs {
    pub jobs: JobTotals,
    /// The length of that minute: as close to one as there are totals.
    pub over: Duration,
}

impl LastMinute {
    /// Nothing has run before this time.
    pub(crate) fn starting_at(now: Duration) -> Self {
        Self { samples: VecDeque::from([(now, TotalsOfAll::new())]) }
    }

    /// Whether it is time to record the totals again.
    pub(crate) fn is_due(&self, now: Duration) -> bool {
        self.samples.back().is_none_or(|(at, _)| now >= at.saturating_add(STEP))
    }

    /// Records the totals as of now.
    pub(crate) fn record(&mut self, now: Duration, totals: TotalsOfAll) {
        // One that is older than a minute is needed; those before it are not.
        while self.samples.get(1).is_some_and(|(at, _)| now >= at.saturating_add(MINUTE)) {
            self.samples.pop_front();
        }
        self.samples.push_back((now, totals));
    }

    /// The jobs of a function since a minute ago, given its totals as of now.
    pub(crate) fn count(&self, function: &str, totals: &JobTotals, now: Duration) -> Option<CountedJobs> {
        let distance = |at: Duration| now.saturating_sub(at).abs_diff(MINUTE);
        let is_over = |(at, _): &&(Duration, TotalsOfAll)| *at < now;
        let (at, before) = self.samples.iter().filter(is_over).min_by_key(|(at, _)| distance(*at))?;
        let before = before.get(function).copied().unwrap_or_default();
        Some(CountedJobs { jobs: totals.since(&before), over: now.saturating_sub(*at) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn totals(completed: u64, failed: u64) -> JobTotals {
        JobTotals { completed, failed, ..JobTotals::default() }
    }

    fn recorded(samples: &[(u64, u64)]) -> LastMinute {
        let mut minute = LastMinute::starting_at(at(0));
        for (seconds, completed) in samples {
            minute.record(at(*seconds), TotalsOfAll::from([("f".into(), totals(*completed, 0))]));
        }
        minute
    }

    #[test]
    fn the_last_minute_begins_at_the_totals_that_are_closest_to_it() {
        // Recorded at which second with how many jobs; asked at which second, with 1000 jobs: how many, over how long.
        for (samples, now, jobs, over) in [
            (&[][..], 10, 1000, 10),
            (&[], 4000, 1000, 4000),
            (&[(30, 100)], 35, 1000, 35),
            (&[(30, 100), (60, 300)], 61, 1000, 61),
            (&[(30, 100), (60, 300), (90, 600)], 95, 900, 65),
            (&[(30, 100), (60, 300), (90, 600)], 119, 700, 59),
            (&[(30, 100), (60, 300), (90, 600)], 500, 400, 410),
        ] {
            let counted = recorded(samples).count("f", &totals(1000, 0), at(now));
            let expected = CountedJobs { jobs: totals(jobs, 0), over: at(over) };
            assert_eq!(counted, Some(expected), "{samples:?} at {now}");
        }
    }

    #[test]
    fn a_function_that_is_new_has_run_nothing_before() {
        let counted = recorded(&[(30, 100)]).count("new", &totals(3, 1), at(90));
        assert_eq!(counted, Some(CountedJobs { jobs: totals(3, 1), over: at(60) }));
    }

    #[test]
    fn totals_that_shrink_count_as_none() {
        let counted = recorded(&[(30, 100)]).count("f", &totals(40, 1), at(90));
        assert_eq!(counted.map(|counted| counted.jobs), Some(totals(0, 1)));
    }

    #[test]
    fn nothing_is_counted_over_no_time() {
        assert_eq!(LastMinute::starting_at(at(7)).count("f", &totals(0, 0), at(7)), None);
    }

    /// However often and for however long.
    #[test]
    fn few_totals_are_kept() {
        let mut minute = LastMinute::starting_at(at(0));
        for seconds in 0..10_000 {
            if minute.is_due(at(seconds)) {
                minute.record(at(seconds), TotalsOfAll::new());
            }
            assert!(minute.samples.len() <= 14, "{} at {seconds} s", minute.samples.len());
        }
        assert!(minute.samples.len() >= 12);
    }
}
