//! Slow starts: functions that share workers with a slow library or `new()` are started and replaced without it in the
//! meantime.

use std::time::Duration;

use super::workers::DueTime;
use super::{Core, GroupKey, WorkerRecord};
use crate::plugins::name::FunctionName;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;

/// A function that has been loading, or running `new()`, for longer than this no longer delays others.
pub(super) const SLOW: Duration = Duration::from_secs(1);

impl Core {
    /// Whether the start of a worker has been stuck for long at one function's library or `new()`.
    pub(super) fn is_slow(&self, worker: &WorkerRecord) -> bool {
        worker.slow_at().is_some_and(|at| self.read >= at)
    }

    /// Planned workers of a group that have been starting one function for long.
    pub(super) fn starting_slowly(&self, key: &GroupKey) -> impl Iterator<Item = &WorkerRecord> {
        let slow = self.workers.between(DueTime::Slow, None, self.read).into_iter();
        let slow = slow.filter_map(|id| self.workers.get(&id));
        slow.filter(move |worker| worker.key == *key && worker.canary.is_none())
    }

    /// Functions of a group that a planned worker has been starting for long. Empty if no other function is waiting.
    pub(super) fn slow_functions(&self, key: &GroupKey, wanted: &[FunctionName]) -> Vec<FunctionName> {
        let slow = self.starting_slowly(key).filter_map(WorkerRecord::at_start);
        let slow: Vec<FunctionName> = slow.map(|version| version.function.clone()).collect();
        if wanted.iter().all(|name| slow.contains(name)) { Vec::new() } else { slow }
    }
}

impl WorkerRecord {
    /// When it will have been starting one function for long.
    pub(super) fn slow_at(&self) -> Option<Duration> {
        let starts = matches!(self.state, WorkerState::Starting { .. }) && self.at_start().is_some();
        starts.then(|| self.start.reached.saturating_add(SLOW))
    }

    /// Whether it is a stand-in: it serves without one of the slow functions.
    pub(super) fn stands_in(&self, slow: &[FunctionName]) -> bool {
        self.state.is_serving() && !slow.iter().all(|name| self.serves(name))
    }
}

/// Whether stand-in workers must drain, because others have finished the slow start, and together they are more than
/// planned. `settled` workers are one or the other.
pub(super) fn stand_ins_make_room(
    unsettled: &[(WorkerId, &WorkerRecord)],
    settled: usize,
    slow: &[FunctionName],
    count: u32,
) -> bool {
    let has_come = |worker: &WorkerRecord| worker.state.is_loaded() && slow.iter().all(|name| worker.serves(name));
    let of_plan = unsettled.iter().filter(|(_, worker)| worker.canary.is_none());
    let there = of_plan.filter(|(_, worker)| worker.stands_in(slow) || has_come(worker));
    !slow.is_empty() && there.count().saturating_add(settled) > count as usize
}
