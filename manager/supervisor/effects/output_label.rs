//! Of which function a line is that a worker has printed.
//!
//! A pipe does not record who wrote to it, and a job must cost nothing for it: so what counts is what the worker is doing
//! when its output is read, which is soon after it was written. A job that has just ended is taken for the one that
//! printed.

use std::time::Duration;

use super::children::WorkerHandle;
use crate::plugins::name::FunctionName;
use crate::scoreboard::WorkerActivity;

/// Output is read within this time after it was written, unless the manager is very busy.
const SOON: Duration = Duration::from_millis(20);

/// What a worker is doing, as far as its output is concerned. Functions are places in its configuration.
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

/// The function whose output is read now; none where no function runs.
fn label(functions: usize, last: LastRun, now: Duration) -> Option<usize> {
    match last {
        // Whatever its library does in the background, it is the only one.
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
        // The last job took no longer than all of the function's since its counters were read last.
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
