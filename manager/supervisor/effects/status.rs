//! What `gm-native status` shows: the core's view, and the workers' scoreboards.

use std::time::{Duration, SystemTime};

use super::Effects;
use super::children::ChildKind;
use super::counters::{FunctionCounts, LongestJob};
use crate::control::{
    FailureRateStatus, FunctionStatus, JobServerState, JobServerStatus, LastFailureStatus, LastMinuteStatus,
    ManagerState, PrintedLine, RefusedFile, RunTimeStatus, RunningJobStatus, STATUS_SCHEMA, StatusReply,
};
use crate::crash::report::OutputLine;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::scoreboard::WorkerActivity;
use crate::supervisor::core::{Core, FunctionView, ReportedState};
use crate::supervisor::event::{AwaitedJob, Event, seconds};
use crate::supervisor::function_state::{self, local_time};
use crate::supervisor::job_failures::FailureRate;
use crate::supervisor::last_minute::CountedJobs;
use crate::supervisor::run_times::RunTimes;
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
    /// Everything there is to show now; the list of workers only on request.
    pub(crate) fn status(&mut self, core: &Core, instance: &str, with_workers: bool) -> StatusReply {
        let mut counts = self.all_counts(core);
        self.record_counts(core, &counts);
        let now = clock::now();
        let worker_counts = self.worker_counts(core);
        let listed = with_workers.then(|| core.worker_views()).into_iter().flatten();
        StatusReply {
            schema: STATUS_SCHEMA,
            version: version::SHORT.into(),
            pid: std::process::id(),
            instance: instance.into(),
            command: self.config.command.to_string(),
            uptime_seconds: core.uptime(now).as_secs(),
            state: manager_state(core),
            job_servers: job_servers(core, worker_counts.all, now),
            functions: core
                .function_views(now)
                .map(|view| {
                    let counts = counts.remove(&view.name).unwrap_or_default();
                    self.function(core, view, counts, now)
                })
                .collect(),
            refused: core.refused().map(|(_, path, reason)| RefusedFile { path, reason: reason.into() }).collect(),
            warnings: core.warnings().into_iter().chain(self.log_warnings()).collect(),
            failed_reload: None,
            worker_counts,
            workers: listed.map(|view| self.worker(core, view, now)).collect(),
            queues: None,
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

    /// What a worker printed and logged last, oldest first; `None` if there is no such worker.
    pub(crate) fn recent_output(&self, pid: u32) -> Option<Vec<PrintedLine>> {
        let mut workers = self.workers.values().filter_map(|id| self.children.get(id));
        let child = workers.find(|child| child.pid.as_raw().cast_unsigned() == pid)?;
        let ChildKind::Worker(worker) = &child.kind else { return None };
        let shown =
            |OutputLine { seconds_before, stream, text }| PrintedLine { seconds_ago: seconds_before, stream, text };
        Some(worker.output.recent.lines(clock::now()).into_iter().map(shown).collect())
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

    fn function(&self, core: &Core, view: FunctionView, counts: FunctionCounts, now: Duration) -> FunctionStatus {
        let FunctionCounts { counters, last_failure, busy, running, longest, run_times } = counts;
        let totals = core.job_totals(&view.name, counters.completed, counters.failed);
        let rate = core.failure_rate(&view.name, &totals, now);
        let lost = core.last_lost_job(&view.name).cloned();
        let last = last_failure.into_iter().chain(lost).max_by_key(|failure| failure.at);
        let failing = rate.filter(FailureRate::is_high).map(|rate| failing(&rate));
        let served = |hash| FunctionVersion { function: view.name.clone(), hash };
        let stored_at = view.version.and_then(|version| self.known.stored_at(&served(version)));
        FunctionStatus {
            version: view.version,
            crate_version: view.crate_version,
            version_stored: stored_at.map(local_time),
            pinned: view.is_pinned,
            state: function_state::state(&view.facts, failing, SystemTime::now()),
            workers_ready: view.facts.serving,
            workers_planned: view.facts.planned,
            workers_busy: busy,
            jobs_running: running,
            longest_job: longest.map(|longest| running_job(&longest, now)),
            last_minute: self.last_minute.count(&view.name, &totals, now).map(last_minute),
            run_time: view.version.and_then(|version| run_time(version, &run_times)),
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
            backing_off_seconds: view.facts.backing_off.map(|wait| wait.as_secs_f64()),
            ignored_files: view.ignored_files,
            paused_by: view.facts.pause.as_ref().map(|pause| pause.by.clone()),
            paused_since: view.facts.pause.map(|pause| pause.since),
            scaled_to: view.scaled_to,
            queue_warnings: view.queue_warnings,
            note: view.note,
            name: view.name,
        }
    }
}

fn failing(rate: &FailureRate) -> String {
    format!("{} of the latest {} jobs had no result", rate.failed, rate.jobs)
}

fn running_job(longest: &LongestJob, now: Duration) -> RunningJobStatus {
    let LongestJob { pid, job } = longest;
    RunningJobStatus {
        pid: pid.cast_unsigned(),
        handle: text(job.handle.as_deref()),
        unique: text(job.unique.as_deref()),
        seconds: now.saturating_sub(Duration::from_nanos(job.started_ns)).as_secs_f64(),
    }
}

fn last_minute(counted: CountedJobs) -> LastMinuteStatus {
    LastMinuteStatus {
        seconds: counted.over.as_secs_f64(),
        completed: counted.jobs.completed,
        failed: counted.jobs.unsuccessful(),
    }
}

fn run_time(version: ShortHash, times: &RunTimes) -> Option<RunTimeStatus> {
    let percentile = |share| times.percentile(share).map(seconds);
    Some(RunTimeStatus { version, jobs: times.jobs(), p50_seconds: percentile(0.5)?, p99_seconds: percentile(0.99)? })
}

fn job_servers(core: &Core, workers: usize, now: Duration) -> Vec<JobServerStatus> {
    let since = |at: Duration| {
        let ago = now.saturating_sub(at);
        (local_time(SystemTime::now().checked_sub(ago).unwrap_or(SystemTime::UNIX_EPOCH)), ago.as_secs_f64())
    };
    let show = |server: &crate::supervisor::core::JobServerState| JobServerStatus {
        address: server.name.clone(),
        state: match server.reported() {
            ReportedState::Nothing => JobServerState::Connecting,
            ReportedState::Up { since: at } => {
                let (since, seconds) = since(*at);
                JobServerState::Up { since, seconds }
            }
            ReportedState::Down { since: at, reason } => {
                let (since, seconds) = since(*at);
                JobServerState::Down { since, seconds, why: reason.clone() }
            }
        },
        last_answer_seconds_ago: server.last_answer(now).map(|at| now.saturating_sub(at).as_secs_f64()),
        workers_connected: server.workers(),
        workers,
        lost_wake_ups: server.lost_wake_ups(),
    };
    core.servers().map(show).collect()
}

/// What a client has sent, as text.
pub(super) fn text(bytes: Option<&[u8]>) -> Option<String> {
    bytes.map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}
