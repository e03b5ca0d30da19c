//! Compares a group's workers with the plan: how many to start, which to activate, and which to drain. Pure.
//!
//! The reason does not matter here: after a crash, a change of the plan, a new version, an expired lifetime or a
//! reload, a worker is missing or not fresh.

use super::worker_state::{ExitReason, WorkerState};

/// Identifies a worker for the lifetime of the manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WorkerId(pub u64);

/// How many of the jobs that `max_runs_per_worker` allows a worker has left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum JobAllowance {
    /// Plenty, or no limit.
    #[default]
    Many,
    /// So few that its successor should be ready.
    Few,
    /// None: it takes no more jobs, and waits for the command to drain.
    None,
}

/// One worker of the group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupWorker {
    /// Which.
    pub id: WorkerId,
    /// Its state.
    pub state: WorkerState,
    /// Whether it is what would be started now: same functions, same versions, not too old.
    pub fresh: bool,
    /// How many jobs it has left.
    pub runs: JobAllowance,
    /// Whether it stays in addition to the planned workers, because it serves something that new workers of its group
    /// could not, and nothing else does.
    pub kept: bool,
    /// Whether it is a canary, in addition to the planned workers. The rollout starts and drains it.
    pub canary: bool,
}

impl GroupWorker {
    /// A settled worker (see [`SettledWorkers`]) that is not fresh. How long it has served does not matter.
    pub(crate) fn settled_and_stale(id: WorkerId, kept: bool) -> Self {
        let state = WorkerState::Serving { since: std::time::Duration::ZERO };
        Self { id, state, fresh: false, runs: JobAllowance::Many, kept, canary: false }
    }

    /// Whether it fills a slot of the plan.
    pub(crate) fn has_slot(&self) -> bool {
        self.state.is_live() && !self.canary && self.runs != JobAllowance::None
    }

    /// Whether it serves and is to be replaced.
    pub(crate) fn is_replaceable(&self) -> bool {
        self.state.is_serving() && !self.fresh && !self.kept && !self.canary
    }
}

/// Settled workers: they serve, are fresh, have plenty of jobs left, and are not canaries. They are only counted,
/// unless there are more than planned.
pub(crate) struct SettledWorkers<'a> {
    /// How many.
    pub count: u32,
    /// Which.
    pub ids: &'a dyn Fn() -> Vec<WorkerId>,
}

/// The plan for the group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupTarget {
    /// Workers.
    pub count: u32,
    /// How many additional workers may take jobs during a replacement (`rollout_surge`). If 0, one is missing instead,
    /// since two must never take jobs at once if only one is planned.
    pub surge: u32,
    /// Starts that are possible now.
    pub room: u32,
}

/// What to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct GroupDecision {
    /// Workers to start.
    pub start: u32,
    /// Ready workers to activate.
    pub activate: Vec<WorkerId>,
    /// Workers to drain.
    pub drain: Vec<(WorkerId, ExitReason)>,
}

/// The workers, classified.
struct SortedWorkers<'a> {
    /// Fresh, starting, not serving yet.
    successors: Vec<&'a GroupWorker>,
    /// Fresh and at work.
    current: Vec<&'a GroupWorker>,
    /// The same, with few jobs left: a replacement must be ready when the last one is over.
    nearly_exhausted: Vec<&'a GroupWorker>,
    /// At work, and to be replaced.
    stale: Vec<&'a GroupWorker>,
    /// Without a job left.
    exhausted: Vec<&'a GroupWorker>,
    /// Unneeded: not fresh, and not serving yet.
    unneeded: Vec<&'a GroupWorker>,
    /// Canaries with jobs left.
    canaries: Vec<&'a GroupWorker>,
    /// Serving in addition to the plan.
    kept: u32,
    /// Draining, and perhaps still in a job.
    draining: u32,
    /// Fresh and at work, too.
    settled: &'a SettledWorkers<'a>,
}

fn sorted<'a>(workers: &'a [GroupWorker], settled: &'a SettledWorkers<'a>) -> SortedWorkers<'a> {
    let (mut successors, mut current, mut nearly_exhausted, mut stale) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut exhausted, mut unneeded, mut canaries) = (Vec::new(), Vec::new(), Vec::new());
    let (mut kept, mut draining) = (0, 0);
    for worker in workers {
        let serving = worker.state.is_serving();
        match (worker.fresh, worker.runs) {
            _ if !worker.state.is_live() => draining += 1,
            // It only waits for the decision about its version.
            (_, JobAllowance::None) if worker.canary => {}
            _ if worker.canary => canaries.push(worker),
            (_, JobAllowance::None) => exhausted.push(worker),
            _ if worker.kept => kept += 1,
            (false, _) if !serving => unneeded.push(worker),
            (false, _) => stale.push(worker),
            (true, _) if !worker.state.is_activated() => successors.push(worker),
            (true, JobAllowance::Few) => nearly_exhausted.push(worker),
            (true, JobAllowance::Many) => current.push(worker),
        }
    }
    SortedWorkers {
        successors,
        current,
        nearly_exhausted,
        stale,
        exhausted,
        unneeded,
        canaries,
        kept,
        draining,
        settled,
    }
}

/// Compares the group with its plan. `workers` are all but the settled ones.
pub(crate) fn decide(workers: &[GroupWorker], settled: &SettledWorkers<'_>, want: GroupTarget) -> GroupDecision {
    let sorted = sorted(workers, settled);
    let slots = slots(&sorted, want);
    let others = GroupTarget { count: want.count.saturating_sub(slots), ..want };
    GroupDecision {
        start: starts(&sorted, others),
        activate: activations(&sorted, want),
        drain: drains(&sorted, others, slots),
    }
}

/// Slots of the plan that canaries occupy: none if the group may have a surge worker.
fn slots(sorted: &SortedWorkers<'_>, want: GroupTarget) -> u32 {
    let seated = |m: &&&GroupWorker| matches!(m.state, WorkerState::Ready) || m.state.is_activated();
    if want.surge > 0 { 0 } else { sorted.canaries.iter().filter(seated).count() as u32 }
}

fn starts(sorted: &SortedWorkers<'_>, want: GroupTarget) -> u32 {
    let (successors, current) = (sorted.successors.len() as u32, sorted.current.len() as u32 + sorted.settled.count);
    let old = (sorted.stale.len() + sorted.nearly_exhausted.len()) as u32;
    let total = successors + current + old;
    let there = if want.surge == 0 { total + sorted.draining } else { total };
    // With no surge a successor is there all the same: ready, but not at work.
    let above = want.surge.max(1).saturating_sub(there.saturating_sub(want.count));
    let successors = above.min(want.count.saturating_sub(successors + current)).min(old);
    let missing = want.count.saturating_sub(total);
    let wished = if missing > 0 { missing } else { successors };
    wished.min(want.room)
}

/// A ready worker is activated if there is a slot for it: a free slot of the plan, or one that an old worker is about
/// to leave, but not one that is reserved until another worker's last job is over. Canaries come first; they need no
/// slot if a surge worker is allowed.
fn activations(sorted: &SortedWorkers<'_>, want: GroupTarget) -> Vec<WorkerId> {
    let activated = |workers: &[&GroupWorker]| workers.iter().filter(|m| m.state.is_activated()).count() as u32;
    let stale = sorted.stale.len() as u32;
    let at_work = (sorted.current.len() + sorted.nearly_exhausted.len()) as u32 + sorted.settled.count + stale;
    let beside = activated(&sorted.unneeded) + activated(&sorted.canaries) + sorted.kept + sorted.draining;
    let canaries = ready(&sorted.canaries).count();
    let free = match want.surge {
        0 => want.count.saturating_sub(at_work + beside) as usize,
        surge => canaries + (want.count + surge.min(stale)).saturating_sub(at_work) as usize,
    };
    ready(&sorted.canaries).chain(ready(&sorted.successors)).take(free).collect()
}

fn ready<'a>(workers: &'a [&GroupWorker]) -> impl Iterator<Item = WorkerId> + 'a {
    workers.iter().filter(|m| matches!(m.state, WorkerState::Ready)).map(|m| m.id)
}

fn drains(sorted: &SortedWorkers<'_>, want: GroupTarget, slots: u32) -> Vec<(WorkerId, ExitReason)> {
    let SortedWorkers {
        successors,
        current,
        nearly_exhausted,
        stale,
        exhausted,
        unneeded,
        canaries,
        draining,
        settled,
        kept: _,
    } = sorted;
    let serving = |workers: &[&GroupWorker]| workers.iter().filter(|m| m.state.is_serving()).count() as u32;
    let still = serving(current) + settled.count + serving(nearly_exhausted) + stale.len() as u32;
    let mut drain: Vec<(WorkerId, ExitReason)> = unneeded.iter().map(|m| (m.id, ExitReason::Surplus)).collect();
    let reason = if want.count == 0 { ExitReason::Surplus } else { ExitReason::Replaced };

    // Old ones drain as new ones serve; with no surge one drains first, once its successor is ready and all others
    // serve.
    let ahead = still.saturating_sub(want.count);
    let all_serve = *draining == 0 && still + serving(canaries) >= want.count + slots;
    let first = u32::from(want.surge == 0 && ready(successors).next().is_some() && all_serve);
    let go = ahead.max(first).min(stale.len() as u32) as usize;
    drain.extend(stale.iter().take(go).map(|m| (m.id, reason)));

    // A worker without jobs left takes none: it stays only so that its function is not without a worker meanwhile.
    let short = want.count.saturating_sub(still) as usize;
    drain.extend(exhausted.iter().take(exhausted.len().saturating_sub(short)).map(|m| (m.id, reason)));

    // Fewer are wanted: those that are not at work drain first, then the youngest.
    let waiting = successors.len().min(nearly_exhausted.len());
    let rest = successors.iter().chain(current).chain(nearly_exhausted);
    let mut rest: Vec<(bool, WorkerId)> = rest.map(|m| (m.state.is_serving(), m.id)).collect();
    let surplus = (rest.len() + settled.count as usize).saturating_sub(want.count as usize + waiting);
    if surplus > 0 {
        rest.extend((settled.ids)().into_iter().map(|id| (true, id)));
        rest.sort_by_key(|(is_serving, id)| (*is_serving, std::cmp::Reverse(*id)));
    }
    let reason = if slots > 0 { ExitReason::Replaced } else { ExitReason::Surplus };
    drain.extend(rest.iter().take(surplus).map(|(_, id)| (*id, reason)));
    drain
}

/// A state without its times, for test tables.
#[cfg(test)]
pub(super) fn at(message: &str) -> WorkerState {
    let when = std::time::Duration::from_secs(1);
    match message {
        "starting" => WorkerState::Starting { deadline: when },
        "connecting" => WorkerState::Loaded { since: when },
        "ready" => WorkerState::Ready,
        "going" => WorkerState::Activating,
        "leaving" => WorkerState::Draining { reason: ExitReason::Replaced, deadline: None },
        _ => WorkerState::Serving { since: when },
    }
}

#[cfg(test)]
mod tests;
