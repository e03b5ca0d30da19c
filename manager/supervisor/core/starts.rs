//! Workers: starting them, handling their messages, and their changes of state.

use std::collections::BTreeMap;
use std::time::Duration;

use super::isolation::load_order;
use super::pauses::Offer;
use super::rollouts::CanaryVersions;
use super::worker_record::{EarlyRetirement, JobWatch, Retirement, StartProgress};
use super::workers::FunctionSet;
use super::{Action, Core, GroupKey, ManagerPhase, StartStage, WorkerRecord, WorkerStart};
use crate::config::Config;
use crate::plan::shuffle;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::backoff::IdleDeath;
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::liveness::Liveness;
use crate::supervisor::reconcile::{JobAllowance, WorkerId};
use crate::supervisor::worker_state::{Effect, ExitReason, Trigger, WorkerState};
use crate::system::clock;
use crate::worker::messages::WorkerMessage;

/// How many warnings about settings are remembered, over all functions.
const MAX_UNREAD: usize = 1000;

impl Core {
    /// Starts a worker of a group, with those of its functions that may be served now.
    pub(super) fn start(
        &mut self,
        key: &GroupKey,
        wanted: &[FunctionName],
        canary: Option<CanaryVersions>,
        now: Duration,
    ) {
        let (worker, generation) = self.spawns.next_worker();
        let functions: Vec<_> = shuffle(wanted, |name| self.config.priority(name), &mut self.random)
            .into_iter()
            .filter_map(|name| self.version_for(&name, canary.as_ref()).cloned().map(|version| (name, version)))
            .collect();
        let named: Vec<FunctionVersion> = functions
            .iter()
            .map(|(name, version)| FunctionVersion { function: name.clone(), hash: version.hash })
            .collect();
        let load_order = load_order(&named, &self.established, canary.as_deref().unwrap_or_default());
        let servers: Vec<usize> = self.used_servers().collect();
        let splay = clock::fraction(self.config.worker_restart_splay, self.random.f64());
        let is_canary = canary.is_some();
        self.workers.insert(
            worker,
            WorkerRecord {
                key: key.clone(),
                alike: FunctionSet::new(&named),
                functions: named,
                load_order: load_order.clone(),
                state: WorkerState::Starting { deadline: now.saturating_add(self.start_timeout(wanted)) },
                since: now,
                pid: None,
                generation,
                born: now,
                start: StartProgress { stage: StartStage::Begins, reached: now, begun: 0, connects: None },
                has_served: false,
                retirement: Retirement {
                    at: now.saturating_add(self.config.max_worker_lifetime).saturating_add(splay),
                    runs: JobAllowance::default(),
                    early: None,
                },
                job_watch: JobWatch::default(),
                liveness: Liveness::default(),
                offer: Offer::default(),
                drain_report: None,
                cut_off_reports: 0,
                servers: servers.clone(),
                canary,
            },
        );
        let pause = self.config.worker_initial_spawn_splay;
        // A retry after a refused process has its own back-off, and does not use up the others' turns.
        if !pause.is_zero() && !self.has_failed(key, now) {
            self.spawns.after = now.saturating_add(pause);
        }
        let siblings = self.plan.workers();
        let dedicated = *key != GroupKey::All;
        let servers =
            servers.iter().map(|n| &self.servers[*n]).map(|s| (s.name.clone(), s.addresses.clone())).collect();
        self.push_action(Action::Start(WorkerStart {
            worker,
            functions,
            load_order,
            dedicated,
            is_canary,
            generation,
            siblings,
            servers,
        }));
    }

    /// The longest `start_timeout` of the functions: until the first of them is reached, any may be the slow one.
    pub(super) fn start_timeout(&self, functions: &[FunctionName]) -> Duration {
        functions.iter().map(|name| self.config.start_timeout(name)).max().unwrap_or(self.config.start_timeout)
    }

    pub(super) fn spawned(&mut self, id: WorkerId, pid: i32, now: Duration) {
        self.workers.change(id, |worker| worker.pid = Some(pid));
        if let Some(worker) = self.workers.get(&id) {
            if self.spawns.refused.remove(&worker.key).is_some() {
                self.groups.look_at_all();
            }
            let names = worker.names();
            let event = Event::WorkerStarted { pid, functions: names.clone(), generation: worker.generation };
            self.report(event);
            // The time between the decision and the process does not count.
            let deadline = now.saturating_add(self.start_timeout(&names));
            self.trigger(id, Trigger::Advances(deadline), now);
        }
    }

    /// No process could be created: the group backs off, longer each time, since a limit that is too low will not
    /// change by itself. Other groups do not wait, since they may not reach that limit. Starts that were decided
    /// together fail together, which is logged once.
    pub(super) fn spawn_failed(&mut self, id: WorkerId, reason: String, now: Duration) {
        let Some(worker) = self.workers.remove(id) else { return };
        let is_told = self.spawns.refusal(now).is_some();
        let longest = self.config.backoff_max.max(SPAWN_PAUSE);
        let refused = self.spawns.refused.entry(worker.key.clone()).or_default();
        if now < refused.until {
            return;
        }
        refused.pause = refused.pause.saturating_mul(2).clamp(SPAWN_PAUSE, longest);
        refused.until = now.saturating_add(refused.pause);
        self.groups.look_at_all();
        refused.reason = format!("no process could be started: {reason}");
        self.failures.last = Some((worker.names(), format!("no worker could be started: {reason}")));
        if !is_told {
            self.report(Event::SpawnFailed { functions: worker.names(), reason });
        }
    }

    /// A stored library is gone, or was changed: it is stored again from worker_dir, and until then its function waits.
    /// The group's other functions are started without it.
    pub(super) fn library_lost(&mut self, id: WorkerId, function: &FunctionName, now: Duration) {
        if let Some(candidate) = self.catalog.probe_again(function) {
            self.push_action(Action::Probe(candidate));
        }
        let Some(worker) = self.workers.remove(id) else { return };
        let reason = match self.catalog.is_pinned(function) {
            false => "its stored library is gone, or was changed; it is made again from worker_dir",
            true => {
                "the library it is pinned to is gone from the store, or was changed; roll it back to another version"
            }
        };
        self.failures.last = Some((worker.names(), format!("{function}: {reason}")));
        self.failures.record(function.clone(), reason.into());
        self.record_failure(function, &worker, IdleDeath::Start, now);
    }

    /// Handles a worker's message. The effects handle those about sockets.
    pub(super) fn handle_message(&mut self, id: WorkerId, message: WorkerMessage, now: Duration) {
        match message {
            WorkerMessage::Loading { function } => self.enter_start_stage(id, StartStage::Loading(function), now),
            WorkerMessage::Making { function } => self.enter_start_stage(id, StartStage::Making(function), now),
            WorkerMessage::UnreadSetting { text } => self.unread_setting(id, text),
            WorkerMessage::Loaded => {
                self.enter_start_stage(id, StartStage::Over, now);
                self.trigger(id, Trigger::Loaded, now);
                self.has_loaded(id, now);
            }
            WorkerMessage::Ready => self.trigger(id, Trigger::Ready, now),
            WorkerMessage::Serving => self.serves(id, now),
            WorkerMessage::FewJobsLeft => self.set_job_allowance(id, JobAllowance::Few),
            WorkerMessage::NoJobsLeft => self.set_job_allowance(id, JobAllowance::None),
            WorkerMessage::MemoryLimitExceeded { bytes } => self.exceeds_memory_limit(id, bytes, now),
            WorkerMessage::MemoryLimitExceededAtStart { bytes } => self.exceeds_memory_limit_at_start(id, bytes),
            WorkerMessage::Draining { jobs } => self.worker_drains(id, jobs, now),
            WorkerMessage::CannotServe { function, reason } => self.cannot_serve(id, function, reason, now),
            WorkerMessage::ServerUp { server } => self.server_up(id, server, now),
            WorkerMessage::ServerDown { server, reason } => self.server_down(id, server, reason, now),
            WorkerMessage::ServerStillDown { server, reason } => self.server_still_down(id, server, reason, now),
            WorkerMessage::ServerUnresponsive { server } => self.server_unresponsive(id, server),
            WorkerMessage::WakeUpLost { server } => self.wake_up_lost(id, server, now),
            WorkerMessage::JobFailed { function } => self.job_failed(id, function, now),
            WorkerMessage::AnswerPending { server, job } => self.answer_waits(id, server, job),
            WorkerMessage::Offering { number } => self.is_offering(id, number),
            WorkerMessage::Disconnected | WorkerMessage::Log { .. } | WorkerMessage::Dropped { .. } => {}
            WorkerMessage::Connection { .. }
            | WorkerMessage::Disconnection { .. }
            | WorkerMessage::ForkedChildReturned { .. } => {}
        }
    }

    /// Logged once for all workers of a function, until the configuration is read again.
    fn unread_setting(&mut self, id: WorkerId, text: String) {
        let Some(version) = self.workers.get(&id).and_then(WorkerRecord::at_start) else { return };
        let warning = (version.function.clone(), text);
        // A library can send any text, so what is remembered is bounded.
        if self.warned.unread_settings.len() < MAX_UNREAD && self.warned.unread_settings.insert(warning.clone()) {
            let (function, text) = warning;
            self.report(Event::LibraryWarning { function, text });
        }
    }

    /// It is close to, or has reached, `max_runs_per_worker`.
    fn set_job_allowance(&mut self, id: WorkerId, runs: JobAllowance) {
        self.workers.change(id, |worker| match worker.retirement.runs {
            JobAllowance::None => {}
            JobAllowance::Few | JobAllowance::Many => worker.retirement.runs = runs,
        });
    }

    /// It exceeds `max_memory`: it is replaced like one that is too old.
    fn exceeds_memory_limit(&mut self, id: WorkerId, bytes: u64, now: Duration) {
        self.workers.change(id, |worker| worker.retirement.retire_early(EarlyRetirement::OverMemoryLimit, now));
        let Some(worker) = self.workers.get(&id) else { return };
        let (pid, functions, mib) = (worker.pid, worker.names(), mebibytes(bytes));
        self.report_with_pid(pid, |pid| Event::MemoryLimitExceeded { pid, functions, mib });
    }

    /// It exceeds `max_memory` right after its start, so a replacement would, too. Reported once for each set of
    /// functions.
    fn exceeds_memory_limit_at_start(&mut self, id: WorkerId, bytes: u64) {
        let Some(worker) = self.workers.get(&id) else { return };
        let names = worker.names();
        let most = self.config.least(names.iter().map(FunctionName::as_str), Config::max_memory);
        let (mib, max_mib) = (mebibytes(bytes), mebibytes(most.unwrap_or_default()));
        if self.warned.too_large_at_start.insert(names.clone()) {
            self.report(Event::MemoryLimitTooLow { functions: names, mib, max_mib });
        }
    }

    /// A worker's start has reached a stage. Functions start one after the other, so each has its own `start_timeout`
    /// from the moment it is reached.
    fn enter_start_stage(&mut self, id: WorkerId, stage: StartStage, now: Duration) {
        let reached = self.workers.change(id, |worker| {
            (worker.start.stage, worker.start.reached) = (stage, now);
            worker.function_reached()
        });
        if let Some(function) = reached.flatten() {
            let deadline = now.saturating_add(self.config.start_timeout(&function));
            self.trigger(id, Trigger::Advances(deadline), now);
            self.start_advances(id);
        }
    }

    /// Applies a trigger to a worker's state.
    pub(super) fn trigger(&mut self, id: WorkerId, trigger: Trigger, now: Duration) {
        let changed = self.workers.change(id, |worker| {
            let before = worker.state;
            let (state, step) = before.step(trigger, now);
            worker.state = state;
            if std::mem::discriminant(&before) != std::mem::discriminant(&state) {
                worker.since = now;
            }
            worker.has_served |= state.is_serving();
            (before, state, step)
        });
        let (Some((before, state, step)), Some(worker)) = (changed, self.workers.get(&id)) else { return };
        let (pid, functions) = (worker.pid, worker.names());
        let limit = worker.limit(&self.config, now);
        let left_by_itself =
            matches!(state, WorkerState::Draining { reason: ExitReason::ByItself, .. }) && before.is_live();
        match step {
            Effect::Nothing => {}
            Effect::Activate => self.push_action(Action::Activate(id)),
            Effect::Drain => self.push_action(Action::Drain(id)),
            Effect::Terminate => {
                self.push_action(Action::Drain(id));
                self.push_action(Action::TerminateOverdue(id));
            }
            Effect::Kill(reason) => {
                self.push_action(Action::Kill(id));
                let reason = self.stop_signals_kill(reason);
                self.report_with_pid(pid, |pid| Event::WorkerKilled { pid, functions: functions.clone(), reason });
            }
        }
        if step == Effect::Kill(ExitReason::StartTimeout) {
            self.start_timed_out(id, now);
        }
        if let (WorkerState::Draining { reason, .. }, Effect::Drain) = (state, step) {
            let limit = limit.filter(|_| reason == ExitReason::Replaced);
            self.report_with_pid(pid, |pid| Event::WorkerDraining { pid, functions, reason, limit });
        } else if left_by_itself {
            let reason = ExitReason::ByItself;
            self.report_with_pid(pid, |pid| Event::WorkerDraining { pid, functions, reason, limit: None });
        }
    }

    /// Logs an event of a worker, which has a process by then.
    pub(super) fn report_with_pid(&mut self, pid: Option<i32>, event: impl FnOnce(i32) -> Event) {
        if let Some(pid) = pid {
            self.report(event(pid));
        }
    }

    fn serves(&mut self, id: WorkerId, now: Duration) {
        self.trigger(id, Trigger::Serving, now);
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.state.is_serving()) else { return };
        let (pid, functions, generation) = (worker.pid, worker.names(), worker.generation);
        let seconds = seconds(now.saturating_sub(worker.born));
        self.forget_failures(&functions, now);
        self.report_with_pid(pid, |pid| Event::WorkerServing { pid, functions, generation, seconds });
    }

    /// Functions are served again: forgets why they were not, unless the next start still backs off.
    fn forget_failures(&mut self, functions: &[FunctionName], now: Duration) {
        let waits = |function: &&FunctionName| self.backing_off(function, now).is_some();
        let served: Vec<FunctionName> = functions.iter().filter(|function| !waits(function)).cloned().collect();
        self.failures.forget_reasons(&served);
    }

    fn cannot_serve(&mut self, id: WorkerId, function: usize, reason: String, now: Duration) {
        let Some(worker) = self.workers.get(&id).filter(|worker| matches!(worker.state, WorkerState::Starting { .. }))
        else {
            return;
        };
        let pid = worker.pid;
        let Some(failed) = worker.functions.get(function).cloned() else { return };
        let function = failed.function.clone();
        self.failures.last = Some((worker.names(), format!("{function}: {reason}")));
        self.failures.record(function.clone(), reason.clone());
        let (of, text) = (function.clone(), reason.clone());
        self.report_with_pid(pid, |pid| Event::CannotServe { pid, function: of, reason: text });
        self.trigger(id, Trigger::CannotServe, now);
        // Taken out, so that it can be read while others are changed.
        let Some(worker) = self.workers.remove(id) else { return };
        if !self.is_isolated_by(&worker, &failed, &reason, now)
            && !self.canary_cannot_serve(&worker, &function, &reason, now)
        {
            self.record_failure(&function, &worker, IdleDeath::Start, now);
        }
        self.workers.insert(id, worker);
    }
}

/// The first pause after the system refused to create a process.
const SPAWN_PAUSE: Duration = Duration::from_secs(1);

/// The back-off of a group after the system refused to create a process, until one succeeds.
#[derive(Debug, Default)]
pub(super) struct SpawnFailures {
    /// Nothing is started until then.
    pub(super) until: Duration,
    /// The length of the current pause.
    pause: Duration,
    /// The system's error.
    reason: String,
}

/// The state of process creation: quota per iteration, and what the system refused.
#[derive(Default)]
pub(super) struct Spawns {
    last_worker: u64,
    /// Workers started in this turn of the loop.
    pub(super) this_turn: u32,
    /// When the next start is due, if starts are spread.
    pub(super) after: Duration,
    /// Groups for which the system refused a process.
    pub(super) refused: BTreeMap<GroupKey, SpawnFailures>,
}

impl Spawns {
    /// The id of the next worker, and its generation.
    fn next_worker(&mut self) -> (WorkerId, u64) {
        self.last_worker += 1;
        self.this_turn += 1;
        (WorkerId(self.last_worker), self.last_worker)
    }

    /// The last worker that was started.
    pub(super) fn last(&self) -> WorkerId {
        WorkerId(self.last_worker)
    }

    /// Why the system has just refused a process, if it has.
    pub(super) fn refusal(&self, now: Duration) -> Option<&str> {
        self.refused.values().find(|refused| now < refused.until).map(|refused| refused.reason.as_str())
    }

    /// Whether the system has just refused the group a process.
    pub(super) fn is_refused(&self, key: &GroupKey, now: Duration) -> bool {
        self.refusal_of(key, now).is_some()
    }

    /// Why the system has just refused the group a process, if it has.
    pub(super) fn refusal_of(&self, key: &GroupKey, now: Duration) -> Option<&str> {
        self.refused.get(key).filter(|refused| now < refused.until).map(|refused| refused.reason.as_str())
    }
}

impl Core {
    /// Whether the phase lets new workers start.
    pub(super) fn is_running(&self) -> bool {
        self.phase == ManagerPhase::Running
    }
}

/// Rounded up: more than 10 MiB is not 10 MiB.
fn mebibytes(bytes: u64) -> u64 {
    bytes.div_ceil(1 << 20)
}
