//! Determines which function of a worker printed a line.
//!
//! A pipe does not record who wrote to it, and jobs must not pay for tracking that. So what counts is what the worker
//! is doing when its output is read, soon after it was written. Output read just after a job has ended is attributed to
//! that job.

use std::time::Duration;

use super::children::WorkerHandle;
use crate::plugins::name::FunctionName;
use crate::scoreboard::WorkerActivity;

/// Output is read within this time after it was written, unless the manager is very busy.
const SOON: Duration = Duration::from_millis(20);

/// What a worker is doing, as far as its output is concerned. Functions are indices into its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LastRun {
    /// It loads or makes this function.
    Starting(usize),
    /// A job of this function runs.
    Running(usize),
    /// The last job was one of this function; it had ended by this time.
    Ended(usize, Duration),
    /// It has had no job.
    Never,
}

/// The function whose output is read now; none if no function runs.
fn label(functions: usize, last: LastRun, now: Duration) -> Option<usize> {
    match last {
        // It is the only function, so even background output is its own.
        _ if functions == 1 => Some(0),
        LastRun::Starting(function) | LastRun::Running(function) => Some(function),
        LastRun::Ended(function, by) => (now <= by.saturating_add(SOON)).then_some(function),
        LastRun::Never => None,
    }
}

impl WorkerHandle {
    /// The function whose output is read now.
    pub(super) fn output_label(&mut self, now: Duration) -> Option<&FunctionName> {
        let last = self.last_run();
        self.functions.get(label(self.functions.len(), last, now)?)
    }

    fn last_run(&mut self) -> LastRun {
        let activity = self.scoreboard.read().activity;
        if activity == WorkerActivity::Starting {
            return self.starts.map_or(LastRun::Never, LastRun::Starting);
        }
        let Some((function, started)) = self.scoreboard.last_job() else { return LastRun::Never };
        if activity == WorkerActivity::Running {
            return LastRun::Running(function);
        }
        // Upper bound for the last job: it took no longer than all jobs of the function since the counters were last
        // read.
        let ran = self.scoreboard.counters(function).run_ns;
        self.ran.resize(self.functions.len(), 0);
        let before = std::mem::replace(&mut self.ran[function], ran);
        LastRun::Ended(function, started.saturating_add(Duration::from_nanos(ran.saturating_sub(before))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_is_of_the_function_that_runs_or_has_just_run() {
        let ms = Duration::from_millis;
        for (functions, last, now, expected) in [
            (3, LastRun::Starting(2), ms(1), Some(2)),
            (3, LastRun::Running(1), ms(9000), Some(1)),
            (3, LastRun::Ended(1, ms(100)), ms(120), Some(1)),
            (3, LastRun::Ended(1, ms(100)), ms(121), None),
            (3, LastRun::Never, ms(100), None),
            (1, LastRun::Never, ms(100), Some(0)),
            (1, LastRun::Ended(0, ms(100)), ms(9000), Some(0)),
        ] {
            assert_eq!(label(functions, last, now), expected, "{functions} functions, {last:?} at {now:?}");
        }
    }
}
