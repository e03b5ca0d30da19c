//! What is made of a canary: a surplus worker that serves new versions beside the old ones. Pure.

use std::time::Duration;

/// Failures below this number say nothing about a version.
const FEWEST_FAILURES: u64 = 3;
/// What a new version may fail more often than twice the old one, in percent.
const MARGIN: u64 = 10;

/// What one new version has done in its canary, and the old one everywhere else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Jobs of the new version that ended with a result.
    pub done: u64,
    /// Jobs of the new version that failed.
    pub failed: u64,
    /// Jobs of the old version that ended with a result.
    pub old_done: u64,
    /// Jobs of the old version that failed.
    pub old_failed: u64,
}

impl Tally {
    /// Jobs the new version has run.
    pub fn jobs(&self) -> u64 {
        self.done.saturating_add(self.failed)
    }

    /// Whether it fails too often: at least three times, at a rate above twice the old one's plus ten points.
    pub fn fails_too_often(&self) -> bool {
        self.failed >= FEWEST_FAILURES
            && percent(self.failed, self.done) > 2 * percent(self.old_failed, self.old_done) + MARGIN
    }
}

/// Failed jobs in a hundred.
fn percent(failed: u64, done: u64) -> u64 {
    let all = u128::from(failed) + u128::from(done);
    (u128::from(failed) * 100).checked_div(all).map_or(0, |percent| u64::try_from(percent).unwrap_or(100))
}

/// How long, and over how many jobs, a canary is watched.
#[derive(Debug, Clone, Copy)]
pub struct Watch {
    /// At most this long once it serves.
    pub seconds: Duration,
    /// Or until each new version has run so many jobs.
    pub jobs: u64,
}

/// What is to be done with a canary that lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judgement {
    /// Go on watching.
    Watch,
    /// Every new version in it is good.
    Promote,
    /// The version at this index fails too often.
    Reject(usize),
}

/// Judges a canary that has served for `served`.
pub fn judge(served: Duration, tallies: &[(Watch, Tally)]) -> Judgement {
    if let Some(bad) = tallies.iter().position(|(_, tally)| tally.fails_too_often()) {
        return Judgement::Reject(bad);
    }
    let enough = |(watch, tally): &(Watch, Tally)| served >= watch.seconds || tally.jobs() >= watch.jobs;
    if tallies.iter().all(enough) { Judgement::Promote } else { Judgement::Watch }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: Watch = Watch { seconds: Duration::from_secs(5), jobs: 20 };

    fn tally(done: u64, failed: u64, old_done: u64, old_failed: u64) -> Tally {
        Tally { done, failed, old_done, old_failed }
    }

    #[test]
    fn a_canary_is_promoted_by_time_or_jobs_and_rejected_by_failures() {
        use Judgement::{Promote, Reject};
        for (name, served_ms, tallies, expected) in [
            ("no traffic, too early", 4_999, vec![tally(0, 0, 0, 0)], Judgement::Watch),
            ("no traffic, on time alone", 5_000, vec![tally(0, 0, 0, 0)], Promote),
            ("enough jobs", 10, vec![tally(20, 0, 0, 0)], Promote),
            ("one of two has not run enough", 10, vec![tally(20, 0, 0, 0), tally(3, 0, 0, 0)], Judgement::Watch),
            ("two failures say nothing", 10, vec![tally(0, 2, 100, 0)], Judgement::Watch),
            ("three of three fail, none did before", 10, vec![tally(0, 3, 100, 0)], Reject(0)),
            ("three of three fail, as before", 10, vec![tally(0, 3, 0, 100)], Judgement::Watch),
            ("3 of 20 are 15 %, before 0 %", 10, vec![tally(17, 3, 100, 0)], Reject(0)),
            ("3 of 30 are 10 %: within the margin", 10, vec![tally(27, 3, 100, 0)], Promote),
            ("25 % where it was 10 %: within twice and the margin", 10, vec![tally(15, 5, 90, 10)], Promote),
            ("35 % where it was 10 %", 10, vec![tally(13, 7, 90, 10)], Reject(0)),
            ("the second fails", 10, vec![tally(20, 0, 0, 0), tally(0, 9, 9, 0)], Reject(1)),
        ] {
            let tallies: Vec<(Watch, Tally)> = tallies.into_iter().map(|tally| (WATCH, tally)).collect();
            assert_eq!(judge(Duration::from_millis(served_ms), &tallies), expected, "{name}");
        }
    }

    #[test]
    fn scribbled_counters_do_no_harm() {
        assert!(!tally(u64::MAX, u64::MAX, 0, u64::MAX).fails_too_often());
        assert_eq!(tally(u64::MAX, 7, 0, 0).jobs(), u64::MAX);
    }
}
