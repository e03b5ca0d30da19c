//! Functions that do not start beside others in one process: a library that needs more static TLS than is left, one
//! that needs another version of a library that is loaded already, or a `new()` that needs what another one holds.
//!
//! A function that fails to start in an all-functions worker is started alone, while the others go on without it. Once
//! it starts alone it is tried beside the others again. If it fails there, it cannot share a process with them, and
//! gets workers of its own until it or one of the others changes. So a failing function is never tried at the expense
//! of others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::workers::FunctionSet;
use super::{Core, GroupKey, WorkerRecord};
use crate::plan::{Group, Placement};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::Event;
use crate::supervisor::reconcile::{JobAllowance, WorkerId};
use crate::supervisor::worker_state::WorkerState;

/// A function that failed to start in an all-functions worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Isolated {
    /// The version that failed.
    version: ShortHash,
    reason: String,
    /// What was loaded before it in that worker.
    beside: Vec<FunctionVersion>,
    state: Isolation,
    /// Whether `function_isolated` was reported.
    reported: bool,
}

/// How much is known of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// It is being started alone.
    Alone,
    /// It starts alone: now it is tried beside the others again.
    Rejoining,
    /// It starts alone and fails beside the others.
    Confirmed,
}

impl Core {
    /// Where functions are served that the all-functions workers cannot have.
    pub(super) fn placements(&self) -> BTreeMap<FunctionName, Placement> {
        let current = self.isolated.iter().filter(|(name, isolated)| self.catalog.is_serving(name, isolated.version));
        let placement = |state| match state {
            Isolation::Alone | Isolation::Confirmed => Placement::Isolated,
            Isolation::Rejoining => Placement::Rejoining,
        };
        current.map(|(name, isolated)| (name.clone(), placement(isolated.state))).collect()
    }

    /// A function failed to start in this worker, which is taken out. True where that was beside others; whether it
    /// starts alone is tried next.
    pub(super) fn is_isolated_by(
        &mut self,
        worker: &WorkerRecord,
        failed: &FunctionVersion,
        reason: &str,
        now: Duration,
    ) -> bool {
        let FunctionVersion { function: name, hash } = failed;
        let beside: Vec<FunctionVersion> = worker.loaded_before(name).cloned().collect();
        let is_tried = worker.canary.iter().flatten().any(|tried| tried == failed);
        if is_tried {
            // A new version that fails alone is bad. Where two must never be at work, it cannot be tried beside the old
            // one.
            if beside.is_empty() || self.is_mutex(name) {
                return false;
            }
        } else if !self.may_be_isolated(worker, failed) {
            return false;
        }
        self.established.remove(failed);
        let before = self.isolated.get(name).filter(|isolated| isolated.version == *hash);
        let state = match before.map(|isolated| isolated.state) {
            _ if beside.is_empty() => Isolation::Alone,
            Some(Isolation::Rejoining | Isolation::Confirmed) => Isolation::Confirmed,
            _ if self.starts_alone(failed) => Isolation::Confirmed,
            Some(Isolation::Alone) | None => Isolation::Alone,
        };
        let (reported, is_alone) = (before.is_some_and(|isolated| isolated.reported), beside.is_empty());
        let isolated = Isolated { version: *hash, reason: reason.to_owned(), beside, state, reported };
        self.isolated.insert(name.clone(), isolated);
        self.report_isolated(name);
        self.replan(now);
        !is_alone
    }

    /// Whether the function is to be kept away from the all-functions workers: it failed in one of them, or alone while
    /// they are to have it, too. Not where it is all they have.
    fn may_be_isolated(&self, worker: &WorkerRecord, version: &FunctionVersion) -> bool {
        match worker.key {
            GroupKey::All => worker.functions.len() > 1,
            GroupKey::Only(_) => {
                let all = self.plan.all_functions();
                let is_shared =
                    all.is_some_and(|all| all.functions.len() > 1 && all.functions.contains(&version.function));
                is_shared && !self.starts_alone(version)
            }
        }
    }

    fn report_isolated(&mut self, name: &FunctionName) {
        let Some(isolated) = self.isolated.get_mut(name).filter(|isolated| isolated.state == Isolation::Confirmed)
        else {
            return;
        };
        if !std::mem::replace(&mut isolated.reported, true) {
            let (function, reason) = (name.clone(), isolated.reason.clone());
            self.report(Event::FunctionIsolated { function, reason });
        }
    }

    /// Whether a worker of this version alone has loaded it, and is there.
    fn starts_alone(&self, version: &FunctionVersion) -> bool {
        self.alone(version).any(|worker| worker.state.is_loaded())
    }

    fn alone<'a>(&'a self, version: &'a FunctionVersion) -> impl Iterator<Item = &'a WorkerRecord> {
        self.workers.alone(version).filter(|worker| worker.state.is_live())
    }

    /// A worker has loaded all its functions: those of an all-functions worker work together.
    pub(super) fn has_loaded(&mut self, id: WorkerId, now: Duration) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.key == GroupKey::All) else { return };
        let functions = worker.functions.clone();
        self.established.extend(functions.iter().cloned());
        self.rejoined(|version| functions.contains(version), now);
    }

    /// Ends the isolation of what is tried beside the others again, where these versions do well there.
    fn rejoined(&mut self, does_well: impl Fn(&FunctionVersion) -> bool, now: Duration) {
        let has_rejoined = |(name, isolated): (&FunctionName, &Isolated)| {
            let version = FunctionVersion { function: name.clone(), hash: isolated.version };
            (isolated.state == Isolation::Rejoining && does_well(&version)).then(|| name.clone())
        };
        let rejoined: Vec<FunctionName> = self.isolated.iter().filter_map(has_rejoined).collect();
        for function in &rejoined {
            if self.isolated.remove(function).is_some_and(|isolated| isolated.reported) {
                self.report(Event::FunctionRejoined { function: function.clone() });
            }
        }
        if !rejoined.is_empty() {
            self.replan(now);
        }
    }

    /// Versions that every all-functions worker serves. No worker is left to try these beside the others, and none
    /// needs to be: they have been loaded beside them.
    fn served_by_all(&self) -> Vec<FunctionVersion> {
        let Some(group) = self.workers.group(&GroupKey::All) else { return Vec::new() };
        let planned = self.plan.all_functions().map_or(0, |group| group.count as usize);
        let counted = group.alike.iter().filter(|(_, alike)| alike.totals.counted > 0);
        let sets: Vec<&FunctionSet> = counted.map(|(functions, _)| functions).collect();
        let Some((first, others)) = sets.split_first().filter(|_| group.totals.counted >= planned) else {
            return Vec::new();
        };
        let have_all = |version: &&FunctionVersion| {
            others.iter().all(|functions| functions.version_of(&version.function) == Some(version.hash))
        };
        first.iter().filter(have_all).cloned().collect()
    }

    /// Functions whose workers of their own have come up, or gone, since.
    pub(super) fn advance_isolation(&mut self, now: Duration) {
        if self.isolated.is_empty() {
            return;
        }
        let others_settled = self.others_have_settled();
        let changed = |(name, isolated): (&FunctionName, &Isolated)| {
            let version = FunctionVersion { function: name.clone(), hash: isolated.version };
            let proven = self.is_proven_alone(&version, now);
            let state = match isolated.state {
                Isolation::Alone if proven && others_settled => Isolation::Rejoining,
                Isolation::Rejoining if !proven => Isolation::Alone,
                _ => return None,
            };
            self.catalog.is_serving(name, isolated.version).then(|| (name.clone(), state))
        };
        let changes: Vec<(FunctionName, Isolation)> = self.isolated.iter().filter_map(changed).collect();
        for (name, state) in &changes {
            if let Some(isolated) = self.isolated.get_mut(name) {
                isolated.state = *state;
            }
        }
        if !changes.is_empty() {
            self.replan(now);
        }
        if self.isolated.values().any(|isolated| isolated.state == Isolation::Rejoining) {
            let served = self.served_by_all();
            self.rejoined(|version| served.contains(version), now);
        }
    }

    /// Whether the all-functions workers have settled: what is tried beside them takes nothing from them then.
    fn others_have_settled(&self) -> bool {
        let unsettled = || self.workers.unsettled(&GroupKey::All).map(|(_, worker)| worker);
        let all = || unsettled().filter(|worker| worker.canary.is_none());
        let planned = self.plan.all_functions().map_or(0, |group| group.count as usize);
        let settled = self.workers.group(&GroupKey::All).map_or(0, |group| group.settled_ids().count());
        let enough = all().filter(|worker| worker.state.is_serving()).count().saturating_add(settled) >= planned;
        all().all(|worker| match worker.state {
            WorkerState::Starting { .. } | WorkerState::Activating => false,
            WorkerState::Ready => enough,
            WorkerState::Loaded { since } => self.read >= since.saturating_add(self.config.connect_timeout),
            WorkerState::Serving { .. } | WorkerState::Draining { .. } | WorkerState::Killed { .. } => true,
        })
    }

    /// Whether the group is that of a function that may turn out to need workers of its own.
    pub(super) fn is_being_isolated(&self, key: &GroupKey) -> bool {
        let GroupKey::Only(function) = key else { return false };
        self.isolated.get(function).is_some_and(|isolated| isolated.state != Isolation::Confirmed)
    }

    /// Whether it is loaded alone, and, where it had failed alone before, has worked for as long as it waited last.
    fn is_proven_alone(&self, version: &FunctionVersion, now: Duration) -> bool {
        let healthy_after = self.config.healthy_after;
        let failing = self.failures.functions.get(&version.function);
        let failing = failing.filter(|backoff| backoff.is_on_probation(now, healthy_after));
        self.alone(version).filter(|worker| worker.canary.is_none()).any(|worker| match (failing, worker.state) {
            (None, state) => state.is_loaded(),
            (Some(backoff), WorkerState::Serving { since }) => self.has_outlived(backoff.probation(), since),
            (Some(_), _) => false,
        })
    }

    /// The configuration or a library has changed: isolated functions may not need workers of their own any more.
    pub(super) fn reconsider_isolation(&mut self) {
        let Self { isolated, catalog, established, .. } = self;
        let is_known = |name: &str, hash| catalog.is_serving(name, hash) || catalog.is_next(name, hash);
        established.retain(|version| is_known(&version.function, version.hash));
        isolated.retain(|name, isolated| is_known(name, isolated.version));
        for isolated in isolated.values_mut().filter(|isolated| isolated.state == Isolation::Confirmed) {
            if !isolated.beside.iter().all(|one| catalog.is_serving(&one.function, one.hash)) {
                isolated.state = Isolation::Rejoining;
            }
        }
    }

    /// Earlier failures no longer count: functions that start alone are tried beside the others again.
    pub(super) fn rejoin_all(&mut self) {
        self.isolated.retain(|_, isolated| isolated.state != Isolation::Alone);
        self.isolated.values_mut().for_each(|isolated| isolated.state = Isolation::Rejoining);
    }

    /// As [`rejoin_all`](Self::rejoin_all), for one function.
    pub(super) fn rejoin(&mut self, function: &str) {
        if self.isolated.get(function).is_some_and(|isolated| isolated.state == Isolation::Alone) {
            self.isolated.remove(function);
        } else if let Some(isolated) = self.isolated.get_mut(function) {
            isolated.state = Isolation::Rejoining;
        }
    }

    /// Whether this version failed to start in an all-functions worker, and has a worker of its own or is to have one.
    pub(super) fn is_isolated(&self, version: &FunctionVersion) -> bool {
        self.isolated.get(&version.function).is_some_and(|isolated| isolated.version == version.hash)
    }

    /// How many workers of its own may start for a function of which that is being found out: one, and not while the
    /// others start, which must find what they need. While it is tried beside the others, those it has anyway.
    pub(super) fn isolation_room(&self, key: &GroupKey) -> usize {
        let GroupKey::Only(function) = key else { return usize::MAX };
        let Some(isolated) = self.isolated.get(function) else { return usize::MAX };
        let version = FunctionVersion { function: function.clone(), hash: isolated.version };
        let live = self.alone(&version).count();
        match isolated.state {
            Isolation::Confirmed => usize::MAX,
            Isolation::Alone => {
                let starting = self.workers.group(&GroupKey::All).map_or(0, |group| group.totals.starting);
                usize::from(live == 0 && starting == 0)
            }
            Isolation::Rejoining => {
                let planned = self.plan.groups.iter().filter(|group| group.functions.contains(function));
                let (own, all): (Vec<_>, Vec<_>) = planned.partition(|group| group.dedicated);
                let count = |groups: Vec<&Group>| groups.iter().map(|group| group.count as usize).sum::<usize>();
                count(own).saturating_sub(count(all)).max(1).saturating_sub(live)
            }
        }
    }

    /// The workers of a group that have to stay although they are old: they serve what no new one of their group could
    /// (it is `missed`), and nothing else serves enough of.
    pub(super) fn kept<'a>(
        &self,
        key: &GroupKey,
        missed: BTreeSet<FunctionName>,
        old: impl Iterator<Item = (WorkerId, &'a WorkerRecord)>,
    ) -> BTreeSet<WorkerId> {
        let mut kept = BTreeSet::new();
        if missed.is_empty() {
            return kept;
        }
        // How many more workers serve each of them than are planned: that many may go.
        let mut spare: BTreeMap<FunctionName, usize> = BTreeMap::new();
        for name in missed {
            let beyond = self.covering(&name, key).saturating_sub(self.plan.planned(&name) as usize);
            spare.insert(name, beyond);
        }
        let old: BTreeMap<WorkerId, &WorkerRecord> = old.filter(|(_, worker)| is_counted(worker)).collect();
        for (id, worker) in old {
            let needed: Vec<FunctionName> =
                worker.names().into_iter().filter(|name| spare.contains_key(name)).collect();
            if needed.iter().any(|name| spare.get(name) == Some(&0)) {
                kept.insert(id);
                continue;
            }
            for name in needed {
                spare.entry(name).and_modify(|beyond| *beyond -= 1);
            }
        }
        kept
    }

    /// What workers of a group serve that is planned, and that no new one would.
    pub(super) fn missed(&self, key: &GroupKey, wanted: &[FunctionName]) -> BTreeSet<FunctionName> {
        let alike = self.workers.group(key).into_iter().flat_map(|group| &group.alike);
        let served = alike.filter(|(_, alike)| alike.totals.counted > 0).flat_map(|(functions, _)| functions.iter());
        let missed = served.map(|version| &version.function).filter(|name| !wanted.contains(name));
        missed.filter(|name| self.plan.planned(name) > 0).cloned().collect()
    }

    /// Workers that serve a function. Where two must never do so at once, also those of other groups that are ready to.
    fn covering(&self, function: &str, key: &GroupKey) -> usize {
        let counted: usize = self.workers.serving_alike(function).map(|(_, alike)| alike.totals.counted).sum();
        if !self.is_mutex(function) {
            return counted;
        }
        let is_ready = |worker: &WorkerRecord| {
            worker.key != *key && matches!(worker.state, WorkerState::Ready) && worker.canary.is_none()
        };
        counted.saturating_add(self.workers.with_function(function).filter(|(_, worker)| is_ready(worker)).count())
    }

    /// Whether no worker more than planned may serve the function at any time; also where none is planned any more,
    /// since one that drains may still have a job.
    pub(super) fn is_mutex(&self, function: &str) -> bool {
        self.config.rollout_surge(function).of(1) == 0
    }

    /// Whether the worker may go to work beside those of other groups.
    pub(super) fn may_admit(&self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        worker.names().iter().filter(|name| self.is_mutex(name)).all(|name| {
            let is_at_work =
                |other: &WorkerRecord| other.key != worker.key && (other.state.is_admitted() || !other.state.is_live());
            let at_work = self.workers.with_function(name).filter(|(_, other)| is_at_work(other)).count();
            at_work < self.plan.planned(name) as usize
        })
    }

    /// A note about where a function is served.
    pub(super) fn isolation_note(&self, function: &str) -> Option<String> {
        let isolated =
            self.isolated.get(function).filter(|isolated| self.catalog.is_serving(function, isolated.version))?;
        let reason = &isolated.reason;
        Some(match isolated.state {
            Isolation::Alone => format!("it is tried in a worker of its own, since it failed beside others: {reason}"),
            Isolation::Rejoining => format!("it is tried beside the others again, where it failed before: {reason}"),
            Isolation::Confirmed => format!("it has workers of its own, since it fails beside the others: {reason}"),
        })
    }
}

/// Whether it takes jobs and may continue to.
fn is_counted(worker: &WorkerRecord) -> bool {
    worker.state.is_serving() && worker.canary.is_none() && worker.retirement.runs != JobAllowance::None
}

impl WorkerRecord {
    pub(super) fn serves(&self, function: &str) -> bool {
        self.functions.iter().any(|version| version.function == *function)
    }

    /// What was loaded before this function.
    fn loaded_before<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a FunctionVersion> {
        let command = self.load_order.iter().filter_map(|place| self.functions.get(*place));
        command.take_while(move |before| before.function != *name)
    }
}

/// In which order a worker loads its functions (places in `functions`): those first that are known to work together, in
/// the same order every time, so that a failure is always that of the new one; what is only tried is last.
pub(super) fn load_order(
    functions: &[FunctionVersion],
    established: &BTreeSet<FunctionVersion>,
    tried: &[FunctionVersion],
) -> Vec<usize> {
    let mut command: Vec<usize> = (0..functions.len()).collect();
    command.sort_by_key(|place| {
        let function = &functions[*place];
        (tried.contains(function), !established.contains(function), &function.function)
    });
    command
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_loaded_after_what_works() {
        let named = |text: &str| -> Vec<FunctionVersion> {
            text.split_whitespace().map(|name| (name.trim_end_matches('\''), name).into()).collect()
        };
        for (functions, established, tried, expected) in [
            ("c b a", "", "", "a b c"),
            ("c a b", "", "", "a b c"),
            ("c b a", "c", "", "c a b"),
            ("d c b a", "d c", "", "c d a b"),
            ("a' b c", "a b c", "", "b c a'"),
            ("a' b c", "a b", "a'", "b c a'"),
            ("a' b c", "a' b", "a'", "b c a'"),
        ] {
            let all = named(functions);
            let command = load_order(&all, &named(established).into_iter().collect(), &named(tried));
            let command: Vec<String> = command.into_iter().map(|place| all[place].hash.test_name()).collect();
            assert_eq!(command.join(" "), expected, "{functions}, of which {established} are established");
        }
    }
}
