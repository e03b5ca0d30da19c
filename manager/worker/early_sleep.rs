//! When PRE_SLEEP goes out together with the GRAB behind a result, which saves a call and a round trip for each job
//! that comes alone. Pure.
//!
//! If NO_JOB answers that GRAB, nothing is lost: the server answers PRE_SLEEP with NOOP where a job has come in between.
//! If a job answers it, the server counts a worker as asleep that runs a job. With `gearmand -w N` it may spend a
//! wake-up on that worker, and the job that it was for waits until this one ends. So PRE_SLEEP goes along only where
//! jobs have come one at a time, and all of them were short, for a while.

/// Jobs in a row that came alone and were short.
const ENOUGH: u32 = 64;

/// How jobs come over one connection.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct EarlySleep {
    /// Jobs that came alone, in a row.
    alone: u32,
    /// Jobs since the last NO_JOB.
    jobs: u32,
}

impl EarlySleep {
    /// A job came.
    pub(super) fn job(&mut self) {
        self.jobs = self.jobs.saturating_add(1);
        if self.jobs > 1 {
            self.alone = 0;
        }
    }

    /// NO_JOB came.
    pub(super) fn no_job(&mut self) {
        // Where no job came before it, another worker was faster: that says nothing.
        self.alone = self.alone.saturating_add(self.jobs.min(1));
        self.jobs = 0;
    }

    /// A job was not short.
    pub(super) fn long_job(&mut self) {
        self.alone = 0;
    }

    /// Whether jobs come alone, and are short.
    pub(super) fn is_due(self) -> bool {
        self.alone >= ENOUGH
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alone(jobs: u32) -> EarlySleep {
        let mut early = EarlySleep::default();
        (0..jobs).for_each(|_| (early.job(), early.no_job()).1);
        early
    }

    #[test]
    fn jobs_have_to_come_alone_for_a_while() {
        assert!(!alone(ENOUGH - 1).is_due() && alone(ENOUGH).is_due());
        for (name, event, due) in [
            ("the next one", EarlySleep::job as fn(&mut EarlySleep), true),
            ("woken in vain", EarlySleep::no_job, true),
            ("a long one", EarlySleep::long_job, false),
            ("two at a time", |early| (0..2).for_each(|_| early.job()), false),
        ] {
            let mut early = alone(ENOUGH);
            event(&mut early);
            assert_eq!(early.is_due(), due, "{name}");
        }
    }
}
