//! New versions of functions that are served already: a canary first, then every worker, or none.
//!
//! The canary is an additional worker: the planned workers keep serving alongside it. Once it is promoted, the new
//! version is the current one, and [`Core::reconcile`] replaces the other workers one by one.

use std::collections::BTreeMap;
use std::time::Duration;

use super::slow_start::SLOW;
use super::{Action, Core, GroupKey, ScoreboardReading, WorkerRecord, group_key};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::canary::{CanaryDecision, CanaryPolicy, JobCounts, judge};
use crate::supervisor::catalog::CheckedVersion;
use crate::supervisor::counted_job::CountedJob;
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::exit_cause::JobInHand;
use crate::supervisor::reconcile::{JobAllowance, WorkerId};
use crate::supervisor::worker_state::{ExitReason, Trigger, WorkerState};
use crate::system::clock;

/// The interval between two reads of a canary's scoreboard: the first one is short, because code that fails at once
/// takes many jobs from slower workers; the second one is the longest.
const COUNT_INTERVAL: [Duration; 2] = [Duration::from_millis(5), Duration::from_millis(50)];
/// How long a canary, or the first plan, waits for probes of other files, after the last one that ended.
pub(super) const PROBE_WAIT: Duration = Duration::from_secs(2);
/// How many canaries of one version may be killed from outside: SIGKILL, or SIGTERM to one that has done nothing yet,
/// is not the library's fault unless it happens every time.
const MAX_OUTSIDE_KILLS: u32 = 3;

/// The new versions that a canary runs.
pub(super) type CanaryVersions = Vec<FunctionVersion>;

/// The state of the rollouts that are under way.
#[derive(Debug, Default)]
pub(super) struct RolloutState {
    /// The version of the rollout that was reported for each function.
    announced: BTreeMap<FunctionName, ShortHash>,
    /// Canaries killed from outside, by function.
    kills: BTreeMap<FunctionName, u32>,
    /// Groups in which a canary of several new versions died, any of which may be the cause: from now on they are tried
    /// one at a time.
    one_at_a_time: Vec<GroupKey>,
    /// Promoted versions of which old workers are left, and since when.
    rolling: Vec<(FunctionVersion, Duration)>,
    next_count: Option<Duration>,
    /// Versions whose slow start has held up a canary, and until when to remember that.
    slow: BTreeMap<FunctionVersion, Duration>,
    /// For each group, the functions whose files are being probed, and since when.
    reading: BTreeMap<GroupKey, (Vec<FunctionName>, Duration)>,
}

/// A function with a new version in a canary.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CanaryFunction {
    /// Its name.
    pub function: FunctionName,
    /// The version that is in service meanwhile.
    pub serving: Option<ShortHash>,
}

/// Counters of a canary's new versions, in the order of the canary's list.
#[derive(Debug, Clone)]
pub(crate) struct CanaryCounts {
    /// The canary.
    pub worker: WorkerId,
    /// One for each new version.
    pub counts: Vec<JobCounts>,
    /// For each, why its last failed job failed; empty if none has.
    pub failures: Vec<String>,
}

impl Core {
    /// Starts and drains canaries so that every new version has one.
    pub(super) fn reconcile_canaries(&mut self, now: Duration) {
        if !self.is_running() || !self.startup.announced {
            return;
        }
        self.withdraw_rollouts();
        self.find_slow_canaries(now);
        self.track_probing(now);
        let wanted = self.wanted_canaries(now);
        let there: Vec<(WorkerId, GroupKey, CanaryVersions)> = self
            .workers
            .canaries()
            .filter(|(_, worker)| worker.state.is_live() || worker.may_have_failed())
            .filter_map(|(id, worker)| Some((id, worker.key.clone(), worker.canary.clone()?)))
            .collect();
        let is_wanted = |key: &GroupKey, canary: &CanaryVersions| {
            let mut of_key = wanted.iter().filter(|(of, _)| of == key).map(|(_, wanted)| wanted);
            match self.is_being_probed(key) {
                true => of_key.any(|wanted| canary.iter().all(|tried| wanted.contains(tried))),
                false => of_key.any(|wanted| wanted == canary),
            }
        };
        let (right, wrong): (Vec<_>, Vec<_>) =
            there.into_iter().partition(|(id, key, canary)| is_wanted(key, canary) && !self.is_held_up(*id));
        for (id, ..) in wrong {
            self.trigger(id, Trigger::Drain(ExitReason::Surplus, None), now);
        }
        for (key, canary) in wanted {
            if !self.is_being_probed(&key) && !right.iter().any(|(_, of, has)| *of == key && *has == canary) {
                self.start_canary(&key, canary, now);
            }
        }
        self.schedule_count(now);
    }

    /// Records what holds up a canary by starting slowly: a new version is then tried separately, and a version already
    /// in service is left out of canaries for a while.
    fn find_slow_canaries(&mut self, now: Duration) {
        self.rollouts.slow.retain(|_, until| now < *until);
        let slow = self.workers.canaries().filter(|(_, worker)| self.is_slow(worker));
        for version in slow.filter_map(|(_, worker)| worker.at_start().cloned()).collect::<Vec<_>>() {
            let until = now.saturating_add(self.config.start_timeout(&version.function).max(SLOW).saturating_mul(2));
            self.rollouts.slow.entry(version).or_insert(until);
        }
    }

    /// Whether a canary is held up by the slow start of a version that is not new.
    fn is_held_up(&self, id: WorkerId) -> bool {
        let worker = self.workers.get(&id).filter(|worker| self.is_slow(worker));
        worker.is_some_and(|worker| worker.suspects(worker.at_start()).is_empty())
    }

    /// Tracks, for each group, which functions' files are being probed, and since when that set is unchanged.
    fn track_probing(&mut self, now: Duration) {
        let mut before = std::mem::take(&mut self.rollouts.reading);
        if self.catalog.probing().next().is_none() {
            return;
        }
        for group in &self.plan.groups {
            let read: Vec<FunctionName> =
                group.functions.iter().filter(|name| self.catalog.is_probing(name)).cloned().collect();
            let key = group_key(group);
            let same = before.remove(&key).filter(|(were_read, _)| *were_read == read);
            if !read.is_empty() {
                self.rollouts.reading.insert(key, same.unwrap_or((read, now)));
            }
        }
    }

    /// Reports each version that was replaced, rolled back or removed during its canary as withdrawn.
    fn withdraw_rollouts(&mut self) {
        let over = self.rollouts.announced.extract_if(.., |function, hash| !self.catalog.is_next(function, *hash));
        for (function, version) in over.collect::<Vec<_>>() {
            self.rollouts.kills.remove(&function);
            let serving = self.catalog.version(&function).map(|version| version.hash);
            self.report(Event::RolloutWithdrawn { function, version, serving });
        }
    }

    /// Another canary of the function is reported again.
    pub(super) fn forget_announced_rollout(&mut self, function: &FunctionName) {
        self.rollouts.announced.remove(function);
    }

    /// Whether to wait for probes of the group's files: files copied together are tried together, in one canary, but a
    /// slow probe is not waited for.
    fn is_being_probed(&self, key: &GroupKey) -> bool {
        self.rollouts.reading.get(key).is_some_and(|(_, since)| self.read < since.saturating_add(PROBE_WAIT))
    }

    /// For each group, the new versions to try together in one canary. A function with dedicated workers is tried
    /// there, and a slow starter in a separate canary.
    fn wanted_canaries(&self, now: Duration) -> Vec<(GroupKey, CanaryVersions)> {
        let mut wanted: BTreeMap<GroupKey, CanaryVersions> = BTreeMap::new();
        let mut slow: Vec<(GroupKey, CanaryVersions)> = Vec::new();
        for version in self.catalog.pending() {
            let function = &version.function;
            let own = GroupKey::Only(function.clone());
            let planned = |key: &GroupKey| self.planned_group(key).is_some();
            let alone = self.is_isolated(&version) || self.catalog.has_go(&version);
            let key = if planned(&own) || alone { own } else { GroupKey::All };
            let shared = self.plan.planned(function) > 0;
            if (planned(&key) || alone) && shared && !self.is_version_backing_off(&version, now) {
                match self.rollouts.slow.contains_key(&version) {
                    true => slow.push((key, vec![version])),
                    false => wanted.entry(key).or_default().push(version),
                }
            }
        }
        for key in &self.rollouts.one_at_a_time {
            if let Some(canary) = wanted.get_mut(key) {
                canary.truncate(1);
            }
        }
        wanted.into_iter().chain(slow).collect()
    }

    fn start_canary(&mut self, key: &GroupKey, canary: CanaryVersions, now: Duration) {
        let group = self.planned_group(key);
        // A version that fails together with others is tried alone, unless it already has such a canary.
        let all = group.map_or_else(
            || canary.iter().map(|tried| tried.function.clone()).collect(),
            |group| group.functions.clone(),
        );
        let slow = self.slow_functions(key, &all);
        let tried = |name: &FunctionName| canary.iter().find(|tried| tried.function == *name);
        let may_start = |name: &FunctionName| match tried(name) {
            // The previous version may have asked not to be restarted; this one has not.
            Some(version) => !self.is_version_backing_off(version, now),
            // Slow starters do not delay a canary.
            None => {
                let is_slow =
                    self.catalog.serving(name).is_some_and(|version| self.rollouts.slow.contains_key(&version));
                self.may_start(name, now) && !slow.contains(name) && !is_slow
            }
        };
        let functions: Vec<FunctionName> = all.into_iter().filter(may_start).collect();
        if self.room(key, &functions, now) == 0 {
            return;
        }
        for FunctionVersion { function, hash } in &canary {
            // A version is only tried if another one is served.
            if let Some(from) = self.catalog.version(function).map(|version| version.hash)
                && self.rollouts.announced.insert(function.clone(), *hash) != Some(*hash)
            {
                let has_canary = self.config.has_canary(function);
                self.report(Event::RolloutStarted { function: function.clone(), from, to: *hash, has_canary });
            }
        }
        self.start(key, &functions, Some(canary), now);
    }

    /// The version to start a worker with: the new one if the worker is its canary.
    pub(super) fn version_for(&self, function: &str, canary: Option<&CanaryVersions>) -> Option<&CheckedVersion> {
        let tries = canary.is_some_and(|canary| canary.iter().any(|tried| tried.function == *function));
        if tries { self.catalog.next(function) } else { self.catalog.version(function) }
    }

    /// The canaries to be counted, with the functions that each tries.
    pub(crate) fn canaries(&self) -> Vec<(WorkerId, Vec<CanaryFunction>)> {
        let serving = self.workers.canaries().filter(|(_, worker)| worker.state.is_serving());
        serving
            .filter_map(|(id, worker)| {
                let tried = |new: &FunctionVersion| CanaryFunction {
                    function: new.function.clone(),
                    serving: self.catalog.version(&new.function).map(|version| version.hash),
                };
                Some((id, worker.canary.as_ref()?.iter().map(tried).collect()))
            })
            .collect()
    }

    /// When canaries are to be counted next.
    pub(super) fn canary_due(&self, now: Duration) -> Option<Duration> {
        self.rollouts.next_count.filter(|at| *at > now)
    }

    /// When probes of a group's files are waited for no longer.
    pub(super) fn reading_due(&self) -> impl Iterator<Item = Duration> {
        self.rollouts.reading.values().map(|(_, since)| since.saturating_add(PROBE_WAIT))
    }

    fn schedule_count(&mut self, now: Duration) {
        let served = self.workers.canaries().filter_map(|(_, worker)| match worker.state {
            WorkerState::Serving { since } => Some(now.saturating_sub(since)),
            _ => None,
        });
        let next = served.min().map(|served| {
            now.saturating_add(clock::fraction(served, 0.25).clamp(COUNT_INTERVAL[0], COUNT_INTERVAL[1]))
        });
        let set = self.rollouts.next_count.filter(|at| *at > now);
        self.rollouts.next_count = next.map(|next| set.map_or(next, |set| set.min(next)));
    }

    /// Judges a canary by what it has done.
    pub(super) fn counted(&mut self, counted: &CanaryCounts, now: Duration) {
        let Some(worker) = self.workers.get(&counted.worker) else { return };
        let (Some(canary), WorkerState::Serving { since }) = (worker.canary.clone(), worker.state) else { return };
        if canary.len() != counted.counts.len() {
            return;
        }
        // A canary that has reached its job limit will show nothing more.
        let served =
            if worker.retirement.runs == JobAllowance::None { Duration::MAX } else { self.read.saturating_sub(since) };
        let watches = canary.iter().map(|tried| CanaryPolicy {
            seconds: self.config.canary_seconds(&tried.function),
            jobs: self.config.canary_jobs(&tried.function),
        });
        let versions: Vec<(CanaryPolicy, JobCounts)> = watches.zip(counted.counts.iter().copied()).collect();
        match judge(served, &versions) {
            CanaryDecision::Watch => {}
            CanaryDecision::Promote => {
                self.promote(counted.worker, &canary, &counted.counts, now.saturating_sub(since), now)
            }
            CanaryDecision::Reject(index) => {
                let counts = counted.counts[index];
                let last = counted.failures.get(index).filter(|reason| !reason.is_empty());
                let last = last.map_or_else(String::new, |reason| format!(", the last with: {reason}"));
                let reason = format!("{} of its first {} jobs failed{last}", counts.failed, counts.jobs());
                self.reject(&canary[index], &reason, now);
            }
        }
    }

    fn promote(
        &mut self,
        id: WorkerId,
        canary: &CanaryVersions,
        counts: &[JobCounts],
        served: Duration,
        now: Duration,
    ) {
        for (FunctionVersion { function, hash }, counts) in canary.iter().zip(counts) {
            let Some(version) = self.catalog.promote(function, now) else { continue };
            let has_canary = self.config.has_canary(function);
            // A version that was rejected before keeps its mark until jobs have shown that it works.
            let is_proven = counts.completed > 0 || !has_canary;
            let tried = FunctionVersion { function: function.clone(), hash: *hash };
            if is_proven && self.catalog.clear_rejection(&tried) {
                self.push_action(Action::ClearRejection { function: function.clone(), hash: *hash });
            }
            self.report(Event::RolloutPromoted {
                function: function.clone(),
                version: *hash,
                jobs: counts.jobs(),
                seconds: seconds(served),
                has_canary,
            });
            self.set_last_good(function, version);
            self.discard_failures(function, now);
            if self.failures.versions.get(function).is_some_and(|failed| failed != hash) {
                // Failures of the previous version do not count against this one.
                self.failures.functions.remove(function);
            }
            self.rollouts.announced.remove(function);
            self.rollouts.kills.remove(function);
            self.rollouts.rolling.retain(|(version, _)| version.function != *function);
            self.rollouts.rolling.push((FunctionVersion { function: function.clone(), hash: *hash }, now));
        }
        // What fails together with the old version may work together with the new one.
        self.replan(now);
        if self.workers.change(id, |worker| worker.canary = None).is_some() {
            self.push_action(Action::Promote(id));
        }
    }

    /// Rejects a new version until the content of its file changes; the old one stays.
    fn reject(&mut self, version: &FunctionVersion, reason: &str, now: Duration) {
        let FunctionVersion { function, hash } = version;
        if !self.catalog.is_next(function, *hash) {
            return;
        }
        self.catalog.reject(version, reason);
        self.discard_failures(function, now);
        self.groups.look_at_all();
        self.reconsider_isolation();
        self.rollouts.announced.remove(function);
        self.rollouts.kills.remove(function);
        if let Some(serving) = self.catalog.version(function).map(|version| version.hash) {
            let retry = self.config.command.on_function("retry", function);
            let (function, reason) = (function.clone(), reason.to_owned());
            self.report(Event::RolloutStopped { function, version: *hash, reason, serving, retry });
        }
        self.push_action(Action::Reject { function: function.clone(), hash: *hash, reason: reason.to_owned() });
        self.reconcile_canaries(now);
    }

    /// A canary reports that it cannot serve a function. True if it is one of its new versions, which is then rejected.
    pub(super) fn canary_cannot_serve(
        &mut self,
        worker: &WorkerRecord,
        function: &str,
        reason: &str,
        now: Duration,
    ) -> bool {
        let tried = worker.canary.iter().flatten().find(|tried| tried.function == *function).cloned();
        if let Some(tried) = &tried {
            self.reject(tried, reason, now);
        }
        tried.is_some()
    }

    /// A canary died, either in function `at` or in an unknown one. True if that is handled here. `from_outside`: it
    /// may have been killed from outside.
    pub(super) fn canary_died(
        &mut self,
        worker: &WorkerRecord,
        at: Option<&FunctionVersion>,
        from_outside: bool,
        how: &str,
        now: Duration,
    ) -> bool {
        let suspects = worker.suspects(at);
        if suspects.is_empty() {
            return false;
        }
        if from_outside && self.is_rarely_killed(&suspects) {
            return true;
        }
        self.reject_suspects(&worker.key, &suspects, how, now);
        true
    }

    /// A canary hangs during its start. True if that is handled here.
    pub(super) fn canary_hangs(&mut self, worker: &WorkerRecord, how: &str, now: Duration) -> bool {
        let suspects = worker.suspects(worker.at_start());
        if !suspects.is_empty() {
            self.reject_suspects(&worker.key, &suspects, &format!("its worker was {how}"), now);
        }
        !suspects.is_empty()
    }

    /// A canary's job is past its timeout: that counts against its version like a crash in the job.
    pub(super) fn canary_is_late(&mut self, seen: &ScoreboardReading, job: &JobInHand, now: Duration) {
        let Some(worker) = self.workers.get(&seen.worker) else { return };
        let (key, suspects) = (worker.key.clone(), worker.suspects(worker.functions.get(job.function)));
        if suspects.is_empty() {
            return;
        }
        // It still runs, so its workload is unknown.
        let counted = worker.job(job, seen.server, None);
        if let Some(event) = self.excused_by_earlier_death(worker, job, counted, now) {
            return self.report(event);
        }
        let reason = format!("its job {} was past its timeout", String::from_utf8_lossy(&job.handle));
        self.reject_suspects(&key, &suspects, &reason, now);
    }

    /// A job killed a canary. If the job had killed another version before, that does not count against the new one;
    /// returns the event that reports this.
    pub(super) fn excused_by_earlier_death(
        &self,
        canary: &WorkerRecord,
        job: &JobInHand,
        counted: Option<CountedJob>,
        now: Duration,
    ) -> Option<Event> {
        let tried = canary.functions.get(job.function)?;
        let is_new = !canary.suspects(Some(tried)).is_empty();
        let FunctionVersion { function, hash: version } = tried.clone();
        let killed = self.jobs.poison.other_version_killed(&counted.filter(|_| is_new)?, version, now)?;
        let handle = String::from_utf8_lossy(&job.handle).into_owned();
        Some(Event::CanaryContinued { function, version, handle, unique: job.unique.clone(), killed })
    }

    /// A single suspect is rejected; if there are several, each is tried alone.
    fn reject_suspects(&mut self, key: &GroupKey, suspects: &CanaryVersions, how: &str, now: Duration) {
        match suspects.as_slice() {
            [only] => self.reject(only, how, now),
            _ => self.rollouts.one_at_a_time.push(key.clone()),
        }
    }

    fn is_rarely_killed(&mut self, suspects: &CanaryVersions) -> bool {
        let counts = suspects.iter().map(|suspect| {
            let kills = self.rollouts.kills.entry(suspect.function.clone()).or_default();
            *kills += 1;
            *kills
        });
        counts.max().unwrap_or_default() < MAX_OUTSIDE_KILLS
    }

    /// Reports rollouts whose last old worker has exited.
    pub(super) fn finish_rollouts(&mut self, now: Duration) {
        let workers = &self.workers;
        let has_old = |new: &FunctionVersion| {
            let mut alike = workers.serving_alike(&new.function);
            alike.any(|(functions, _)| functions.version_of(&new.function) != Some(new.hash))
        };
        let (over, rolling): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.rollouts.rolling).into_iter().partition(|(version, _)| !has_old(version));
        self.rollouts.rolling = rolling;
        for (FunctionVersion { function, hash: version }, since) in over {
            self.report(Event::RolloutFinished { function, version, seconds: seconds(now.saturating_sub(since)) });
        }
        let pending: Vec<GroupKey> = self.wanted_canaries(now).into_iter().map(|(key, _)| key).collect();
        self.rollouts.one_at_a_time.retain(|key| pending.contains(key));
    }
}

impl WorkerRecord {
    /// Which of a canary's new versions may have caused its death, in function `at` or in an unknown one. Empty if the
    /// worker is not a canary, or died in code that is not new.
    fn suspects(&self, at: Option<&FunctionVersion>) -> CanaryVersions {
        let canary = self.canary.iter().flatten();
        canary.filter(|tried| at.is_none_or(|at| at.function == tried.function)).cloned().collect()
    }
}
