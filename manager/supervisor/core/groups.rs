//! Compares the workers of each group with the plan, and starts, admits and dismisses what differs.

use std::collections::BTreeSet;
use std::time::Duration;

use super::slow_start::stand_ins_make_room;
use super::{Core, GroupKey, ManagerPhase, WorkerRecord};
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::reconcile::{GroupTarget, GroupWorker, JobAllowance, WorkerId, decide};
use crate::supervisor::worker_state::Trigger;

/// The functions of a group.
struct GroupFunctions {
    planned: Vec<FunctionName>,
    /// Those that a worker starts with now: they do not back off, and are not slow.
    wanted: Vec<FunctionName>,
    /// Those of them that are not on probation after a failure.
    sound: Vec<FunctionName>,
    /// Those at which a start takes long: the others are served without them meanwhile.
    slow: Vec<FunctionName>,
}

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
        let planned: Vec<FunctionName> = group.map_or_else(Vec::new, |group| group.functions.clone());
        let functions = self.group_functions(key, planned, now);
        let workers = self.group_workers(key, &functions, count, now);
        let (room, start_with) = self.room_for(key, &functions, &workers, count, now);
        let surges = functions.planned.iter().map(|name| self.config.rollout_surge(name).of(count));
        // A canary may belong to a group that the plan does not have.
        let surge = surges.min().unwrap_or(1);
        let decision = decide(&workers, GroupTarget { count, surge, room });
        for (id, reason) in decision.dismiss {
            self.trigger(id, Trigger::Dismiss(reason, None), now);
        }
        for id in decision.admit.into_iter().filter(|id| self.may_admit(*id)).collect::<Vec<_>>() {
            self.trigger(id, Trigger::Admit, now);
        }
        (0..decision.start).for_each(|_| self.start(key, &start_with, None, now));
    }

    fn group_functions(&self, key: &GroupKey, planned: Vec<FunctionName>, now: Duration) -> GroupFunctions {
        let mut wanted: Vec<FunctionName> = planned.iter().filter(|name| self.may_start(name, now)).cloned().collect();
        let slow = self.slow_functions(key, &wanted);
        wanted.retain(|name| !slow.contains(name));
        let sound = wanted.iter().filter(|name| !self.is_on_probation(name, now)).cloned().collect();
        GroupFunctions { planned, wanted, sound, slow }
    }

    /// The workers of the group as [`decide`] sees them.
    fn group_workers(&self, key: &GroupKey, functions: &GroupFunctions, count: u32, now: Duration) -> Vec<GroupWorker> {
        let GroupFunctions { planned, wanted, sound, slow } = functions;
        // A worker in a slow start counts only once the start is over.
        let counts = |worker: &WorkerRecord| worker.canary.is_some() || !self.is_slow(worker) || slow.is_empty();
        let group = self.workers.iter().filter(|(_, worker)| worker.key == *key && counts(worker));
        let group: Vec<(WorkerId, &WorkerRecord)> = group.map(|(id, worker)| (*id, worker)).collect();
        let make_room = stand_ins_make_room(&group, slow, count);
        let is_fresh = |least: &[FunctionName], worker: &WorkerRecord| {
            self.is_fresh(worker, least, planned, now) && !(make_room && worker.stands_in(slow))
        };
        let reduced = reduced_workers(&group, count, |worker| !is_fresh(wanted, worker) && is_fresh(sound, worker));
        let fresh: BTreeSet<WorkerId> = group.iter().filter(|(_, w)| is_fresh(wanted, w)).map(|(id, _)| *id).collect();
        let fresh: BTreeSet<WorkerId> = fresh.union(&reduced).copied().collect();
        let old = group.iter().filter(|(id, _)| !fresh.contains(id)).copied();
        let kept = self.kept(key, wanted, old.collect());
        let worker = |(id, worker): &(WorkerId, &WorkerRecord)| GroupWorker {
            id: *id,
            state: worker.state,
            fresh: fresh.contains(id),
            runs: worker.retirement.runs,
            canary: worker.canary.is_some(),
            kept: kept.contains(id),
        };
        group.iter().map(worker).collect()
    }

    /// How many workers may start now, and with which functions.
    fn room_for(
        &self,
        key: &GroupKey,
        functions: &GroupFunctions,
        workers: &[GroupWorker],
        count: u32,
        now: Duration,
    ) -> (u32, Vec<FunctionName>) {
        let GroupFunctions { wanted, sound, slow, .. } = functions;
        let live = workers.iter().filter(|worker| worker.has_slot()).count();
        let free = count.saturating_sub(u32::try_from(live).unwrap_or(u32::MAX));
        let mut room = if wanted.is_empty() { 0 } else { self.room(key, wanted, now) };
        if !slow.is_empty() && !workers.iter().any(GroupWorker::is_replaceable) {
            // No worker can be replaced by one that lacks the slow functions, so only free slots are filled.
            room = room.min(free);
        }
        if room == 0 && !sound.is_empty() && sound.len() < wanted.len() {
            // The other functions do not wait for the one on probation: workers without it fill the free slots.
            return (self.room(key, sound, now).min(free), sound.clone());
        }
        (room, wanted.clone())
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

/// Workers that started without the functions on probation, as far as they fill slots that no other worker has. They
/// count as fresh until they serve; then workers with all functions replace them.
fn reduced_workers(
    group: &[(WorkerId, &WorkerRecord)],
    slots: u32,
    is_reduced: impl Fn(&WorkerRecord) -> bool,
) -> BTreeSet<WorkerId> {
    let has_slot = |worker: &WorkerRecord| {
        worker.state.is_live() && worker.canary.is_none() && worker.retirement.runs != JobAllowance::None
    };
    let in_slots = group.iter().filter(|(_, worker)| has_slot(worker));
    let (reduced, others): (Vec<_>, Vec<_>) =
        in_slots.partition(|(_, worker)| !worker.state.is_serving() && is_reduced(worker));
    let free = (slots as usize).saturating_sub(others.len());
    reduced.into_iter().take(free).map(|(id, _)| id).collect()
}

pub(super) fn group_key(group: &crate::plan::Group) -> GroupKey {
    match group.functions.as_slice() {
        [only] if group.dedicated => GroupKey::Only(only.clone()),
        _ => GroupKey::All,
    }
}
