//! Decides about a canary: an extra worker that runs new versions alongside the old ones. Pure.

use std::time::Duration;

/// Fewer failures than this do not reject a version.
const FEWEST_FAILURES: u64 = 3;
/// By how many percentage points a new version's failure rate may exceed twice the old one's.
const MARGIN: u64 = 10;

/// Jobs of one new version in its canary, and of the old version in all other workers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct JobCounts {
    /// Jobs of the new version that completed.
    pub completed: u64,
    /// Jobs of the new version that failed.
    pub failed: u64,
    /// Jobs of the old version that completed.
    pub old_completed: u64,
    /// Jobs of the old version that failed.
    pub old_failed: u64,
}

impl JobCounts {
    /// Jobs the new version has run.
    pub(crate) fn jobs(&self) -> u64 {
        self.completed.saturating_add(self.failed)
    }

    /// Whether it fails too often: at least three times, at a rate above twice the old one's plus ten points.
    pub(crate) fn fails_too_often(&self) -> bool {
        self.failed >= FEWEST_FAILURES
            && percent(self.failed, self.completed) > 2 * percent(self.old_failed, self.old_completed) + MARGIN
    }
}

/// The failure rate in percent.
fn percent(failed: u64, completed: u64) -> u64 {
    let all = u128::from(failed) + u128::from(completed);
    (u128::from(failed) * 100).checked_div(all).map_or(0, |percent| u64::try_from(percent).unwrap_or(100))
}

/// How long, and over how many jobs, a canary is watched.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CanaryPolicy {
    /// For at most this long after it began to serve.
    pub seconds: Duration,
    /// Or until each of its new versions has run this many jobs.
    pub jobs: u64,
}

/// What to do with a live canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CanaryDecision {
    /// Keep watching.
    Watch,
    /// Every new version in it is good.
    Promote,
    /// The version at this index fails too often.
    Reject(usize),
}

/// Judges a canary that has served for `served`.
pub(crate) fn judge(served: Duration, versions: &[(CanaryPolicy, JobCounts)]) -> CanaryDecision {
    if let Some(bad) = versions.iter().position(|(_, counts)| counts.fails_too_often()) {
        return CanaryDecision::Reject(bad);
    }
    let enough = |(watch, counts): &(CanaryPolicy, JobCounts)| served >= watch.seconds || counts.jobs() >= watch.jobs;
    if versions.iter().all(enough) { CanaryDecision::Promote } else { CanaryDecision::Watch }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: CanaryPolicy = CanaryPolicy { seconds: Duration::from_secs(5), jobs: 20 };

    fn counts(completed: u64, failed: u64, old_completed: u64, old_failed: u64) -> JobCounts {
        JobCounts { completed, failed, old_completed, old_failed }
    }

    #[test]
    fn a_canary_is_promoted_by_time_or_jobs_and_rejected_by_failures() {
        use CanaryDecision::{Promote, Reject};
        for (name, served_ms, versions, expected) in [
            ("no traffic, too early", 4_999, vec![counts(0, 0, 0, 0)], CanaryDecision::Watch),
            ("no traffic, on time alone", 5_000, vec![counts(0, 0, 0, 0)], Promote),
            ("enough jobs", 10, vec![counts(20, 0, 0, 0)], Promote),
            ("one of two has not run enough", 10, vec![counts(20, 0, 0, 0), counts(3, 0, 0, 0)], CanaryDecision::Watch),
            ("two failures say nothing", 10, vec![counts(0, 2, 100, 0)], CanaryDecision::Watch),
            ("three of three fail, none did before", 10, vec![counts(0, 3, 100, 0)], Reject(0)),
            ("three of three fail, as before", 10, vec![counts(0, 3, 0, 100)], CanaryDecision::Watch),
            ("3 of 20 are 15 %, before 0 %", 10, vec![counts(17, 3, 100, 0)], Reject(0)),
            ("3 of 30 are 10 %: within the margin", 10, vec![counts(27, 3, 100, 0)], Promote),
            ("25 %, before 10 %: within twice and the margin", 10, vec![counts(15, 5, 90, 10)], Promote),
            ("35 %, before 10 %", 10, vec![counts(13, 7, 90, 10)], Reject(0)),
            ("the second fails", 10, vec![counts(20, 0, 0, 0), counts(0, 9, 9, 0)], Reject(1)),
        ] {
            let versions: Vec<(CanaryPolicy, JobCounts)> = versions.into_iter().map(|counts| (WATCH, counts)).collect();
            assert_eq!(judge(Duration::from_millis(served_ms), &versions), expected, "{name}");
        }
    }

    #[test]
    fn scribbled_counters_do_no_harm() {
        assert!(!counts(u64::MAX, u64::MAX, 0, u64::MAX).fails_too_often());
        assert_eq!(counts(u64::MAX, 7, 0, 0).jobs(), u64::MAX);
    }
}
