//! The manager's decisions: a pure `(state, input, now) -> actions`. No IO, no clock, no randomness except from a seed.
//!
//! [`Core::handle`] applies an input; `Core::follow_up` then takes the same steps after each, in a fixed order.

mod deadlines;
mod exits;
mod failure_reports;
mod groups;
mod input;
mod isolation;
mod job_servers;
mod job_timeouts;
mod liveness;
mod lost_jobs;
mod pauses;
mod queues;
mod reload;
mod requests;
mod retries;
mod rollbacks;
mod rollouts;
mod slow_start;
mod start_limits;
mod starts;
mod startup;
mod stop;
#[cfg(test)]
mod tests;
mod versions;
mod views;
mod worker_record;
mod workers;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::audience::Audience;
use super::catalog::{Catalog, SavedVersions};
use super::event::Event;
use super::job_disposition::DeathCounts;
use super::poison_jobs::PoisonJobs;
use super::worker_state::Trigger;
use crate::config::Config;
use crate::plan::{ExcludedFunction, Plan};
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use failure_reports::FunctionFailures;
use groups::{Groups, group_key};
pub(crate) use input::{Action, ExitReport, Input, Order, RequestOrigin, ScoreboardReading, WorkerStart};
use isolation::Isolated;
pub(crate) use job_servers::{JobServerState, ReportedState};
use liveness::LivenessRounds;
pub(crate) use liveness::{LivenessRound, WorkerLiveness};
pub(crate) use lost_jobs::JobReply;
use pauses::PausedFunctions;
use queues::Queues;
pub(crate) use queues::{QueueLengths, QueueReading};
use reload::PendingReload;
use requests::Requests;
use retries::Retries;
use rollbacks::Rollbacks;
use rollouts::RolloutState;
pub(crate) use rollouts::{CanaryCounts, CanaryFunction};
use start_limits::Failures;
use starts::Spawns;
use startup::ManagerStartup;
pub(crate) use views::{FunctionView, WorkerView};
use worker_record::{GroupKey, StartStage, WorkerRecord};
use workers::{DueTime, Workers};

#[derive(Debug, PartialEq)]
enum ManagerPhase {
    /// The first scan, its probes and the look-ups are running.
    Starting,
    Running,
    Draining {
        since: Duration,
        deadline: Duration,
        signals: u32,
        /// When to report what it waits for.
        report_at: Option<Duration>,
    },
    Finished,
}

/// The state. Fields that several modules use are here; each group of fields is documented at its type.
pub(crate) struct Core {
    config: Config,
    random: fastrand::Rng,
    phase: ManagerPhase,
    /// How many stop signals kill the remaining workers.
    signals_that_kill: u32,
    /// Everything that children had sent or done by this time has been read, so deadlines are checked against this
    /// time.
    read: Duration,
    startup: ManagerStartup,
    catalog: Catalog,
    scans: Scans,
    plan: Plan,
    workers: Workers,
    groups: Groups,
    spawns: Spawns,
    failures: Failures,
    /// Functions that failed to start in an all-functions worker.
    isolated: BTreeMap<FunctionName, Isolated>,
    /// Versions that an all-functions worker has loaded.
    established: BTreeSet<FunctionVersion>,
    rollouts: RolloutState,
    commands: PendingCommands,
    pauses: PausedFunctions,
    /// How many workers functions have on request, until the next reload.
    scaled: BTreeMap<FunctionName, u32>,
    jobs: JobRecords,
    servers: Vec<JobServerState>,
    liveness_rounds: LivenessRounds,
    queues: Queues,
    warned: Warned,
    actions: Vec<Action>,
}

/// What operators have asked for and what is not complete yet.
#[derive(Default)]
struct PendingCommands {
    /// The reload whose old workers are not all gone.
    reload: Option<PendingReload>,
    rollbacks: Rollbacks,
    retries: Retries,
    /// All other commands.
    requests: Requests,
}

/// Scans of the worker directories.
struct Scans {
    /// Whether one is running, which may find new libraries.
    running: bool,
    /// When the next one is due because a file is missing.
    next: Option<Duration>,
}

/// Warnings that were logged, so that they are not logged again.
#[derive(Default)]
struct Warned {
    /// Functions without a library.
    missing: BTreeSet<String>,
    /// Functions that the configuration leaves out, and how.
    excluded: BTreeSet<(FunctionName, ExcludedFunction)>,
    /// Functions, and what was logged about settings that they do not read.
    unread_settings: BTreeSet<(FunctionName, String)>,
    /// Function sets whose workers exceed `max_memory` as soon as they have loaded.
    too_large_at_start: BTreeSet<Vec<FunctionName>>,
    /// Functions that have workers of their own because of Go's runtime.
    with_go: BTreeSet<FunctionName>,
}

impl Warned {
    /// Warnings may be logged again after a configuration change.
    fn forget_workers(&mut self) {
        self.unread_settings.clear();
        self.too_large_at_start.clear();
    }
}

/// Records about jobs.
#[derive(Default)]
struct JobRecords {
    /// How many workers each job has killed.
    deaths: DeathCounts,
    /// Which versions each job has killed.
    poison: PoisonJobs,
    /// Jobs without a result, by function.
    failures: BTreeMap<FunctionName, FunctionFailures>,
}

impl JobRecords {
    /// Forgets a job server's jobs: it may come back with an empty queue and reuse the handles.
    fn forget_server(&mut self, server: usize) {
        self.deaths.forget_server(server);
        self.poison.forget_server(server);
    }
}

impl Core {
    /// The state at the start, and the first actions.
    pub(crate) fn new(config: Config, memory: SavedVersions, seed: u64, now: Duration) -> (Self, Vec<Action>) {
        let servers: Vec<JobServerState> = config.hosts.iter().map(JobServerState::new).collect();
        let mut actions = vec![Action::Scan];
        actions.extend(servers.iter().enumerate().filter(|(_, s)| s.resolving).map(|(n, s)| s.look_up(n)));
        let catalog = Catalog::new(memory, config.command.clone());
        let core = Self {
            config,
            random: fastrand::Rng::with_seed(seed),
            phase: ManagerPhase::Starting,
            signals_that_kill: Audience::Operators.signals_that_kill(),
            read: now,
            startup: ManagerStartup::at(now),
            catalog,
            scans: Scans { running: true, next: None },
            plan: Plan::default(),
            workers: Workers::default(),
            groups: Groups::default(),
            spawns: Spawns::default(),
            failures: Failures::default(),
            isolated: BTreeMap::new(),
            established: BTreeSet::new(),
            rollouts: RolloutState::default(),
            commands: PendingCommands::default(),
            pauses: PausedFunctions::default(),
            scaled: BTreeMap::new(),
            jobs: JobRecords::default(),
            servers,
            liveness_rounds: LivenessRounds { last: now, rescan: None },
            queues: Queues::default(),
            warned: Warned::default(),
            actions: Vec::new(),
        };
        (core, actions)
    }

    /// Applies an input; returns the actions that follow from it, in order.
    pub(crate) fn handle(&mut self, input: Input, now: Duration) -> Vec<Action> {
        self.spawns.this_turn = 0;
        if !input.is_of_one_worker() {
            self.groups.look_at_all();
        }
        match input {
            Input::Scanned(scan) => self.scanned(scan, now),
            Input::SiblingPlaces { function, identity, beside } => {
                self.catalog.set_sibling_places(&function, &identity, beside)
            }
            Input::Probed { function, identity, result } => self.probed(&function, &identity, result, now),
            Input::Resolved { server, result } => self.resolved(server, result, now),
            Input::Version { server, version } => self.is_version(server, version.as_ref()),
            Input::Spawned { worker, pid } => self.spawned(worker, pid, now),
            Input::SpawnFailed { worker, reason } => self.spawn_failed(worker, reason, now),
            Input::LibraryLost { worker, function } => self.library_lost(worker, &function, now),
            Input::Message { worker, message } => self.handle_message(worker, message, now),
            Input::Ended { worker, exit_report } => self.ended(worker, &exit_report, now),
            Input::Stop { by } => self.stop(by, now),
            Input::Rescan => {
                self.liveness_rounds.rescan = Some(now);
                self.schedule_failure_readings(now);
                self.remind_of_pauses(now);
                self.rescan();
            }
            Input::Changed => self.changed(),
            Input::Counted(counted) => self.counted(&counted, now),
            Input::ScoreboardRead(seen) => self.scoreboard_read(&seen, now),
            Input::LivenessRead(round, seen) => self.liveness_read(&round, seen, now),
            Input::FailuresRead(reading) => self.failures_read(reading, now),
            Input::QueuesRead { server, readings } => self.queues_read(server, readings, now),
            Input::ClearAttempts(of) => self.clear_attempts(&of),
            Input::Retry { function, asked } => self.retry(function, asked, now),
            Input::Rollback { function, version, asked } => self.roll_back(&function, version, asked, now),
            Input::Reload(config, requests) => self.reload(*config, requests, now),
            Input::Request { request, order } => self.carry_out(request, order, now),
            Input::Timer { read } => self.read = self.read.max(read),
        }
        self.follow_up(now);
        std::mem::take(&mut self.actions)
    }

    /// The steps after every input. Each sees the changes of the steps before it.
    fn follow_up(&mut self, now: Duration) {
        // First, since the steps below need a plan; the first plan is made once enough is known.
        self.complete_start(now);
        // Deadlines first: a worker that is killed now must not be counted as one that serves.
        self.tick(now);
        // Before the groups: it changes which functions share a process.
        self.advance_isolation(now);
        self.reconcile(now);
        // After the groups: a worker that was just told to drain must not use up a turn to connect.
        self.start_connecting(now);
        // Before the canaries, which wait for it.
        self.startup(now);
        self.reconcile_canaries(now);
        // After the canaries: it forgets groups that need no canary any more, and reports rollouts without old workers.
        self.finish_rollouts(now);
        self.finish_reload(now);
        self.finish_rollbacks(now);
        self.finish_retries(now);
        self.finish_requests(now);
        // After everything that changes states: it plans when to read the scoreboards of serving workers.
        self.watch_jobs(now);
        // Last: the manager is done when no worker is left.
        self.finish(now);
        self.report_awaited(now);
    }

    /// When [`Input::Timer`] is due next. `now` is that of the last [`handle`](Self::handle): what was due by then has
    /// been handled as far as possible, and the rest waits for another input.
    pub(crate) fn next_due(&self, now: Duration) -> Option<Duration> {
        if !matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) {
            let lives = self.workers.next(DueTime::Deadline, None).into_iter();
            return lives.chain(self.scoreboard_due()).chain(self.awaited_due()).min();
        }
        let retires = self.workers.next(DueTime::Retires, Some(now)).into_iter();
        let all = retires.chain(self.waits(now)).chain([self.spawns.after]).chain(self.canary_due(now));
        let all = all
            .chain(self.requests_due(now))
            .chain(self.scans.next)
            .chain(self.catalog.retry_due())
            .filter(|at| *at > now);
        // Deadlines, scoreboard reads and starts that are due stay in the list until they are handled.
        let reads = self.scoreboard_due().into_iter().chain(self.failures_due()).chain(self.liveness_due_at());
        all.chain(self.deadlines_due()).chain(reads).chain(self.more_starts(now)).min()
    }

    pub(super) fn push_action(&mut self, action: Action) {
        self.actions.push(action);
    }

    pub(super) fn report(&mut self, event: Event) {
        self.actions.push(Action::ReportEvent(event));
    }

    pub(super) fn scan(&mut self) {
        self.scans.running = true;
        self.push_action(Action::Scan);
    }

    /// Handles deadlines that are over.
    fn tick(&mut self, now: Duration) {
        if self.scans.next.take_if(|at| now >= *at).is_some() {
            self.scan();
        }
        if matches!(self.phase, ManagerPhase::Starting | ManagerPhase::Running) {
            self.catalog.retries(now).into_iter().for_each(|candidate| self.push_action(Action::ProbeAgain(candidate)));
        }
        let due = self.workers.between(DueTime::Deadline, None, self.read);
        due.into_iter().for_each(|id| self.trigger(id, Trigger::Tick, now));
    }
}
