//! Functions that do not start in one process with others: a library that needs more static TLS than is left, one that
//! needs another version of a library that is already loaded, or a `new()` that needs a resource that another one
//! holds.
//!
//! A function that fails to start in an all-functions worker is started alone, while the others go on without it. Once
//! it starts alone, it is tried with the others again. If it fails there, it cannot share a process with them, and gets
//! dedicated workers until it or one of the others changes. So a failing function is never tried at the expense of
//! others.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::workers::FunctionSet;
use super::{Core, GroupKey, WorkerRecord};
use crate::plan::{Group, Placement};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{Event, WITH_GO};
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

/// How far the attempts are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Isolation {
    /// It is being started alone.
    Alone,
    /// It starts alone, and is now being tried with the others again.
    Rejoining,
    /// It starts alone, but fails with the others.
    Confirmed,
}

impl Core {
    /// Functions that the all-functions workers cannot serve, and where they are served.
    pub(super) fn placements(&self) -> BTreeMap<FunctionName, Placement> {
        let current = self.isolated.iter().filter(|(name, isolated)| self.catalog.is_serving(name, isolated.version));
        let placement = |state| match state {
            Isolation::Alone | Isolation::Confirmed => Placement::Isolated,
            Isolation::Rejoining => Placement::Rejoining,
        };
        let isolated = current.map(|(name, isolated)| (name.clone(), placement(isolated.state)));
        // A process can have only one of Go's runtimes.
        isolated.chain(self.catalog.serving_with_go().map(|name| (name.clone(), Placement::Isolated))).collect()
    }

    /// Reports each function that gets workers of its own because of Go's runtime, once while that holds.
    pub(super) fn report_isolated_by_go(&mut self) {
        let is_dedicated =
            |name: &FunctionName| self.config.functions.get(name.as_str()).is_some_and(|own| own.dedicated_only);
        let shared = |name: &&FunctionName| self.plan.planned(name) > 0 && !is_dedicated(name);
        let now: BTreeSet<FunctionName> = self.catalog.serving_with_go().filter(shared).cloned().collect();
        let reported = std::mem::take(&mut self.warned.with_go);
        for function in now.difference(&reported) {
            self.report(Event::FunctionHasGo { function: function.clone() });
        }
        self.warned.with_go = now;
    }

    /// A function failed to start in this worker, which was removed from the table. True if there were other functions
    /// in it; then it is tried alone next.
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
            // A new version that fails alone is bad. If two workers must never serve at once, it cannot be tried
            // alongside the old one.
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

    /// Whether the all-functions workers must do without the function: it failed in one of them, or alone although they
    /// are to serve it, too. Not if it is the only function they have.
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

    /// Whether there is a worker with only this version that has loaded it.
    fn starts_alone(&self, version: &FunctionVersion) -> bool {
        self.alone(version).any(|worker| worker.state.is_loaded())
    }

    fn alone<'a>(&'a self, version: &'a FunctionVersion) -> impl Iterator<Item = &'a WorkerRecord> {
        self.workers.alone(version).filter(|worker| worker.state.is_live())
    }

    /// A worker has loaded all its functions: if it is an all-functions worker, they work together.
    pub(super) fn has_loaded(&mut self, id: WorkerId, now: Duration) {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.key == GroupKey::All) else { return };
        let functions = worker.functions.clone();
        self.established.extend(functions.iter().cloned());
        self.rejoined(|version| functions.contains(version), now);
    }

    /// Ends the isolation of functions that were tried with the others again and work there.
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

    /// Versions that every all-functions worker already serves. They need not be tried with the others: they are loaded
    /// together.
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

    /// Functions whose dedicated workers have started or exited since.
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

    /// Whether the all-functions workers have settled, so that trying a function with them again costs them nothing.
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

    /// Whether the group belongs to a function that may turn out to need dedicated workers.
    pub(super) fn is_being_isolated(&self, key: &GroupKey) -> bool {
        let GroupKey::Only(function) = key else { return false };
        self.isolated.get(function).is_some_and(|isolated| isolated.state != Isolation::Confirmed)
    }

    /// Whether it is loaded alone and, if it had failed alone before, has run for as long as its last back-off.
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

    /// The configuration or a library has changed: isolated functions may no longer need dedicated workers.
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

    /// Earlier failures no longer count: functions that start alone are tried with the others again.
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

    /// Whether this version failed to start in an all-functions worker, and has or will get a dedicated worker.
    pub(super) fn is_isolated(&self, version: &FunctionVersion) -> bool {
        self.isolated.get(&version.function).is_some_and(|isolated| isolated.version == version.hash)
    }

    /// How many dedicated workers may start for a function while it is being tried: one, but not while the
    /// all-functions workers start, which must get the resources they need. While it is tried with the others, it keeps
    /// those it has.
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

    /// The workers of a group that must stay although they are old: they serve a function that no new worker of the
    /// group could (it is in `missed`) and that too few other workers serve.
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
        // How many workers more than planned serve each of them: that many may drain.
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

    /// Planned functions that workers of a group serve but a new one would not.
    pub(super) fn missed(&self, key: &GroupKey, wanted: &[FunctionName]) -> BTreeSet<FunctionName> {
        let alike = self.workers.group(key).into_iter().flat_map(|group| &group.alike);
        let served = alike.filter(|(_, alike)| alike.totals.counted > 0).flat_map(|(functions, _)| functions.iter());
        let missed = served.map(|version| &version.function).filter(|name| !wanted.contains(name));
        missed.filter(|name| self.plan.planned(name) > 0).cloned().collect()
    }

    /// Workers that serve a function. If two must never do so at once, workers of other groups that are ready to serve
    /// it count, too.
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

    /// Whether never more workers than planned may serve the function. This also holds if none is planned any more,
    /// since a draining one may still have a job.
    pub(super) fn is_mutex(&self, function: &str) -> bool {
        self.config.rollout_surge(function).of(1) == 0
    }

    /// Whether the worker may be activated, given the workers of other groups.
    pub(super) fn may_activate(&self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(&id) else { return false };
        // An all-functions worker does not offer a paused function.
        let is_left_out = |name: &FunctionName| worker.key == GroupKey::All && self.pause_of(name).is_some();
        let is_mutex = |name: &&FunctionName| self.is_mutex(name) && !is_left_out(name);
        worker.names().iter().filter(is_mutex).all(|name| {
            let is_at_work = |other: &WorkerRecord| {
                other.key != worker.key && (other.state.is_activated() || !other.state.is_live())
            };
            let at_work = self.workers.with_function(name).filter(|(_, other)| is_at_work(other)).count();
            at_work < self.plan.planned(name) as usize
        })
    }

    /// A note on where a function is served.
    pub(super) fn isolation_note(&self, function: &str) -> Option<String> {
        if self.warned.with_go.contains(function) {
            return Some(format!("it has workers of its own: {WITH_GO}"));
        }
        let isolated =
            self.isolated.get(function).filter(|isolated| self.catalog.is_serving(function, isolated.version))?;
        let reason = &isolated.reason;
        Some(match isolated.state {
            Isolation::Alone => format!("it is tried in a worker of its own, since it failed beside others: {reason}"),
            Isolation::Rejoining => format!("it is tried together with the others again; that failed before: {reason}"),
            Isolation::Confirmed => {
                format!("it has workers of its own, since it fails together with the others: {reason}")
            }
        })
    }
}

/// Whether it takes jobs and need not stop.
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

/// The order in which a worker loads its functions (indices into `functions`). Those that are known to work together
/// come first, always in the same order, and those that are being tried last, so that a failure is always the new
/// one's.
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
