//! Compares the workers of each group with the plan, and starts, admits and dismisses what differs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::slow_start::stand_ins_make_room;
use super::{Core, GroupKey, ManagerPhase, WorkerRecord};
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::reconcile::{GroupTarget, GroupWorker, JobAllowance, WorkerId, decide};
use crate::supervisor::worker_state::Trigger;

impl Core {
    /// Starts, admits and dismisses workers until they match the plan.
    pub(super) fn reconcile(&mut self, now: Duration) {
        if self.phase != ManagerPhase::Running {
            return;
        }
        let planned = self.plan.groups.iter().map(group_key);
        let keys: BTreeSet<GroupKey> = planned.chain(self.workers.values().map(|worker| worker.key.clone())).collect();
        for key in keys {
            self.reconcile_group(&key, now);
        }
    }

    fn reconcile_group(&mut self, key: &GroupKey, now: Duration) {
        let group = self.plan.groups.iter().find(|group| group_key(group) == *key);
        let count = group.map_or(0, |group| group.count);
        let all: Vec<FunctionName> = group.map_or_else(Vec::new, |group| group.functions.clone());
        let mut wanted: Vec<FunctionName> = all.iter().filter(|name| self.may_start(name, now)).cloned().collect();
        let slow = self.slow_functions(key, &wanted);
        wanted.retain(|name| !slow.contains(name));
        // A worker in a slow start counts only once the start is over.
        let counts = |worker: &WorkerRecord| worker.canary.is_some() || !self.is_slow(worker) || slow.is_empty();
        let of_group = self.workers.iter().filter(|(_, worker)| worker.key == *key && counts(worker));
        let of_group: Vec<(WorkerId, &WorkerRecord)> = of_group.map(|(id, worker)| (*id, worker)).collect();
        let make_room = stand_ins_make_room(&of_group, &slow, count);
        let sound: Vec<FunctionName> = wanted.iter().filter(|name| !self.is_on_probation(name, now)).cloned().collect();
        let is_fresh = |least: &[FunctionName], worker: &WorkerRecord| {
            self.is_fresh(worker, least, &all, now) && !(make_room && worker.stands_in(&slow))
        };
        let sparse = fill_slots(&of_group, count, |worker| !is_fresh(&wanted, worker) && is_fresh(&sound, worker));
        let of_group: Vec<(WorkerId, &WorkerRecord, bool)> = of_group
            .into_iter()
            .map(|(id, worker)| (id, worker, is_fresh(&wanted, worker) || sparse.contains(&id)))
            .collect();
        let old = of_group.iter().filter(|(_, _, fresh)| !fresh).map(|(id, worker, _)| (*id, *worker));
        let kept = self.kept(key, &wanted, old.collect());
        let workers: Vec<GroupWorker> = of_group
            .into_iter()
            .map(|(id, worker, fresh)| {
                let kept = kept.contains(&id);
                GroupWorker {
                    id,
                    state: worker.state,
                    fresh,
                    runs: worker.retirement.runs,
                    canary: worker.canary.is_some(),
                    kept,
                }
            })
            .collect();
        let live = workers.iter().filter(|worker| worker.is_of_plan()).count();
        let free = count.saturating_sub(u32::try_from(live).unwrap_or(u32::MAX));
        let mut room = if wanted.is_empty() { 0 } else { self.room(key, &wanted, now) };
        if !slow.is_empty() && !workers.iter().any(GroupWorker::may_go) {
            // No worker can be replaced by one that lacks the slow functions, so only free slots are filled.
            room = room.min(free);
        }
        if room == 0 && !sound.is_empty() && sound.len() < wanted.len() {
            // The others of the group do not wait for what a function on probation comes to.
            room = self.room(key, &sound, now).min(free);
            wanted = sound;
        }
        let surges = all.iter().map(|name| self.config.rollout_surge(name).of(count));
        // A canary may belong to a group that the plan does not have.
        let surge = surges.min().unwrap_or(1);
        let decision = decide(&workers, GroupTarget { count, surge, room });
        for (id, reason) in decision.dismiss {
            self.trigger(id, Trigger::Dismiss(reason, None), now);
        }
        for id in decision.admit.into_iter().filter(|id| self.may_admit(*id)).collect::<Vec<_>>() {
            self.trigger(id, Trigger::Admit, now);
        }
        (0..decision.start).for_each(|_| self.start(key, &wanted, None, now));
    }

    /// Whether the worker is what would be started now. More functions than wanted are no fault: a function that backs
    /// off, or is isolated, may go on being served where it works.
    fn is_fresh(&self, worker: &WorkerRecord, wanted: &[FunctionName], all: &[FunctionName], now: Duration) -> bool {
        let current = |version: &FunctionVersion| self.catalog.is_serving(&version.function, version.hash);
        let has = |wanted: &FunctionName| {
            worker.functions.iter().any(|version| version.function == *wanted && current(version))
        };
        let bears = worker.key == GroupKey::All && worker.state.is_loaded();
        let isolated = |version: &FunctionVersion| bears && self.is_isolated(version);
        let known =
            |version: &FunctionVersion| current(version) && (all.contains(&version.function) || isolated(version));
        now < worker.retirement.at && wanted.iter().all(has) && worker.functions.iter().all(known)
    }
}

/// Workers that were started without a function on probation, and do not serve yet: those that fill slots which nobody
/// else has.
fn fill_slots(
    group: &[(WorkerId, &WorkerRecord)],
    count: u32,
    is_sparse: impl Fn(&WorkerRecord) -> bool,
) -> BTreeSet<WorkerId> {
    let of_plan = |worker: &WorkerRecord| {
        worker.state.is_live() && worker.canary.is_none() && worker.retirement.runs != JobAllowance::None
    };
    let of_plan = group.iter().filter(|(_, worker)| of_plan(worker));
    let (sparse, others): (Vec<_>, Vec<_>) =
        of_plan.partition(|(_, worker)| !worker.state.is_serving() && is_sparse(worker));
    sparse.into_iter().take((count as usize).saturating_sub(others.len())).map(|(id, _)| id).collect()
}

pub(super) fn group_key(group: &crate::plan::Group) -> GroupKey {
    match group.functions.as_slice() {
        [only] if group.dedicated => GroupKey::Only(only.clone()),
        _ => GroupKey::All,
    }
}
