//! Compares the workers of each group with the plan, and starts, activates and drains workers accordingly.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use super::slow_start::stand_ins_make_room;
use super::workers::{DueTime, FunctionSet, GroupIndex};
use super::{Core, GroupKey, ManagerPhase, WorkerRecord};
use crate::plan::Group;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::reconcile::{
    GroupDecision, GroupTarget, GroupWorker, JobAllowance, SettledWorkers, WorkerId, decide,
};
use crate::supervisor::worker_state::Trigger;

/// What decisions about groups depend on besides their workers, as of the last decisions.
#[derive(Default)]
pub(super) struct Groups {
    /// Something has changed that may concern every group.
    concerns_all: bool,
    /// When groups were last compared with the plan.
    reconciled_at: Duration,
    /// Groups whose decisions depend on more than their own workers: on other groups' workers, on the time since a
    /// failure, or on the progress of a slow start.
    entangled: BTreeSet<GroupKey>,
    /// What is known of the others.
    known: BTreeMap<GroupKey, GroupCache>,
}

impl Groups {
    /// Something has changed that may concern every group.
    pub(super) fn look_at_all(&mut self) {
        self.concerns_all = true;
    }
}

/// Cached per group, until something changes that concerns every group.
struct GroupCache {
    functions: Rc<GroupFunctions>,
    fits: BTreeMap<(FunctionSet, bool), Freshness>,
}

/// The functions of a group.
struct GroupFunctions {
    planned: Vec<FunctionName>,
    /// Those that a new worker starts with: they are not backing off, and not slow to start.
    wanted: Vec<FunctionName>,
    /// Those of them that are not on probation after a failure.
    sound: Vec<FunctionName>,
    /// Those that are slow to start: the others are served without them in the meantime.
    slow: Vec<FunctionName>,
}

impl GroupFunctions {
    /// Whether a worker starts with all that is planned, and nothing has failed.
    fn all_are_sound(&self) -> bool {
        self.sound.len() == self.planned.len() && self.slow.is_empty()
    }
}

/// How what workers serve compares with what new ones would serve.
#[derive(Debug, Clone, Copy)]
struct Freshness {
    wanted: bool,
    sound: bool,
    /// Whether they serve nothing that new ones would not.
    is_covered: bool,
}

/// The workers of a group as [`decide`] sees them.
#[derive(Default)]
struct GroupView {
    /// Those that may need a decision, by id.
    workers: Vec<GroupWorker>,
    /// How many others there are: settled and fresh.
    settled: usize,
    /// Whether they serve something that new ones would not, so that whether they stay depends on who else serves it.
    has_missed: bool,
}

impl Core {
    /// Starts, activates and drains workers until they match the plan. Considers only groups that have changed or
    /// depend on others.
    pub(super) fn reconcile(&mut self, now: Duration) {
        let changed = self.workers.take_changed_groups();
        if self.phase != ManagerPhase::Running {
            return;
        }
        let is_due = self.groups_due(self.groups.reconciled_at).is_some_and(|due| now >= due);
        self.groups.reconciled_at = now;
        let keys = if std::mem::take(&mut self.groups.concerns_all) || is_due {
            self.groups.known.clear();
            self.all_groups()
        } else {
            changed.union(&self.groups.entangled).cloned().collect()
        };
        keys.iter().for_each(|key| self.reconcile_group(key, now));
        // Some groups may not have got all their starts.
        self.groups.concerns_all |= self.more_starts(now).is_some();
    }

    /// Every group that is planned or has workers.
    fn all_groups(&self) -> BTreeSet<GroupKey> {
        self.plan.groups.iter().map(group_key).chain(self.workers.group_keys().cloned()).collect()
    }

    /// The plan of a group, if it has one.
    pub(super) fn planned_group(&self, key: &GroupKey) -> Option<&Group> {
        match key {
            GroupKey::All => self.plan.all_functions(),
            GroupKey::Only(function) => self.plan.dedicated_to(function),
        }
    }

    /// The first time after `at` at which a decision changes through the passing of time alone.
    fn groups_due(&self, at: Duration) -> Option<Duration> {
        let retires = self.workers.next(DueTime::Retires, Some(at));
        retires.into_iter().chain(self.group_waits(at)).chain([self.spawns.after]).filter(|due| *due > at).min()
    }

    fn reconcile_group(&mut self, key: &GroupKey, now: Duration) {
        let is_entangled = self.groups.entangled.contains(key);
        let known = self.groups.known.remove(key).filter(|_| !is_entangled);
        let mut known = known.unwrap_or_else(|| GroupCache {
            functions: Rc::new(self.group_functions(key, now)),
            fits: BTreeMap::new(),
        });
        let (decision, has_missed, start_with) = self.decide_about(key, &mut known, now);
        if has_missed || self.is_entangled(key, &known.functions, now) {
            self.groups.entangled.insert(key.clone());
        } else {
            self.groups.entangled.remove(key);
            self.groups.known.insert(key.clone(), known);
        }
        for (id, reason) in decision.drain {
            self.trigger(id, Trigger::Drain(reason, None), now);
        }
        for id in decision.activate.into_iter().filter(|id| self.may_activate(*id)).collect::<Vec<_>>() {
            self.trigger(id, Trigger::Activate, now);
        }
        (0..decision.start).for_each(|_| self.start(key, &start_with, None, now));
    }

    /// What to do in a group, whether its workers serve something that new ones would not, and what new ones start
    /// with.
    fn decide_about(
        &self,
        key: &GroupKey,
        known: &mut GroupCache,
        now: Duration,
    ) -> (GroupDecision, bool, Vec<FunctionName>) {
        let GroupCache { functions, fits } = known;
        let count = self.planned_group(key).map_or(0, |group| group.count);
        let view = self.group_view(key, functions, fits, count, now);
        let (room, start_with) = self.room_for(key, functions, &view, count, now);
        let surges = functions.planned.iter().map(|name| self.config.rollout_surge(name).of(count));
        // A canary may belong to a group that the plan does not have.
        let surge = surges.min().unwrap_or(1);
        let ids = || {
            let looked_at: BTreeSet<WorkerId> = view.workers.iter().map(|worker| worker.id).collect();
            let all = self.workers.group(key).into_iter().flat_map(GroupIndex::settled_ids);
            all.filter(|id| !looked_at.contains(id)).collect()
        };
        let settled = SettledWorkers { count: u32::try_from(view.settled).unwrap_or(u32::MAX), ids: &ids };
        let decision = decide(&view.workers, &settled, GroupTarget { count, surge, room });
        (decision, view.has_missed, start_with)
    }

    /// Whether decisions about the group depend on more than its own workers.
    fn is_entangled(&self, key: &GroupKey, functions: &GroupFunctions, now: Duration) -> bool {
        let is_isolated = |name: &FunctionName| self.isolated.contains_key(name);
        let isolates = match key {
            GroupKey::All => !self.isolated.is_empty(),
            GroupKey::Only(function) => is_isolated(function),
        };
        isolates
            || !functions.all_are_sound()
            || self.starting_slowly(key).next().is_some()
            || self.has_failed(key, now)
            || self.is_group_backing_off(key, now)
            || functions.planned.iter().any(|name| self.is_mutex(name))
    }

    fn group_functions(&self, key: &GroupKey, now: Duration) -> GroupFunctions {
        let planned = self.planned_group(key).map_or_else(Vec::new, |group| group.functions.clone());
        let mut wanted: Vec<FunctionName> = planned.iter().filter(|name| self.may_start(name, now)).cloned().collect();
        let slow = self.slow_functions(key, &wanted);
        wanted.retain(|name| !slow.contains(name));
        let sound = wanted.iter().filter(|name| !self.is_on_probation(name, now)).cloned().collect();
        GroupFunctions { planned, wanted, sound, slow }
    }

    /// The workers of the group as [`decide`] sees them.
    fn group_view(
        &self,
        key: &GroupKey,
        functions: &GroupFunctions,
        fits: &mut BTreeMap<(FunctionSet, bool), Freshness>,
        count: u32,
        now: Duration,
    ) -> GroupView {
        let Some(group) = self.workers.group(key) else { return GroupView::default() };
        let GroupFunctions { wanted, slow, .. } = functions;
        // A worker in a slow start counts only once the start is over.
        let counts = |worker: &WorkerRecord| worker.canary.is_some() || slow.is_empty() || !self.is_slow(worker);
        let unsettled: Vec<(WorkerId, &WorkerRecord)> =
            self.workers.unsettled(key).filter(|(_, worker)| counts(worker)).collect();
        let all_settled: usize = group.alike.values().map(|alike| alike.settled.len()).sum();
        let make_room = stand_ins_make_room(&unsettled, all_settled, slow, count);
        let lacks = |serves: &FunctionSet| make_room && !slow.iter().all(|name| serves.version_of(name).is_some());
        let mut fit = |serves: &FunctionSet, is_loaded: bool| {
            let known = fits.entry((serves.clone(), is_loaded));
            *known.or_insert_with(|| self.fit(key, serves, is_loaded, functions))
        };

        let mut stale: Vec<WorkerId> = Vec::new();
        for (serves, alike) in &group.alike {
            let fresh_from = match fit(serves, true).wanted && !lacks(serves) {
                true => (now, WorkerId(u64::MAX)),
                false => (Duration::MAX, WorkerId(u64::MAX)),
            };
            stale.extend(alike.settled.range(..=fresh_from).map(|(_, id)| *id));
        }
        let settled = all_settled.saturating_sub(stale.len());

        let fits: Vec<Freshness> = unsettled
            .iter()
            .map(|(_, worker)| {
                let fit = fit(&worker.alike, worker.state.is_loaded());
                let is_young = now < worker.retirement.at;
                let lacks = worker.state.is_serving() && lacks(&worker.alike);
                Freshness { wanted: fit.wanted && is_young && !lacks, sound: fit.sound && is_young && !lacks, ..fit }
            })
            .collect();
        let judged: Vec<(WorkerId, &WorkerRecord, Freshness)> =
            unsettled.iter().zip(&fits).map(|((id, worker), fit)| (*id, *worker, *fit)).collect();
        let reduced = reduced_workers(&judged, count, all_settled);
        let is_fresh = |id: &WorkerId, fit: &Freshness| fit.wanted || reduced.contains(id);
        let old = judged.iter().filter(|(id, _, fit)| !is_fresh(id, fit)).map(|(id, worker, _)| (*id, *worker));
        let settled_old = stale.iter().filter_map(|id| Some((*id, self.workers.get(id)?)));
        let mut counted = group.alike.iter().filter(|(_, alike)| alike.totals.counted > 0);
        let missed = match counted.all(|(serves, _)| fit(serves, true).is_covered) {
            true => BTreeSet::new(),
            false => self.missed(key, wanted),
        };
        let has_missed = !missed.is_empty();
        let kept = self.kept(key, missed, old.chain(settled_old));
        let judged = judged.iter().map(|(id, worker, fit)| GroupWorker {
            id: *id,
            state: worker.state,
            fresh: is_fresh(id, fit),
            runs: worker.retirement.runs,
            canary: worker.canary.is_some(),
            kept: kept.contains(id),
        });
        let stale = stale.iter().map(|id| GroupWorker::settled_and_stale(*id, kept.contains(id)));
        let mut workers: Vec<GroupWorker> = judged.chain(stale).collect();
        workers.sort_by_key(|worker| worker.id);
        GroupView { workers, settled, has_missed }
    }

    /// How many workers may start now, and with which functions.
    fn room_for(
        &self,
        key: &GroupKey,
        functions: &GroupFunctions,
        view: &GroupView,
        count: u32,
        now: Duration,
    ) -> (u32, Vec<FunctionName>) {
        let GroupFunctions { wanted, sound, slow, .. } = functions;
        let live = view.workers.iter().filter(|worker| worker.has_slot()).count().saturating_add(view.settled);
        let free = count.saturating_sub(u32::try_from(live).unwrap_or(u32::MAX));
        let mut room = if wanted.is_empty() { 0 } else { self.room(key, wanted, now) };
        if !slow.is_empty() && !view.workers.iter().any(GroupWorker::is_replaceable) {
            // A worker without the slow functions cannot replace one with them, so only free slots are filled.
            room = room.min(free);
        }
        if room == 0 && !sound.is_empty() && sound.len() < wanted.len() {
            // The other functions do not wait for the one on probation: workers without it fill free slots.
            return (self.room(key, sound, now).min(free), sound.clone());
        }
        (room, wanted.clone())
    }

    /// Whether workers that serve this match what would be started now. Serving more than that is fine: a function that
    /// backs off or is isolated may stay in service where it works.
    fn fit(&self, key: &GroupKey, serves: &FunctionSet, is_loaded: bool, functions: &GroupFunctions) -> Freshness {
        let GroupFunctions { planned, wanted, sound, .. } = functions;
        let current = |version: &FunctionVersion| self.catalog.is_serving(&version.function, version.hash);
        let bears = *key == GroupKey::All && is_loaded;
        let isolated = |version: &FunctionVersion| bears && self.is_isolated(version);
        // A paused function may stay loaded: the worker does not offer it.
        let is_paused = |version: &FunctionVersion| self.pause_of(&version.function).is_some();
        let known = |version: &FunctionVersion| {
            current(version) && (planned.contains(&version.function) || isolated(version) || is_paused(version))
        };
        let has = |name: &FunctionName| serves.version_of(name).is_some_and(|hash| self.catalog.is_serving(name, hash));
        let all_known = serves.iter().all(known);
        Freshness {
            wanted: all_known && wanted.iter().all(has),
            sound: all_known && sound.iter().all(has),
            is_covered: serves.iter().all(|version| wanted.contains(&version.function)),
        }
    }

    /// Groups that need a decision but would not be considered after the next input.
    #[cfg(test)]
    pub(super) fn overlooked_groups(&self, now: Duration) -> Vec<(GroupKey, GroupDecision)> {
        if self.phase != ManagerPhase::Running || self.groups.concerns_all {
            return Vec::new();
        }
        let changed = self.workers.changed_groups();
        let others = self.all_groups().into_iter();
        let others = others.filter(|key| !changed.contains(key) && !self.groups.entangled.contains(key));
        let decided = others.map(|key| {
            let functions = Rc::new(self.group_functions(&key, now));
            let (mut decision, ..) = self.decide_about(&key, &mut GroupCache { functions, fits: BTreeMap::new() }, now);
            decision.activate.retain(|id| self.may_activate(*id));
            (key, decision)
        });
        decided.filter(|(_, decision)| *decision != GroupDecision::default()).collect()
    }
}

/// Workers that started without the functions on probation, as far as they fill slots that no other worker has. They
/// count as fresh until they serve; then workers with all functions replace them. `settled` workers have slots, too.
fn reduced_workers(
    unsettled: &[(WorkerId, &WorkerRecord, Freshness)],
    slots: u32,
    settled: usize,
) -> BTreeSet<WorkerId> {
    let has_slot = |worker: &WorkerRecord| {
        worker.state.is_live() && worker.canary.is_none() && worker.retirement.runs != JobAllowance::None
    };
    let in_slots = unsettled.iter().filter(|(_, worker, _)| has_slot(worker));
    let (reduced, others): (Vec<&(WorkerId, _, _)>, Vec<_>) =
        in_slots.partition(|(_, worker, fit)| !worker.state.is_serving() && !fit.wanted && fit.sound);
    let free = (slots as usize).saturating_sub(others.len().saturating_add(settled));
    reduced.into_iter().take(free).map(|(id, ..)| *id).collect()
}

pub(super) fn group_key(group: &Group) -> GroupKey {
    match group.functions.as_slice() {
        [only] if group.dedicated => GroupKey::Only(only.clone()),
        _ => GroupKey::All,
    }
}
