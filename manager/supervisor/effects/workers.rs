//! Workers: their commands, their messages, and their exits.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use gm_plugin_api::abi::level;
use nix::libc;
use nix::sys::signal::Signal;

use super::Effects;
use super::children::{ChildKind, WorkerHandle};
use super::counters::{RetiredVersion, failed_job};
use super::post_mortems::Remains;
use crate::config::Config;
use crate::crash::report::{RecentJob, ResourceUsage};
use crate::gearman::packet::encode;
use crate::logging::{Level, escape};
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::scoreboard::{self, BUCKETS, ScoreboardView, WorkerActivity};
use crate::supervisor::catalog::CheckedVersion;
use crate::supervisor::core::{
    ExitReport, Input, JobReply, LivenessRound, ScoreboardReading, WorkerLiveness, WorkerStart,
};
use crate::supervisor::exit_cause::{ExitCause, JobInHand, judge};
use crate::supervisor::out_of_memory::OutOfMemory;
use crate::supervisor::recent_output::OutputStream;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::run_times::RunTimes;
use crate::system::child_poller::ChildId;
use crate::system::clock;
use crate::system::crash_request;
use crate::system::errors::reason;
use crate::system::limits::{self, explained};
use crate::system::process::RunState;
use crate::system::reap::{self, ExitStatus, Reaped};
use crate::system::spawn::file_holding;
use crate::worker::ROLE;
use crate::worker::messages::{
    self, Command, JobName, WorkerConfig, WorkerFunction, WorkerLimits, WorkerMessage, WorkerServer,
};

/// Descriptors the manager holds of each child: its channel and its output.
const EACH: usize = 3;
/// Descriptors the manager has for itself, about: log, lock, pid file, control socket, what it waits with.
const OWN: usize = 24;
/// Copies of sockets that a worker may have handed over: one for each server, and some that are being closed.
const COPIES: usize = 1024;

impl Effects {
    pub(super) fn start(&mut self, start: &WorkerStart) {
        let worker = start.worker;
        if let Some((function, _)) = start.functions.iter().find(|(name, version)| !self.is_intact(name, version)) {
            return self.inputs.push_back(Input::LibraryLost { worker, function: function.clone() });
        }
        match self.try_start(start) {
            Ok(pid) => self.inputs.push_back(Input::Spawned { worker, pid }),
            Err(error) => self.inputs.push_back(Input::SpawnFailed { worker, reason: explained(&error) }),
        }
    }

    fn try_start(&mut self, start: &WorkerStart) -> io::Result<i32> {
        let worker_config = file_holding(&messages::encode(&self.worker_config(start)))?;
        limits::leave_spare(self.descriptors_with(start.servers.len()))?;
        let (scoreboard_fd, scoreboard) = scoreboard::create(start.functions.len(), self.crash_workload_max())?;
        let denied = self.lost_jobs.denied.share()?;
        let functions = start.functions.iter().map(|(name, _)| name.clone()).collect();
        let versions = start.functions.iter().map(|(name, version)| key(name, version)).collect();
        let max_memory_hard =
            self.config.least(start.functions.iter().map(|(name, _)| name.as_str()), Config::max_memory_hard);
        let worker = WorkerHandle {
            id: start.worker,
            since: clock::now(),
            scoreboard,
            functions,
            versions,
            copies: Default::default(),
            starts: None,
            ran: Vec::new(),
            forks: Default::default(),
            is_killed: false,
            max_memory_hard,
            output: Default::default(),
        };
        let (child, pid) = self.spawn(ROLE, vec![scoreboard_fd, worker_config, denied], ChildKind::Worker(worker))?;
        self.workers.insert(start.worker, child);
        Ok(pid.as_raw())
    }

    /// How many descriptors will be in use when one more worker has started and all have sent copies of their
    /// connections. They are counted, because the highest number says little: closed descriptors leave gaps.
    fn descriptors_with(&self, servers: usize) -> usize {
        let of_child = |child: &super::children::ManagedChild| match &child.kind {
            ChildKind::Worker(worker) => EACH.saturating_add(servers.max(worker.copies.len())),
            _ => EACH,
        };
        let children = self.children.values().map(of_child).sum::<usize>();
        let own = OWN.saturating_add(self.post_mortems.descriptors());
        children.saturating_add(EACH).saturating_add(servers).saturating_add(own)
    }

    fn worker_config(&self, start: &WorkerStart) -> WorkerConfig {
        let config = &self.config;
        let functions = start.functions.iter().map(|(name, version)| WorkerFunction {
            name: name.clone(),
            symbol: format!("{}{name}", config.prefix),
            library: version.library.clone(),
            beside: self.known.siblings(&key(name, version)),
            elsewhere: self.known.elsewhere(&key(name, version)),
            version: version.hash,
            settings: config
                .functions
                .get(name.as_str())
                .map(|function| function.settings.0.clone())
                .unwrap_or_default(),
        });
        let names = || start.functions.iter().map(|(name, _)| name.as_str());
        let name = match start.functions.as_slice() {
            [(name, version)] if start.dedicated => format!("{name}/{}", version.hash),
            several => format!("all-{}/generation-{}", several.len(), start.generation),
        };
        WorkerConfig {
            manager: std::process::id() as i32,
            functions: functions.collect(),
            load_order: start.load_order.clone(),
            servers: start
                .servers
                .iter()
                .map(|(name, addresses)| WorkerServer { name: name.clone(), addresses: addresses.clone() })
                .collect(),
            name,
            host: self.host.clone(),
            generation: start.generation,
            verbosity: self.log_level(),
            siblings: start.siblings,
            is_canary: start.is_canary,
            limits: WorkerLimits {
                max_runs: config.max_runs,
                max_memory: config.least(names(), Config::max_memory),
                max_memory_hard: config.least(names(), Config::max_memory_hard),
                prefetch: names().map(|name| config.prefetch(name)).min().unwrap_or(1),
                prefetch_hold: names().map(|name| config.prefetch_hold(name)).min().unwrap_or_default(),
                prefetch_probation: names().map(|name| config.prefetch_probation(name)).max().unwrap_or_default(),
                max_packet: config.max_packet,
                connect_timeout: config.connect_timeout,
                echo_interval: config.echo_interval,
                echo_timeout: config.echo_timeout,
                stop_timeout: config.stop_timeout,
                crash_workload_max: self.crash_workload_max() as u64,
                grace: config.graceful_shutdown_wait_time,
            },
        }
    }

    /// Workloads are within `max_packet`, so more room is of no use.
    fn crash_workload_max(&self) -> usize {
        usize::try_from(self.config.crash_workload_max.min(self.config.max_packet)).unwrap_or(usize::MAX)
    }

    /// Sends a command without waiting.
    pub(super) fn command(&mut self, id: WorkerId, command: &Command) {
        let Some(child) = self.workers.get(&id).and_then(|id| self.children.get(id)) else { return };
        let pid = child.pid;
        if let Err(error) = child.channel.send(&messages::encode(command), Duration::ZERO) {
            self.log(Level::Debug, pid.as_raw(), &format!("worker {pid} takes no order: {}", reason(&error)));
            // The command cannot be sent, so a signal is used instead: to drain, or to exit if the worker would
            // otherwise wait forever.
            match command {
                Command::Drain => self.terminate_worker(id),
                // It would go on taking jobs of a paused function.
                Command::Offer { .. } => self.terminate_worker(id),
                Command::Connect | Command::Activate => self.kill_worker(id),
                // A worker that cannot be asked will not answer.
                Command::Ping | Command::Promote | Command::Verbosity(_) | Command::Addresses { .. } => {}
            }
        }
    }

    pub(super) fn terminate_overdue(&self, id: WorkerId) {
        if let Some(child) = self.workers.get(&id).and_then(|child| self.children.get(child)) {
            crash_request::ask(child.pid);
        }
        self.terminate_worker(id);
    }

    pub(super) fn terminate_worker(&self, id: WorkerId) {
        if let Some(child) = self.workers.get(&id).and_then(|child| self.children.get(child)) {
            reap::signal(child.pid, Signal::SIGTERM);
        }
    }

    pub(super) fn kill_worker(&mut self, id: WorkerId) {
        if let Some(child) = self.workers.get(&id) {
            self.kill(*child);
        }
    }

    pub(super) fn receive_from_worker(&mut self, id: ChildId, message: &[u8], fd: Option<OwnedFd>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let pid = child.pid.as_raw();
        let ChildKind::Worker(worker) = &mut child.kind else { return };
        let worker_id = worker.id;
        let Ok(message) = messages::decode::<WorkerMessage>(message) else {
            let size = message.len();
            return self.log(Level::Debug, pid, &format!("worker {pid} sent {size} bytes that are no message of ours"));
        };
        match (message, fd) {
            (WorkerMessage::Connection { number, server }, Some(socket)) => {
                if worker.copies.len() < COPIES
                    && let Some((_, old)) = worker.copies.insert(number, (server, socket))
                {
                    self.requeue(old);
                }
            }
            (WorkerMessage::Disconnection { number }, _) => {
                if let Some((_, copy)) = worker.copies.remove(&number) {
                    self.requeue(copy);
                }
            }
            (WorkerMessage::Log { level, job, text }, _) => self.plugin_logged(id, level, job, &text),
            (WorkerMessage::ForkedChildReturned { child, job }, _) => {
                if let Some(turn) = worker.forks.ask(clock::now()) {
                    let text = fork_came_back(child, turn.skipped);
                    self.plugin_logged(id, level::WARN, job, &text);
                }
            }
            (WorkerMessage::Dropped { lines }, _) => {
                let text = format!(
                    "{lines} log lines of worker {pid} were dropped, since they came faster than they could be written"
                );
                self.log(Level::Warn, pid, &text);
            }
            (message, _) => {
                match &message {
                    WorkerMessage::Loading { function } | WorkerMessage::Making { function } => {
                        worker.starts = Some(*function);
                    }
                    WorkerMessage::Loaded => worker.starts = None,
                    _ => {}
                }
                self.inputs.push_back(Input::Message { worker: worker_id, message });
            }
        }
    }

    fn plugin_logged(&mut self, id: ChildId, level: u8, job: Option<JobName>, text: &str) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let ChildKind::Worker(worker) = &mut child.kind else { return };
        worker.output.recent.add(OutputStream::Log, text.as_bytes(), clock::now());
        let level = match level {
            level::ERROR => Level::Error,
            level::WARN => Level::Warn,
            0 | level::INFO => Level::Worker,
            level::DEBUG => Level::Debug,
            _ => Level::Crazy,
        };
        if !self.event_log.logger.enabled(level) {
            return;
        }
        let about = match &job {
            Some(JobName { function, handle }) => format!("{} {}", escape(function), escape(handle)),
            None => crate::supervisor::event::several(&worker.functions),
        };
        let pid = child.pid.as_raw();
        self.log(level, pid, &format!("{about}: {}", escape(text)));
    }

    /// A worker has exited: its scoreboard is read now. Its connections are closed as soon as the core has decided
    /// about its job.
    pub(super) fn worker_ended(&mut self, worker: WorkerHandle, reaped: &Reaped) {
        self.workers.remove(&worker.id);
        let seen = worker.scoreboard.read();
        let exit_cause = judge(reaped.end, &seen, clock::now());
        let mut jobs = 0;
        for (index, version) in worker.versions.iter().enumerate() {
            let counters = worker.scoreboard.counters(index);
            jobs = counters.jobs().saturating_add(jobs);
            let failure = worker.scoreboard.last_failure(index).map(|failure| failed_job(failure, version.hash));
            let run_times = if seen.overwritten { [0; BUCKETS] } else { worker.scoreboard.intact_run_times(index) };
            let exited = RetiredVersion { version: version.hash, counters, run_times: RunTimes(run_times) };
            self.past.entry(version.function.clone()).or_default().add(exited, failure);
        }
        let lost = match &exit_cause {
            ExitCause::InJob(lost) | ExitCause::Answering(lost) => Some(lost),
            _ => None,
        };
        let lost_job = lost.is_some() || exit_cause == ExitCause::Unknown;
        let server = lost.and_then(|lost| worker.copies.get(&lost.connection)).map(|(server, _)| *server);
        let function = lost.map_or(0, |lost| lost.function);
        // If the job is unknown but the worker has only one function, it is that function's.
        let known = lost.is_some() || worker.functions.len() == 1;
        let function = worker.functions.get(function).filter(|_| known).cloned();
        let completed = function.map_or(0, |function| self.counters(&function).completed);
        let is_counted = seen.activity == WorkerActivity::AnswerPending;
        let out_of_memory = self.out_of_memory(&worker, reaped);
        self.lost_jobs.orphaned.insert(worker.id, worker.copies);
        let cut_another = match &exit_cause {
            ExitCause::InJob(_) | ExitCause::Answering(_) => seen.sending_elsewhere,
            // It belongs to no job in hand, so it is from an earlier one.
            ExitCause::OutsideJob => seen.sending && jobs > 0,
            ExitCause::Drained | ExitCause::Unknown => false,
        };
        let Reaped { pid, end, peak_kib, cpu } = *reaped;
        let may_need_report = lost_job || matches!(end, ExitStatus::Signal(_));
        let recent_jobs = if may_need_report { recent_jobs(&worker.scoreboard, &worker.functions) } else { Vec::new() };
        let remains = may_need_report.then(|| {
            let now = clock::now();
            // Where it cannot be copied, the report says that there is none.
            let snapshot = worker.scoreboard.copy_crash_area().ok().flatten().map(File::from);
            let lived_seconds = now.saturating_sub(worker.since).as_secs_f64();
            let usage = ResourceUsage { peak_kib, cpu_seconds: cpu.as_secs_f64(), lived_seconds };
            let output = worker.output.recent.lines(now);
            Remains { snapshot, versions: worker.versions, usage, output, recent_jobs }
        });
        let workload = remains.as_ref().and_then(Remains::workload);
        let report = remains.and_then(|remains| self.keep_remains(worker.id, remains));
        let exit_report = ExitReport {
            pid,
            end,
            server,
            exit_cause,
            cut_another,
            jobs,
            is_counted,
            peak_kib,
            out_of_memory,
            workload: workload.map(|workload| workload.hash),
            completed,
            report,
        };
        self.inputs.push_back(Input::Ended { worker: worker.id, exit_report });
        self.remove_condemned();
    }

    /// Whether a worker ended because it got no more memory, as far as that is known.
    fn out_of_memory(&mut self, worker: &WorkerHandle, reaped: &Reaped) -> Option<OutOfMemory> {
        match reaped.end {
            ExitStatus::Signal(libc::SIGKILL) if !worker.is_killed => self.out_of_memory.killed(reaped.pid),
            ExitStatus::Signal(libc::SIGABRT) if worker.output.last_words.is_failed_allocation() => {
                Some(OutOfMemory::failed_allocation(worker.max_memory_hard))
            }
            _ => None,
        }
    }

    /// Closes a dead worker's connections, so that its job is requeued at once; or after sending the answer to its
    /// caller.
    pub(super) fn release(&mut self, worker: WorkerId, answer: Option<JobReply>) {
        self.post_mortems.forget(worker);
        for (number, (_, copy)) in self.lost_jobs.orphaned.remove(&worker).unwrap_or_default() {
            let mut last = Vec::new();
            if let Some(answer) = answer.as_ref().filter(|answer| answer.connection == number) {
                // A handle that does not fit into a packet cannot be from a server: no answer is sent, and the job is
                // requeued.
                let _ = encode::failure(&mut last, &answer.handle, &answer.text);
            }
            self.lost_jobs.requeues.end(copy, last);
        }
    }

    /// What each worker runs now.
    pub(crate) fn running_jobs(&self) -> impl Iterator<Item = RunningJob> {
        let now = clock::now();
        self.workers.keys().filter_map(move |id| {
            let reading = self.read_scoreboard(*id, now)?;
            let child = self.children.get(self.workers.get(id)?)?;
            let ChildKind::Worker(worker) = &child.kind else { return None };
            let function = reading.job.as_ref().and_then(|job| worker.functions.get(job.function)).cloned();
            Some(RunningJob { pid: child.pid.as_raw(), function, reading })
        })
    }

    /// What workers are doing now.
    pub(crate) fn read_scoreboards(&self, workers: Vec<WorkerId>) -> Vec<ScoreboardReading> {
        let now = clock::now();
        workers.into_iter().filter_map(|worker| self.read_scoreboard(worker, now)).collect()
    }

    /// Whether workers respond.
    pub(crate) fn read_liveness(&self, round: &LivenessRound) -> Vec<WorkerLiveness> {
        round.workers.iter().filter_map(|(worker, with_process)| self.liveness(*worker, *with_process)).collect()
    }

    fn liveness(&self, id: WorkerId, with_process: bool) -> Option<WorkerLiveness> {
        let child = self.children.get(self.workers.get(&id)?)?;
        let ChildKind::Worker(worker) = &child.kind else { return None };
        let scoreboard = worker.scoreboard.read();
        Some(WorkerLiveness {
            worker: id,
            stamp: worker.scoreboard.polled(),
            activity: (!scoreboard.overwritten).then_some(scoreboard.activity),
            process: if with_process { RunState::of(child.pid) } else { RunState::Other },
        })
    }

    fn read_scoreboard(&self, id: WorkerId, now: Duration) -> Option<ScoreboardReading> {
        let child = self.children.get(self.workers.get(&id)?)?;
        let ChildKind::Worker(worker) = &child.kind else { return None };
        let scoreboard = worker.scoreboard.read();
        // A job whose function has returned is not late, however slowly the job server takes the result.
        let job = scoreboard.job.filter(|_| scoreboard.activity == WorkerActivity::Running);
        let job = job.map(|job| JobInHand::of(&job, scoreboard.sending, now));
        let server = job.as_ref().and_then(|job| worker.copies.get(&job.connection)).map(|(server, _)| *server);
        Some(ScoreboardReading { worker: id, job, server, overwritten: scoreboard.overwritten })
    }
}

/// What a worker runs.
pub(crate) struct RunningJob {
    /// Its process.
    pub pid: i32,
    /// The function of its job, if it has one.
    function: Option<FunctionName>,
    /// The job.
    pub reading: ScoreboardReading,
}

impl RunningJob {
    /// The job's function, for a message.
    pub(crate) fn function(&self) -> &str {
        self.function.as_ref().map_or("an unknown function", FunctionName::as_str)
    }

    /// The job's handle, as text.
    pub(crate) fn handle(&self) -> String {
        self.reading.job.as_ref().map_or(String::new(), |job| String::from_utf8_lossy(&job.handle).into_owned())
    }
}

/// The last jobs of a worker that died, for its report.
fn recent_jobs(scoreboard: &ScoreboardView, functions: &[FunctionName]) -> Vec<RecentJob> {
    let job = |job: scoreboard::RecentJob| RecentJob {
        number: job.number,
        function: functions.get(job.function).map(ToString::to_string).unwrap_or_default(),
        handle: String::from_utf8_lossy(&job.handle.unwrap_or_default()).into_owned(),
    };
    scoreboard.recent_jobs().into_iter().map(job).collect()
}

fn key(function: &FunctionName, version: &CheckedVersion) -> FunctionVersion {
    FunctionVersion { function: function.clone(), hash: version.hash }
}

/// The log text for a forked process that returned from its plugin; follows the name of the function or job.
fn fork_came_back(child: u32, skipped: u64) -> String {
    let more = if skipped == 0 { String::new() } else { format!(" ({skipped} more before it)") };
    format!(
        "a process that it forked (pid {child}) came back from it and was ended; its result is dropped, the worker's \
         own counts: a forked child has to exec or to _exit{more}"
    )
}
