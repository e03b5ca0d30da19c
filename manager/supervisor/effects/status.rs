//! What `gm-native status` shows: the core's view, and the workers' scoreboards.

use std::time::Duration;

use super::Effects;
use super::children::ChildKind;
use super::counters::FunctionCounts;
use crate::control::{
    FailureRateStatus, FunctionStatus, JobServerStatus, LastFailureStatus, ManagerState, RefusedFile, StatusReply,
    WorkerCondition, WorkerStatus,
};
use crate::scoreboard::WorkerActivity;
use crate::supervisor::core::{Core, FunctionView, WorkerView};
use crate::supervisor::event::{AwaitedJob, Event, seconds};
use crate::system::child_poller::ChildId;
use crate::system::clock;
use crate::version;

/// How many workers a stop names in the log: enough to see what is wrong.
const MAX_AWAITED: usize = 20;

/// What the manager as a whole is doing.
pub(crate) fn manager_state(core: &Core) -> ManagerState {
    match (core.is_draining(), core.is_starting()) {
        (true, _) => ManagerState::Draining,
        (false, true) => ManagerState::Starting,
        (false, false) => ManagerState::Running,
    }
}

impl Effects {
    /// Everything there is to show now.
    pub(crate) fn status(&self, core: &Core, instance: &str) -> StatusReply {
        let now = clock::now();
        let mut counts = self.all_counts();
        StatusReply {
            version: version::SHORT.into(),
            pid: std::process::id(),
            instance: instance.into(),
            command: self.config.command.to_string(),
            uptime_seconds: core.uptime(now).as_secs(),
            state: manager_state(core),
            job_servers: self.job_servers(core),
            functions: core
                .function_views(now)
                .map(|view| {
                    let counts = counts.remove(&view.name).unwrap_or_default();
                    function(core, view, counts, now)
                })
                .collect(),
            refused: core.refused().map(|(_, path, reason)| RefusedFile { path, reason: reason.into() }).collect(),
            warnings: core.warnings().into_iter().chain(self.log_warnings()).collect(),
            failed_reload: None,
            workers: core.worker_views().map(|view| self.worker(view, now)).collect(),
            orphans_reaped: self.reaper.adopted,
        }
    }

    /// What is wrong with the log, a sentence each.
    fn log_warnings(&self) -> impl Iterator<Item = String> {
        let not_opened = self.event_log.unopened.iter().cloned();
        self.event_log
            .logger
            .lost_lines()
            .into_iter()
            .chain(self.event_log.logger.not_reopened().map(str::to_owned))
            .chain(not_opened)
    }

    /// Logs what the remaining workers are doing, which is what the manager waits for.
    pub(super) fn report_awaited(&mut self) {
        let now = clock::now();
        let events: Vec<Event> =
            self.workers.values().filter_map(|id| self.awaited(*id, now)).take(MAX_AWAITED).collect();
        events.iter().for_each(|event| self.report(event));
    }

    fn awaited(&self, id: ChildId, now: Duration) -> Option<Event> {
        let child = self.children.get(&id)?;
        let ChildKind::Worker(worker) = &child.kind else { return None };
        let seen = worker.scoreboard.read();
        let job = seen.job.filter(|_| seen.activity.has_job()).map(|job| AwaitedJob {
            function: worker.functions.get(job.function).cloned(),
            handle: String::from_utf8_lossy(job.handle.as_deref().unwrap_or_default()).into_owned(),
            seconds: seconds(now.saturating_sub(Duration::from_nanos(job.started_ns))),
        });
        let doing = match seen.activity {
            WorkerActivity::Starting => "starting",
            WorkerActivity::Running => "running a job",
            WorkerActivity::Answering | WorkerActivity::AnswerPending => "sending a result",
            WorkerActivity::Idle | WorkerActivity::Draining => "leaving its job servers",
            WorkerActivity::Disconnected => "dropping its objects",
        };
        Some(Event::WaitingForWorker { pid: child.pid.as_raw(), functions: worker.functions.clone(), doing, job })
    }

    fn job_servers(&self, core: &Core) -> Vec<JobServerStatus> {
        let workers = core.worker_views().count();
        let show = |server: &crate::supervisor::core::JobServerState| JobServerStatus {
            address: server.name.clone(),
            workers_connected: server.workers(),
            workers,
            lost_wake_ups: server.lost_wake_ups(),
        };
        core.servers().map(show).collect()
    }

    fn worker(&self, view: WorkerView, now: Duration) -> WorkerStatus {
        let child = self.workers.get(&view.id).and_then(|id| self.children.get(id));
        let worker = child.and_then(|child| match &child.kind {
            ChildKind::Worker(worker) => Some(worker),
            _ => None,
        });
        let scoreboard = worker.map(|worker| worker.scoreboard.read());
        let job = scoreboard.as_ref().and_then(|scoreboard| scoreboard.job.clone());
        let busy = scoreboard.as_ref().is_some_and(|scoreboard| scoreboard.activity.has_job());
        let jobs = worker.map_or(0, |worker| {
            let counters = (0..worker.functions.len()).map(|index| worker.scoreboard.counters(index));
            counters.fold(0_u64, |sum, counters| sum.saturating_add(counters.jobs()))
        });
        let state = match view.state.condition(busy) {
            WorkerCondition::Idle if view.is_cut_off => WorkerCondition::CutOff,
            state => state,
        };
        WorkerStatus {
            pid: view.pid.cast_unsigned(),
            state,
            functions: view.functions,
            current_function: job.as_ref().and_then(|job| worker?.functions.get(job.function).cloned()),
            handle: job.as_ref().and_then(|job| Some(String::from_utf8_lossy(job.handle.as_deref()?).into_owned())),
            job_seconds: job.map(|job| now.saturating_sub(Duration::from_nanos(job.started_ns)).as_secs_f64()),
            generation: view.generation,
            jobs,
            started_seconds_ago: now.saturating_sub(view.born).as_secs(),
        }
    }
}

fn function(core: &Core, view: FunctionView, counts: FunctionCounts, now: Duration) -> FunctionStatus {
    let FunctionCounts { counters, last_failure } = counts;
    let totals = core.job_totals(&view.name, counters.completed, counters.failed);
    let rate = core.failure_rate(&view.name, &totals, now);
    let lost = core.last_lost_job(&view.name).cloned();
    let last = last_failure.into_iter().chain(lost).max_by_key(|failure| failure.at);
    FunctionStatus {
        version: view.version,
        crate_version: view.crate_version,
        workers_ready: if view.pause.is_some() { 0 } else { core.serving(&view.name) },
        workers_planned: view.planned,
        jobs_completed: totals.completed,
        jobs_failed: totals.failed,
        jobs_crashed: totals.crashed,
        jobs_timed_out: totals.timed_out,
        failing: rate.map(|rate| FailureRateStatus {
            failed: rate.failed,
            jobs: rate.jobs,
            seconds: rate.over.as_secs_f64(),
            high: rate.is_high(),
        }),
        last_failure: last.map(|last| LastFailureStatus {
            kind: last.kind.label().into(),
            seconds_ago: now.saturating_sub(last.at).as_secs_f64(),
            handle: last.handle,
            version: last.version,
            reason: last.reason,
        }),
        backing_off_seconds: view.backing_off.map(|wait| wait.as_secs_f64()),
        ignored_files: view.ignored_files,
        paused_by: view.pause.as_ref().map(|pause| pause.by.clone()),
        paused_since: view.pause.map(|pause| pause.since),
        scaled_to: view.scaled_to,
        queue_warnings: view.queue_warnings,
        note: view.note,
        name: view.name,
    }
}
