//! Which functions and groups back off, and how many workers may start now.

use std::collections::BTreeMap;
use std::time::Duration;

use super::workers::DueTime;
use super::{Action, Core, FunctionVersion, GroupKey, WorkerRecord};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::supervisor::backoff::{Backoff, BackoffBounds, IdleDeath};
use crate::supervisor::event::{Event, seconds, several};
use crate::supervisor::worker_state::WorkerState;

/// How many workers may connect at the same time: more would overflow a job server's default backlog.
const CONNECTING: usize = 16;
/// A worker that takes longer than this is not in the backlog any more, and delays no other.
const CONNECTS_FOR: Duration = Duration::from_millis(200);
/// How many workers of one group may load at the same time. The limit is per group, so a slow group does not delay
/// others.
const LOADING: usize = 16;
/// How many workers are started in one iteration of the loop, so that nothing else has to wait.
const STARTS: u32 = 16;

/// The failures and back-offs of functions and groups.
#[derive(Default)]
pub(super) struct Failures {
    pub(super) functions: BTreeMap<FunctionName, Backoff>,
    pub(super) groups: BTreeMap<GroupKey, Backoff>,
    /// The version of each function that last failed.
    pub(super) versions: BTreeMap<FunctionName, ShortHash>,
    /// The latest reason of each failing function.
    pub(super) reasons: BTreeMap<FunctionName, String>,
    /// The latest failure of any worker, and the functions of that worker.
    pub(super) last: Option<(Vec<FunctionName>, String)>,
    /// Versions that asked not to be restarted (exit code 125), by function.
    pub(super) not_restarted: BTreeMap<FunctionName, ShortHash>,
}

impl Failures {
    pub(super) fn record(&mut self, function: FunctionName, reason: String) {
        self.reasons.insert(function, reason);
    }

    /// The latest failure of a worker, if it was to serve the function.
    pub(super) fn last_of(&self, function: &str) -> Option<&str> {
        let (_, text) = self.last.as_ref().filter(|(functions, _)| functions.iter().any(|one| *one == *function))?;
        Some(text)
    }

    /// These functions are served again.
    pub(super) fn forget_reasons(&mut self, served: &[FunctionName]) {
        served.iter().for_each(|function| drop(self.reasons.remove(function)));
        self.last.take_if(|(functions, _)| functions.iter().all(|function| served.contains(function)));
    }

    pub(super) fn backoffs(&self) -> impl Iterator<Item = &Backoff> {
        self.functions.values().chain(self.groups.values())
    }

    /// Whether no function and no group backs off.
    pub(super) fn nothing_waits(&self) -> bool {
        self.functions.is_empty() && self.groups.is_empty() && self.not_restarted.is_empty()
    }

    /// The function is tried again at once, whatever failed before.
    pub(super) fn forget(&mut self, function: &FunctionName) {
        self.forget_version(function);
        self.not_restarted.remove(function);
    }

    /// The function has a new version, which does not inherit the back-off of the old one.
    pub(super) fn forget_version(&mut self, function: &FunctionName) {
        self.functions.remove(function);
        self.reasons.remove(function);
    }

    /// Ends all back-offs, but keeps the last failure.
    pub(super) fn forget_all(&mut self) {
        let last = self.last.take();
        let versions = std::mem::take(&mut self.versions);
        *self = Self { last, versions, ..Self::default() };
    }
}

impl Core {
    fn bounds(&self) -> BackoffBounds {
        BackoffBounds { longest: self.config.backoff_max, healthy_after: self.config.healthy_after }
    }

    /// A failure outside a job that this function is known to have caused.
    pub(super) fn record_failure(
        &mut self,
        function: &FunctionName,
        worker: &WorkerRecord,
        at: IdleDeath,
        now: Duration,
    ) {
        let born = worker.born;
        self.record_failing_version(function, worker);
        let (bounds, chance) = (self.bounds(), self.random.f64());
        let backoff = self.failures.functions.entry(function.clone()).or_default();
        let before = backoff.clone();
        backoff.failed_outside(at, now, born, bounds, chance);
        let (after, changed) = (backoff.clone(), *backoff != before);
        self.report_backing_off(function.to_string(), &after, changed, now);
    }

    /// A death while starting or idle: it counts against the most recently changed functions, or against the group if
    /// all of them changed at the same time.
    pub(super) fn died_outside_job(&mut self, worker: &WorkerRecord, at: IdleDeath, now: Duration) {
        let (key, names, born) = (&worker.key, worker.names(), worker.born);
        let changed = |name: &str| self.catalog.changed(name);
        let latest = names.iter().map(|name| changed(name)).max().unwrap_or_default();
        let all = several(&names);
        let (suspects, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| changed(name) == latest);
        if suspects.len() == 1 || !others.is_empty() {
            suspects.iter().for_each(|function| self.record_failure(function, worker, at, now));
            return;
        }
        let (bounds, chance) = (self.bounds(), self.random.f64());
        let backoff = self.failures.groups.entry(key.clone()).or_default();
        let before = backoff.clone();
        backoff.failed_outside(at, now, born, bounds, chance);
        let (after, changed) = (backoff.clone(), *backoff != before);
        self.report_backing_off(all, &after, changed, now);
    }

    /// A death in a job of this function. `done` is the number of its finished jobs.
    pub(super) fn died_in_job(&mut self, function: &FunctionName, worker: &WorkerRecord, done: u64, now: Duration) {
        self.record_failing_version(function, worker);
        let chance = self.random.f64();
        let backoff = self.failures.functions.entry(function.clone()).or_default();
        backoff.died_in_job(now, done, chance);
        let after = backoff.clone();
        self.report_backing_off(function.to_string(), &after, true, now);
    }

    fn record_failing_version(&mut self, function: &FunctionName, worker: &WorkerRecord) {
        if let Some(version) = worker.functions.iter().find(|version| version.function == *function) {
            self.failures.versions.insert(function.clone(), version.hash);
        }
    }

    /// Called after every failure that may make functions or groups back off.
    fn report_backing_off(&mut self, function: String, backoff: &Backoff, changed: bool, now: Duration) {
        self.groups.look_at_all();
        if let Some(until) = backoff.waits_until(now).filter(|_| changed) {
            let seconds = seconds(until.saturating_sub(now));
            self.report(Event::BackingOff { function, seconds, failures: backoff.failures() });
        }
    }

    /// Whether a worker may be started with the function now, or must be started without it.
    pub(super) fn may_start(&self, function: &str, now: Duration) -> bool {
        !self.is_not_restarted(function) && !self.is_backing_off(function, now)
    }

    /// Whether the version of the function that would be started asked not to be.
    pub(super) fn is_not_restarted(&self, function: &str) -> bool {
        let not_restarted = self.failures.not_restarted.get(function);
        not_restarted.is_some_and(|hash| self.catalog.is_serving(function, *hash))
    }

    /// Whether the function waits before it is tried again.
    pub(super) fn is_backing_off(&self, function: &str, now: Duration) -> bool {
        self.backing_off(function, now).is_some()
    }

    /// Whether the group waits before it is tried again.
    pub(super) fn is_group_backing_off(&self, key: &GroupKey, now: Duration) -> bool {
        self.failures.groups.get(key).is_some_and(|backoff| backoff.waits_until(now).is_some())
    }

    /// Whether this version waits before it is tried again. A new version does not wait because the one before it
    /// failed, even if that keeps failing.
    pub(super) fn is_version_backing_off(&self, version: &FunctionVersion, now: Duration) -> bool {
        let is_of_it = self.failures.versions.get(&version.function).is_none_or(|failed| *failed == version.hash);
        is_of_it && self.is_backing_off(&version.function, now)
    }

    /// Whether the function has failed recently, so that workers with it start one at a time.
    pub(super) fn is_on_probation(&self, function: &FunctionName, now: Duration) -> bool {
        let backoff = self.failures.functions.get(function);
        backoff.is_some_and(|backoff| backoff.is_on_probation(now, self.config.healthy_after))
    }

    /// How long the function still waits, for status.
    pub(crate) fn backing_off(&self, function: &str, now: Duration) -> Option<Duration> {
        let until = self.failures.functions.get(function)?.waits_until(now)?;
        Some(until.saturating_sub(now))
    }

    /// How many workers of the group may start now.
    pub(super) fn room(&self, key: &GroupKey, wanted: &[FunctionName], now: Duration) -> u32 {
        let spread = !self.config.worker_initial_spawn_splay.is_zero();
        if self.spawns.is_refused(key, now) || (now < self.spawns.after && !self.has_failed(key, now)) {
            return 0;
        }
        let healthy_after = self.config.healthy_after;
        let group = self.failures.groups.get(key);
        if self.is_group_backing_off(key, now) {
            return 0;
        }
        // It has no job, so it will exit soon, and how it exits determines the next back-off.
        let fails = |worker: &WorkerRecord| !worker.has_served && worker.may_have_failed();
        if self.workers.unsettled(key).any(|(_, worker)| fails(worker)) {
            return 0;
        }
        let loading = self.workers.group(key).map_or(0, |group| group.totals.starting);
        let mut room = LOADING.saturating_sub(loading).min(self.isolation_room(key));
        if spread {
            room = room.min(1);
        }
        let canaries = wanted.iter().filter_map(|name| Some((self.failures.functions.get(name)?, Some(name))));
        for (backoff, name) in canaries.chain(group.map(|backoff| (backoff, None))) {
            if backoff.is_on_probation(now, healthy_after) {
                room = room.min(self.probation_room(key, name, backoff.probation()));
            }
        }
        u32::try_from(room).unwrap_or(u32::MAX).min(STARTS.saturating_sub(self.spawns.this_turn))
    }

    /// Whether the group, or one of its functions, has failed recently.
    pub(super) fn has_failed(&self, key: &GroupKey, now: Duration) -> bool {
        let healthy_after = self.config.healthy_after;
        let group = self.planned_group(key);
        let names = group.map_or(&[][..], |group| &group.functions);
        let functions = names.iter().filter_map(|name| self.failures.functions.get(name));
        functions.chain(self.failures.groups.get(key)).any(|backoff| backoff.is_on_probation(now, healthy_after))
    }

    /// One at a time, until one with the function has outlived the last back-off; none while one is about to exit,
    /// since its exit determines the next back-off.
    fn probation_room(&self, key: &GroupKey, function: Option<&FunctionName>, probation: Duration) -> usize {
        let all: Vec<&WorkerRecord> = match function {
            Some(function) => self.workers.with_function(function).map(|(_, worker)| worker).collect(),
            None => self.workers.of_group(key).map(|(_, worker)| worker).collect(),
        };
        if all.iter().any(|worker| worker.may_have_failed()) {
            return 0;
        }
        let live: Vec<&WorkerRecord> = all.into_iter().filter(|worker| worker.state.is_live()).collect();
        let proven = |worker: &&WorkerRecord| matches!(worker.state, WorkerState::Serving { since } if self.has_outlived(probation, since));
        match (live.is_empty(), live.iter().any(proven)) {
            (true, _) => 1,
            (false, true) => usize::MAX,
            (false, false) => 0,
        }
    }

    /// Whether a worker that has served since then has outlived the probation, as far as its messages have been read.
    pub(super) fn has_outlived(&self, probation: Duration, since: Duration) -> bool {
        probation.is_zero() || self.read >= since.saturating_add(probation)
    }

    /// Lets loaded workers connect, the oldest first, up to the limit.
    pub(super) fn start_connecting(&mut self, now: Duration) {
        let room = CONNECTING.saturating_sub(self.connecting(now));
        for _ in 0..room {
            let Some(id) = self.workers.first(DueTime::Queued) else { return };
            self.workers.change(id, |worker| worker.start.connects = Some(now));
            self.push_action(Action::Connect(id));
        }
    }

    /// Workers that have just begun to look for a job server.
    fn connecting(&self, now: Duration) -> usize {
        self.workers.count_after(DueTime::Connecting, now.checked_sub(CONNECTS_FOR))
    }

    /// At once, if more workers may have to be started than one iteration of the loop allows.
    pub(super) fn more_starts(&self, now: Duration) -> Option<Duration> {
        (self.spawns.this_turn >= STARTS).then_some(now)
    }

    /// When the next back-off ends.
    pub(super) fn waits(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let queue = self.workers.first(DueTime::Queued);
        let connected = queue.and_then(|_| self.workers.next(DueTime::Connecting, now.checked_sub(CONNECTS_FOR)));
        let connected = connected.map(|since| since.saturating_add(CONNECTS_FOR)).into_iter();
        connected.chain(self.group_waits(now)).filter(move |at| *at > now)
    }

    /// When groups that may not start workers now may do so again.
    pub(super) fn group_waits(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let refused = self.spawns.refused.values().map(|refused| refused.until);
        self.failures.backoffs().filter_map(move |backoff| backoff.waits_until(now)).chain(refused)
    }
}
