//! The manager's decisions: a pure `(state, input, now) -> actions`. No IO, no clock, no randomness but a seeded one.
//!
//! After every input the same three questions are asked: whose time is up (`Core::tick`), what differs from the plan
//! (`Core::reconcile`), and whether the start is complete (`Core::startup`).

mod backing_off;
mod deadlines;
mod exits;
mod input;
mod isolation;
mod job_servers;
mod lost_jobs;
mod reload;
mod rollouts;
mod slow_start;
mod starts;
mod startup;
#[cfg(test)]
mod tests;
mod views;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::backoff::Backoff;
use super::catalog::{Catalog, CheckedVersion, Memory, ProbeFailure};
use super::event::{Event, seconds};
use super::job_disposition::{DeathCounts, JobKey};
use super::lethal_jobs::LethalJobs;
use super::reconcile::{GroupTarget, GroupWorker, JobAllowance, WorkerId, decide};
use super::worker_state::{ExitReason, Trigger, WorkerState};
use crate::config::Config;
use crate::plan::{Plan, plan};
use crate::plugins::identity::FileIdentity;
use crate::plugins::scan::ScanResult;
pub use input::{Action, ExitReport, Input, ScoreboardReading, WorkerStart};
use isolation::Isolated;
pub use job_servers::JobServerState;
pub use lost_jobs::JobReply;
pub use rollouts::CanaryCounts;
use rollouts::{Canary, RolloutState};
use slow_start::stand_ins_make_room;
use starts::SpawnFailures;
pub use views::{FunctionView, WorkerView};

/// Which workers are alike: those for all functions, or those for one.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKey {
    All,
    Only(String),
}

/// One worker as the manager sees it.
#[derive(Debug)]
pub(super) struct WorkerRecord {
    pub key: GroupKey,
    /// Name and hash of what it serves.
    pub functions: Vec<(String, String)>,
    /// In which order it loads them: places in `functions`.
    pub load_order: Vec<usize>,
    pub state: WorkerState,
    pub stage: StartStage,
    /// When it came to that stage.
    pub reached: Duration,
    /// How many places of `load_order` its start has come to.
    pub begun: usize,
    /// When it was told to connect.
    pub connects: Option<Duration>,
    /// Whether it has taken jobs, whatever it does now.
    pub has_served: bool,
    /// Jobs it had taken when it said so last: when it took no more.
    pub jobs: u64,
    /// When it first said so.
    pub left: Option<Duration>,
    pub born: Duration,
    pub pid: Option<i32>,
    pub generation: u64,
    /// When it is too old.
    pub retires: Duration,
    /// How many jobs it has left.
    pub runs: JobAllowance,
    /// When its page is to be looked at, where a job may be past its timeout then.
    pub look: Option<Duration>,
    /// Whether it takes more memory than it may.
    pub outgrown: bool,
    /// Number of the job that was past its timeout.
    pub overdue: Option<u64>,
    /// The job servers it was started with, in its own order: places in [`Core::servers`].
    pub servers: Vec<usize>,
    /// The jobs whose answers wait in it for room, by server.
    pub waiting: BTreeMap<usize, JobKey>,
    /// The new versions it tries, where it is a canary.
    pub canary: Option<Canary>,
}

impl WorkerRecord {
    /// The names of what it serves.
    pub fn names(&self) -> Vec<String> {
        self.functions.iter().map(|(name, _)| name.clone()).collect()
    }

    /// The key whose limit it has come to. A reload has every worker retire, at any age.
    pub fn limit(&self, config: &Config, now: Duration) -> Option<&'static str> {
        let old = now >= self.retires && now >= self.born.saturating_add(config.max_worker_lifetime);
        match self.runs {
            JobAllowance::Many if self.outgrown => Some("max_memory"),
            JobAllowance::Many => old.then_some("max_worker_lifetime"),
            JobAllowance::Few | JobAllowance::None => Some("max_runs_per_worker"),
        }
    }
}

/// How far a worker's start has come, as it says itself. Functions are counted as in its orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartStage {
    /// It has said nothing yet.
    Begins,
    /// It loads a function's library.
    Loading(usize),
    /// It is in a function's `new()`.
    Making(usize),
    /// Everything is loaded.
    Over,
}

#[derive(Debug, PartialEq)]
enum ManagerPhase {
    /// The first scan, its probes and the look-ups are under way.
    Starting,
    Running,
    Draining {
        since: Duration,
        deadline: Duration,
        signals: u32,
    },
    Finished,
}

/// The state.
pub struct Core {
    config: Config,
    random: fastrand::Rng,
    phase: ManagerPhase,
    started: Duration,
    /// Until then everybody was heard of whom something was due: as of this moment deadlines of children are judged.
    read: Duration,
    /// When the first scan or the latest probe came to its end.
    read_at: Duration,
    /// When it was planned for the first time.
    planned_at: Duration,
    /// How long a strict start is given beyond the usual: while functions start one after the other, each in time.
    start_extended_to: Duration,
    announced: bool,
    catalog: Catalog,
    plan: Plan,
    workers: BTreeMap<WorkerId, WorkerRecord>,
    next_worker: u64,
    functions_failing: BTreeMap<String, Backoff>,
    groups_failing: BTreeMap<GroupKey, Backoff>,
    last_failure: Option<String>,
    /// What was last said of a failing function.
    failures: BTreeMap<String, String>,
    /// Functions of which a version asked not to be started again: its hash.
    not_restarted: BTreeMap<String, String>,
    /// Functions that failed to start in an all-functions worker.
    isolated: BTreeMap<String, Isolated>,
    /// Versions that an all-functions worker has loaded: name and hash.
    established: BTreeSet<(String, String)>,
    /// Workers started in this turn of the loop.
    starts: u32,
    /// Where starts are to be spread: when the next one is due.
    spawn_after: Duration,
    /// Groups for which the system refused a process.
    refused: BTreeMap<GroupKey, SpawnFailures>,
    servers: Vec<JobServerState>,
    /// Functions without a library that were warned of.
    warned: BTreeSet<String>,
    /// A scan was asked for and has not come back: a library may have come meanwhile.
    scanning: bool,
    rollouts: RolloutState,
    /// Workers that jobs have cost.
    deaths: DeathCounts,
    /// Which versions jobs have killed.
    lethal: LethalJobs,
    /// Functions of workers that were said to take more than max_memory from their start.
    heavy: BTreeSet<Vec<String>>,
    /// When the worker directories are looked at once more, since a file is missing.
    look_at: Option<Duration>,
    actions: Vec<Action>,
}

impl Core {
    /// The state at the start, and what is to be done first.
    pub fn new(config: Config, memory: Memory, seed: u64, now: Duration) -> (Self, Vec<Action>) {
        let servers: Vec<JobServerState> = config.hosts.iter().map(JobServerState::new).collect();
        let mut actions = vec![Action::Scan];
        actions.extend(servers.iter().enumerate().filter(|(_, s)| s.resolving).map(|(n, s)| s.look_up(n)));
        let core = Self {
            config,
            random: fastrand::Rng::with_seed(seed),
            phase: ManagerPhase::Starting,
            started: now,
            read: now,
            read_at: now,
            planned_at: now,
            start_extended_to: Duration::ZERO,
            announced: false,
            catalog: Catalog::new(memory),
            plan: Plan::default(),
            workers: BTreeMap::new(),
            next_worker: 0,
            functions_failing: BTreeMap::new(),
            groups_failing: BTreeMap::new(),
            last_failure: None,
            failures: BTreeMap::new(),
            not_restarted: BTreeMap::new(),
            isolated: BTreeMap::new(),
            established: BTreeSet::new(),
            starts: 0,
            spawn_after: Duration::ZERO,
            refused: BTreeMap::new(),
            servers,
            warned: BTreeSet::new(),
            scanning: true,
            rollouts: RolloutState::default(),
            deaths: DeathCounts::default(),
            lethal: LethalJobs::default(),
            heavy: BTreeSet::new(),
            look_at: None,
            actions: Vec::new(),
        };
        (core, actions)
    }

    /// Takes in what happened; returns what is to be done, in order.
    pub fn handle(&mut self, input: Input, now: Duration) -> Vec<Action> {
        self.starts = 0;
        match input {
            Input::Scanned(scan) => self.scanned(scan, now),
            Input::LooksBeside { function, identity, beside } => {
                self.catalog.looks_beside(&function, &identity, beside)
            }
            Input::Probed { function, identity, result } => self.probed(&function, &identity, result, now),
            Input::Resolved { server, result } => self.resolved(server, result),
            Input::Version { server, version } => self.is_version(server, version.as_ref()),
            Input::Spawned { worker, pid } => self.spawned(worker, pid, now),
            Input::SpawnFailed { worker, reason } => self.spawn_failed(worker, reason, now),
            Input::LibraryLost { worker, function } => self.library_lost(worker, &function, now),
            Input::Said { worker, message } => self.said(worker, message, now),
            Input::Ended { worker, exit_report } => self.ended(worker, &exit_report, now),
            Input::Stop { by } => self.stop(by, now),
            Input::Rescan => self.rescan(),
            Input::Changed => self.changed(),
            Input::Counted(counted) => self.counted(&counted, now),
            Input::Seen(seen) => self.seen(&seen, now),
            Input::Retry { function } => self.retry(&function),
            Input::Rollback { function, version } => self.roll_back(&function, version, now),
            Input::Reload(config) => self.reload(*config, now),
            Input::Timer { read } => self.read = self.read.max(read),
        }
        self.complete_start(now);
        self.tick(now);
        self.advance_isolation(now);
        self.reconcile(now);
        self.let_connect(now);
        // Before the canaries: they wait for it, and nothing need happen after it.
        self.startup(now);
        self.reconcile_canaries(now);
        self.finish_rollouts(now);
        self.watch_jobs(now);
        self.finish(now);
        std::mem::take(&mut self.actions)
    }

    /// When [`Input::Timer`] is due next, where `now` is that of the last [`handle`](Self::handle): what was due by
    /// then is dealt with as far as it can be, and waits for something else to happen.
    pub fn next_due(&self, now: Duration) -> Option<Duration> {
        if !matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) {
            let lives = self.workers.values().filter_map(|worker| worker.state.deadline());
            return lives.chain(self.look_due()).min();
        }
        let retires = self.workers.values().filter(|w| w.state.is_serving()).map(|worker| worker.retires);
        let all = retires.chain(self.waits(now)).chain([self.spawn_after]).chain(self.canary_due(now));
        let all = all.chain(self.look_at).chain(self.catalog.retry_due()).filter(|at| *at > now);
        // A deadline that has come is not over before its worker was heard, nor a look before it was taken, nor are starts
        // before they were made.
        all.chain(self.deadlines_due()).chain(self.look_due()).chain(self.more_starts(now)).min()
    }

    pub(super) fn do_next(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.actions.push(Action::Tell(event));
    }

    fn scan(&mut self) {
        self.scanning = true;
        self.do_next(Action::Scan);
    }

    fn scanned(&mut self, scan: ScanResult, now: Duration) {
        self.scanning = false;
        if !self.catalog.was_scanned() {
            self.read_at = now;
        }
        let before = self.catalog.functions();
        let scanned = self.catalog.scanned(&scan, self.config.settle_time, now);
        self.look_at = scanned.look_at;
        scanned.events.into_iter().for_each(|event| self.tell(event));
        scanned.gone.into_iter().for_each(|function| self.do_next(Action::Forget { function }));
        scanned.probe.into_iter().for_each(|candidate| self.do_next(Action::Probe(candidate)));
        if self.catalog.functions() != before {
            // A library that was taken away and put back is tried again: somebody meant something by it.
            self.not_restarted.retain(|function, _| self.catalog.version(function).is_some());
            self.replan(now);
        }
        self.warn_of_missing();
    }

    fn probed(
        &mut self,
        function: &str,
        identity: &FileIdentity,
        result: Result<CheckedVersion, ProbeFailure>,
        now: Duration,
    ) {
        self.read_at = now;
        if result.is_ok() && !self.catalog.knows(function) {
            // Removed while it was probed: what the store took in is nobody's.
            return self.do_next(Action::Forget { function: function.to_owned() });
        }
        let probed = self.catalog.probed(function, identity, result, now);
        probed.events.into_iter().for_each(|event| self.tell(event));
        if probed.unpinned {
            self.do_next(Action::Pin { function: function.to_owned(), pin: None });
        }
        if let Some(version) = probed.good {
            self.do_next(Action::MarkGood { function: function.to_owned(), version });
        }
        if probed.news {
            // What failed before says nothing about new code.
            self.functions_failing.remove(function);
            self.failures.remove(function);
            self.replan(now);
        }
    }

    /// Plans anew once everything is known; each of its warnings is told once for as long as it holds.
    fn replan(&mut self, now: Duration) {
        if self.phase == ManagerPhase::Starting {
            // When everything is known, or the time is up: see `complete_start`.
            return;
        }
        self.reconsider_isolation();
        self.plan = plan(&self.config, &self.catalog.functions(), &self.placements());
        self.warn_of_missing();
        self.ask_versions();
        self.spawn_after = self.spawn_after.min(now);
    }

    /// Warns of sections without a library, once for as long as one is missing. A file that is there and not (yet) served
    /// has lines of its own.
    fn warn_of_missing(&mut self) {
        if self.scanning || self.phase == ManagerPhase::Starting {
            return;
        }
        let missing: Vec<_> = self.plan.missing.iter().filter(|one| !self.catalog.holds(&one.function)).collect();
        let news: Vec<String> =
            missing.iter().filter(|one| !self.warned.contains(&one.function)).map(ToString::to_string).collect();
        self.warned = missing.into_iter().map(|one| one.function.clone()).collect();
        news.into_iter().for_each(|text| self.tell(Event::ConfigWarning { text }));
    }

    fn rescan(&mut self) {
        self.changed();
        self.look_up_again();
    }

    fn changed(&mut self) {
        if matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) && self.config.auto_update {
            self.scan();
        }
    }

    /// Gives the function's file another chance, whether it was refused or its version rejected.
    fn retry(&mut self, function: &str) {
        self.functions_failing.remove(function);
        self.failures.remove(function);
        self.not_restarted.remove(function);
        self.rejoin(function);
        self.do_next(Action::Forgive { function: function.to_owned() });
        self.do_next(Action::Pin { function: function.to_owned(), pin: None });
        if let Some(candidate) = self.catalog.retry(function) {
            self.do_next(Action::Probe(candidate));
        }
    }

    /// Serves an earlier version: no canary, since it was good before.
    fn roll_back(&mut self, function: &str, version: CheckedVersion, now: Duration) {
        let from = self.catalog.content(function).unwrap_or_default();
        let hash = version.hash.clone();
        self.tell(Event::RolledBack { function: function.to_owned(), version: hash.clone() });
        self.functions_failing.remove(function);
        self.not_restarted.remove(function);
        self.catalog.pin(function, version.clone(), now);
        self.do_next(Action::Pin { function: function.to_owned(), pin: Some((hash, from)) });
        self.do_next(Action::MarkGood { function: function.to_owned(), version });
        self.replan(now);
    }

    fn stop(&mut self, by: &'static str, now: Duration) {
        let wait = self.config.graceful_shutdown_wait_time;
        match &mut self.phase {
            ManagerPhase::Starting | ManagerPhase::Running => {
                let deadline = now.saturating_add(wait);
                self.phase = ManagerPhase::Draining { since: now, deadline, signals: 1 };
                let workers = self.workers.len();
                self.tell(Event::Draining { by: by.into(), workers, seconds: seconds(wait) });
                self.stop_all(deadline, now);
            }
            ManagerPhase::Draining { signals, deadline, .. } => {
                *signals += 1;
                let (signals, left) = (*signals, deadline.saturating_sub(now));
                if signals < SIGNALS_THAT_KILL {
                    self.tell(Event::AlreadyDraining { by, signals, seconds: seconds(left) });
                } else {
                    self.stop_all(now, now);
                }
            }
            ManagerPhase::Finished => {}
        }
    }

    /// The one dismissal that cuts jobs, at its deadline.
    fn stop_all(&mut self, deadline: Duration, now: Duration) {
        let all: Vec<WorkerId> = self.workers.keys().copied().collect();
        all.into_iter().for_each(|id| self.happens(id, Trigger::Dismiss(ExitReason::Stop, Some(deadline)), now));
    }

    /// Whose time is up.
    fn tick(&mut self, now: Duration) {
        if self.look_at.take_if(|at| now >= *at).is_some() {
            self.scan();
        }
        if matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) {
            self.catalog.retries(now).into_iter().for_each(|candidate| self.do_next(Action::ProbeAgain(candidate)));
        }
        let due = self.workers.iter().filter(|(_, worker)| worker.state.deadline().is_some_and(|at| self.read >= at));
        let due: Vec<WorkerId> = due.map(|(id, _)| *id).collect();
        due.into_iter().for_each(|id| self.happens(id, Trigger::Tick, now));
    }

    /// What differs from the plan.
    fn reconcile(&mut self, now: Duration) {
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
        let all: Vec<String> = group.map_or_else(Vec::new, |group| group.functions.clone());
        let mut wanted: Vec<String> = all.iter().filter(|name| self.may_start(name, now)).cloned().collect();
        let slow = self.slow_functions(key, &wanted);
        wanted.retain(|name| !slow.contains(name));
        // Whoever is at a slow start is counted upon when it is over, and not before.
        let counts = |worker: &WorkerRecord| worker.canary.is_some() || !self.is_slow(worker) || slow.is_empty();
        let of_group = self.workers.iter().filter(|(_, worker)| worker.key == *key && counts(worker));
        let of_group: Vec<(WorkerId, &WorkerRecord)> = of_group.map(|(id, worker)| (*id, worker)).collect();
        let make_room = stand_ins_make_room(&of_group, &slow, count);
        let is_fresh = |worker: &WorkerRecord| {
            self.is_fresh(worker, &wanted, &all, now) && !(make_room && worker.stands_in(&slow))
        };
        let of_group: Vec<(WorkerId, &WorkerRecord, bool)> =
            of_group.into_iter().map(|(id, worker)| (id, worker, is_fresh(worker))).collect();
        let old = of_group.iter().filter(|(_, _, fresh)| !fresh).map(|(id, worker, _)| (*id, *worker));
        let kept = self.kept(key, &wanted, old.collect());
        let workers: Vec<GroupWorker> = of_group
            .into_iter()
            .map(|(id, worker, fresh)| {
                let kept = kept.contains(&id);
                GroupWorker { id, state: worker.state, fresh, runs: worker.runs, canary: worker.canary.is_some(), kept }
            })
            .collect();
        let mut room = if wanted.is_empty() { 0 } else { self.room(key, &wanted, now) };
        if !slow.is_empty() && !workers.iter().any(GroupWorker::may_go) {
            // Nobody can be replaced by one that does without what is slow: only places that are free are filled.
            let live = workers.iter().filter(|worker| worker.is_of_plan()).count();
            room = room.min(count.saturating_sub(u32::try_from(live).unwrap_or(u32::MAX)));
        }
        let surges = all.iter().map(|name| self.config.rollout_surge(name).of(count));
        // Where there is no such group, a canary may have one all the same.
        let surge = surges.min().unwrap_or(1);
        let decision = decide(&workers, GroupTarget { count, surge, room });
        for (id, reason) in decision.dismiss {
            self.happens(id, Trigger::Dismiss(reason, None), now);
        }
        for id in decision.admit.into_iter().filter(|id| self.may_admit(*id)).collect::<Vec<_>>() {
            self.happens(id, Trigger::Admit, now);
        }
        (0..decision.start).for_each(|_| self.start(key, &wanted, None, now));
    }

    /// Whether the worker is what would be started now. More functions than wanted are no fault: a function that backs
    /// off, or is isolated, may go on being served where it works.
    fn is_fresh(&self, worker: &WorkerRecord, wanted: &[String], all: &[String], now: Duration) -> bool {
        let current = |name: &str, hash: &str| self.catalog.version(name).is_some_and(|version| version.hash == hash);
        let has = |wanted: &String| worker.functions.iter().any(|(name, hash)| name == wanted && current(name, hash));
        let bears = worker.key == GroupKey::All && worker.state.is_loaded();
        let isolated = |name: &str, hash: &str| bears && self.is_isolated(name, hash);
        let known =
            |(name, hash): &(String, String)| current(name, hash) && (all.contains(name) || isolated(name, hash));
        now < worker.retires && wanted.iter().all(has) && worker.functions.iter().all(known)
    }

    /// Whether the last worker has gone, and with it the manager's work.
    fn finish(&mut self, now: Duration) {
        if let ManagerPhase::Draining { since, .. } = self.phase
            && self.workers.is_empty()
        {
            self.phase = ManagerPhase::Finished;
            self.tell(Event::Stopped { seconds: seconds(now.saturating_sub(since)) });
            self.do_next(Action::Finish);
        }
    }
}

/// As in GearmanManager: who presses Ctrl-C five times means it.
const SIGNALS_THAT_KILL: u32 = 5;

fn group_key(group: &crate::plan::Group) -> GroupKey {
    match group.functions.as_slice() {
        [only] if group.dedicated => GroupKey::Only(only.clone()),
        _ => GroupKey::All,
    }
}
