//! `max_runs_per_worker`: how many jobs a worker may still run, and when to tell the manager. Pure.

use std::time::Duration;

use crate::worker::messages::WorkerMessage;

/// A replacement is ready within this time, so it must be requested this long before the last job ends.
const AHEAD: Duration = Duration::from_millis(100);
/// The overhead of each job.
const BETWEEN: Duration = Duration::from_micros(50);

/// The worker's count.
#[derive(Debug)]
pub(super) struct JobLimit {
    most: u64,
    reported_few: bool,
    reported_none: bool,
}

impl JobLimit {
    /// For a worker that may run `most` jobs; 0: any number.
    pub(super) fn new(most: u64) -> Self {
        Self { most, reported_few: false, reported_none: false }
    }

    /// Whether no job may be taken after this many.
    pub(super) fn is_reached(&self, jobs: u64) -> bool {
        self.most > 0 && jobs >= self.most
    }

    /// How many more may be taken after this many; none if there is no limit.
    pub(super) fn left(&self, jobs: u64) -> Option<u64> {
        (self.most > 0).then(|| self.most.saturating_sub(jobs))
    }

    /// What to report to the manager after this many jobs, the last of which took `last`.
    pub(super) fn due_message(&mut self, jobs: u64, last: Duration) -> Option<WorkerMessage> {
        if self.most == 0 {
            return None;
        }
        let left = self.most.saturating_sub(jobs);
        if left == 0 {
            return (!std::mem::replace(&mut self.reported_none, true)).then_some(WorkerMessage::NoJobsLeft);
        }
        let few =
            left == 1 || last.saturating_add(BETWEEN).saturating_mul(u32::try_from(left).unwrap_or(u32::MAX)) < AHEAD;
        (few && !std::mem::replace(&mut self.reported_few, true)).then_some(WorkerMessage::FewJobsLeft)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_reported_in_time_and_once() {
        let (quick, slow) = (Duration::from_micros(50), Duration::from_secs(1));
        for (name, most, last, few, none) in [
            ("no limit", 0, quick, None, None),
            ("one job: before it", 1, quick, Some(0), Some(1)),
            ("two slow jobs", 2, slow, Some(1), Some(2)),
            ("a hundred slow jobs: before the last one", 100, slow, Some(99), Some(100)),
            ("quick ones: a tenth of a second before", 3000, quick, Some(2001), Some(3000)),
        ] {
            let mut job_limit = JobLimit::new(most);
            let mut sent = (None, None);
            for jobs in 0..5000 {
                let last = if jobs == 0 { slow } else { last };
                match job_limit.due_message(jobs, last) {
                    Some(WorkerMessage::FewJobsLeft) => assert_eq!(sent.0.replace(jobs), None, "{name}"),
                    Some(_) => assert_eq!(sent.1.replace(jobs), None, "{name}"),
                    None => {}
                }
                assert_eq!(job_limit.is_reached(jobs), none.is_some_and(|none| jobs >= none), "{name}");
            }
            assert_eq!(sent, (few, none), "{name}");
        }
    }
}
