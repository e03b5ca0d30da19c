//! What happens when a worker exits: which function it counts against, and what is reported.

use std::time::Duration;

use nix::libc;

use super::lost_jobs::{LostJob, called_exit, how, was};
use super::worker_record::DrainReport;
use super::{Action, Core, ExitReport, StartStage, WorkerRecord};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::backoff::IdleDeath;
use crate::supervisor::event::{Death, DeathContext, Event, seconds, several};
use crate::supervisor::exit_cause::ExitCause;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger, WorkerState};
use crate::system::reap::ExitStatus;

/// The exit code with which a library's `new()` asks not to be started again.
const EXIT_DO_NOT_RESTART: i32 = 125;

impl Core {
    /// A worker's process is gone.
    pub(super) fn ended(&mut self, id: WorkerId, exit_report: &ExitReport, now: Duration) {
        let Some(worker) = self.workers.remove(id) else {
            return self.push_action(Action::Release { worker: id, answer: None });
        };
        self.forget_connections(id, now);
        let (decided, answer) = self.settle_job(&worker, exit_report, now);
        self.count_lost_job(&worker, exit_report, now);
        self.report_exit(id, &worker, exit_report, decided, now);
        // Only after the report, so that the log has the reason for a job's second run whatever happens to the manager.
        self.push_action(Action::Release { worker: id, answer });
        self.worker_of_request_ended(id, exit_report, decided, now);
    }

    /// Reports how a worker ended, and records failures against the function or group responsible.
    fn report_exit(
        &mut self,
        id: WorkerId,
        worker: &WorkerRecord,
        exit_report: &ExitReport,
        decided: LostJob,
        now: Duration,
    ) {
        match worker.state {
            // Reported already, and recorded against its function.
            WorkerState::Draining { reason: ExitReason::CannotServe, .. } => return,
            // Killed during its start, which was reported already: it had no job, so there is nothing more to do.
            WorkerState::Killed { reason: ExitReason::Replaced | ExitReason::Surplus | ExitReason::Stop } => return,
            _ => {}
        }
        if exit_report.exit_cause == ExitCause::Drained {
            if worker.exits_unrequested() {
                self.exited_early(worker, exit_report, now);
            }
            return self.report(exit_event(worker, exit_report));
        }
        let ended_by_us = worker.ended_by_us(exit_report.end);
        let by_us = ended_by_us.is_some();
        if let Some(version) = refused_restart(worker, exit_report).filter(|_| !by_us).cloned() {
            return self.stop_restarting(exit_report.pid, version);
        }
        let mut death = death_event(worker, exit_report, decided);
        death.report = exit_report.report.filter(|_| is_examined(ended_by_us, &death.at, exit_report.end));
        let (how, line) = (death.how(), Event::WorkerDied(death.clone()).line());
        self.report(Event::WorkerDied(death.clone()));
        let quarantines = decided.is_spent();
        if death.report.is_some() || quarantines {
            let server = exit_report.server.and_then(|server| worker.servers.get(server));
            let server = server.and_then(|server| self.servers.get(*server)).map(|server| server.name.clone());
            self.push_action(Action::Examine { worker: id, death: Box::new(death), server, quarantines });
        }
        if by_us || worker.died_while_draining(exit_report) || self.fails_beside_others(worker, exit_report, &how, now)
        {
            return;
        }
        let lost = match &exit_report.exit_cause {
            ExitCause::InJob(lost) | ExitCause::Answering(lost) => Some(lost),
            _ => None,
        };
        let in_job = lost.and_then(|lost| worker.functions.get(lost.function));
        let by_kill = exit_report.end == ExitStatus::Signal(libc::SIGKILL);
        let excused = lost
            .and_then(|lost| self.excused_by_earlier_death(worker, lost, worker.counted_job(lost, exit_report), now));
        if let Some(event) = excused {
            self.report(event);
        } else if self.canary_died(worker, worker.at_start().or(in_job), by_kill, &clause(&how), now) {
            return;
        }
        self.failures.last = Some((worker.names(), line));
        if let Some(version) = worker.at_start().or(in_job).or(worker.only_function()) {
            self.failures.record(version.function.clone(), format!("a worker {}", was(&how)));
        }
        self.record_death(worker, exit_report, now);
    }

    /// It died while it loaded a function or made its object, together with others. Excludes a canary that may have
    /// been killed from outside, or that asked not to be restarted.
    fn fails_beside_others(
        &mut self,
        worker: &WorkerRecord,
        exit_report: &ExitReport,
        how: &str,
        now: Duration,
    ) -> bool {
        let Some(failed) = worker.at_start().cloned() else { return false };
        let ends = [ExitStatus::Signal(libc::SIGKILL), ExitStatus::Exit(EXIT_DO_NOT_RESTART)];
        let fails = !(worker.canary.is_some() && ends.contains(&exit_report.end))
            && self.is_isolated_by(worker, &failed, &format!("a worker {}", was(how)), now);
        if fails {
            self.failures.record(failed.function, format!("a worker {}", was(how)));
        }
        fails
    }

    /// A worker reports that it takes no more jobs. A last one may still come, so whether it failed is decided at
    /// its end.
    pub(super) fn worker_drains(&mut self, id: WorkerId, jobs: u64, now: Duration) {
        self.workers.change(id, |worker| {
            let at = worker.drain_report.map_or(now, |report| report.at);
            worker.drain_report = Some(DrainReport { at, jobs });
        });
        self.trigger(id, Trigger::StopsTaking, now);
    }

    /// Whether a worker that exited by itself before any job counts as a failed start, whatever its exit code. Not
    /// during a stop, when a service manager sends SIGTERM to every process.
    fn exited_early(&mut self, worker: &WorkerRecord, exit_report: &ExitReport, now: Duration) {
        let has_worked = worker.has_served && exit_report.jobs.max(worker.reported_jobs()) > 0;
        if self.is_draining() || has_worked {
            return;
        }
        let event = Event::ExitedEarly {
            pid: exit_report.pid,
            functions: worker.names(),
            function: worker.at_start().map(|version| version.function.clone()),
            served: worker.has_served,
        };
        let (line, how) = (event.line(), "exited by itself before it had finished a job");
        self.report(event);
        let failed = worker.at_start().cloned();
        if let Some(failed) =
            failed.filter(|failed| self.is_isolated_by(worker, failed, &format!("a worker {}", was(how)), now))
        {
            self.failures.record(failed.function, format!("a worker {}", was(how)));
            return;
        }
        if self.canary_died(worker, worker.at_start(), worker.at_start().is_none(), &clause(how), now) {
            return;
        }
        self.failures.last = Some((worker.names(), line));
        if let Some(version) = worker.at_start().or(worker.only_function()) {
            self.failures.record(version.function.clone(), format!("a worker {}", was(how)));
        }
        // Its replacement may have started by now, and must be counted as well.
        let left = worker.drain_report.map_or(now, |report| report.at);
        match worker.start.stage {
            StartStage::Over => self.died_outside_job(worker, worker.idle_death(), left),
            _ => self.died_at_start(worker, left),
        }
    }

    fn record_death(&mut self, worker: &WorkerRecord, exit_report: &ExitReport, now: Duration) {
        let function = |index: usize| worker.functions.get(index).map(|version| version.function.clone());
        match &exit_report.exit_cause {
            // A worker that has never been ready has had no job, whatever its scoreboard says.
            _ if worker.start.stage != StartStage::Over => self.died_at_start(worker, now),
            // A thread that the job left behind, or something outside, killed it while its answer was being sent: it
            // counts like any other death.
            ExitCause::InJob(lost) | ExitCause::Answering(lost) => {
                if let Some(function) = function(lost.function) {
                    self.died_in_job(&function, worker, exit_report.completed, now);
                }
            }
            // It has completed jobs, so there is no reason to delay its replacement.
            ExitCause::OutsideJob if exit_report.jobs > 0 => {}
            ExitCause::OutsideJob => self.died_outside_job(worker, worker.idle_death(), now),
            // It had a job, but which one is unknown: the back-off must not depend on the scoreboard.
            ExitCause::Unknown => match worker.functions.as_slice() {
                [only] => self.died_in_job(&only.function, worker, exit_report.completed, now),
                _ => self.died_outside_job(worker, IdleDeath::Idle, now),
            },
            ExitCause::Drained => {}
        }
    }

    /// Recorded against the function being loaded or made; before that, as for any death outside a job.
    fn died_at_start(&mut self, worker: &WorkerRecord, now: Duration) {
        match worker.at_start() {
            Some(version) => self.record_failure(&version.function, worker, IdleDeath::Start, now),
            None => self.died_outside_job(worker, IdleDeath::Start, now),
        }
    }

    /// Handles a worker that is killed because it was not ready in time.
    pub(super) fn start_timed_out(&mut self, id: WorkerId, now: Duration) {
        // Removed temporarily, so that it can be read while others are changed.
        let Some(worker) = self.workers.remove(id) else { return };
        let stage = match worker.start.stage {
            StartStage::Loading(_) => ", while its library was loaded",
            StartStage::Making(_) => ", but still in its new()",
            StartStage::Begins | StartStage::Over => "",
        };
        let reason = format!("not ready within start_timeout{stage}");
        if !self.canary_hangs(&worker, &reason, now) {
            let failed = worker.at_start().cloned();
            let who = match &failed {
                Some(failed) => failed.function.to_string(),
                None => several(&worker.names()),
            };
            self.failures.last = Some((worker.names(), format!("{who}: {reason}")));
            if let Some(failed) = failed.as_ref().or(worker.only_function()) {
                self.failures.record(failed.function.clone(), reason.clone());
            }
            if !failed.is_some_and(|failed| self.is_isolated_by(&worker, &failed, &reason, now)) {
                self.died_at_start(&worker, now);
            }
        }
        self.workers.insert(id, worker);
    }

    /// A version is not started again.
    fn stop_restarting(&mut self, pid: i32, version: FunctionVersion) {
        let FunctionVersion { function, hash } = version;
        let event = Event::NotRestarted { pid, function: function.clone(), version: hash };
        self.failures.last = Some((vec![function.clone()], event.line()));
        self.report(event);
        let note = "its new() exited with code 125, which asks not to be started again until its library changes";
        self.failures.record(function.clone(), note.into());
        self.failures.not_restarted.insert(function, hash);
        self.groups.look_at_all();
    }
}

impl WorkerRecord {
    /// The back-off category of its death outside a job.
    fn idle_death(&self) -> IdleDeath {
        if self.has_served { IdleDeath::Idle } else { IdleDeath::Start }
    }

    /// Its function, if it has only one.
    pub(super) fn only_function(&self) -> Option<&FunctionVersion> {
        self.functions.first().filter(|_| self.functions.len() == 1)
    }

    /// Whether it drains or has exited without a command to.
    fn exits_unrequested(&self) -> bool {
        self.state.is_live() || matches!(self.state, WorkerState::Draining { reason: ExitReason::ByItself, .. })
    }

    /// Whether its exit will count as a failed start, unless one last job arrives.
    pub(super) fn may_have_failed(&self) -> bool {
        !self.state.is_live() && self.exits_unrequested() && (!self.has_served || self.reported_jobs() == 0)
    }

    /// Whether it was draining on command, without a job: its slot is already taken, or no longer planned.
    fn died_while_draining(&self, exit_report: &ExitReport) -> bool {
        let was_asked = matches!(self.state, WorkerState::Draining { reason, .. } if reason != ExitReason::ByItself);
        was_asked && exit_report.exit_cause == ExitCause::OutsideJob
    }

    /// The function that its start has just reached. A repeated message has no effect: otherwise a plugin could extend
    /// its deadline by forging it.
    pub(super) fn function_reached(&mut self) -> Option<FunctionName> {
        let (StartStage::Loading(index) | StartStage::Making(index)) = self.start.stage else { return None };
        let place = self.load_order.iter().position(|at| *at == index).filter(|place| *place >= self.start.begun)?;
        self.start.begun = place + 1;
        Some(self.functions.get(index)?.function.clone())
    }

    /// The function that it is starting, and the function's version.
    pub(super) fn at_start(&self) -> Option<&FunctionVersion> {
        match self.start.stage {
            StartStage::Loading(index) | StartStage::Making(index) => self.functions.get(index),
            StartStage::Begins | StartStage::Over => None,
        }
    }
}

/// How a worker ended, as a sentence.
fn clause(how: &str) -> String {
    format!("its worker {}", was(how))
}

/// The function and version that asked not to be restarted. A canary's new version is rejected anyway.
fn refused_restart<'a>(worker: &'a WorkerRecord, exit_report: &ExitReport) -> Option<&'a FunctionVersion> {
    let StartStage::Making(index) = worker.start.stage else { return None };
    let function = worker.functions.get(index).filter(|_| exit_report.end == ExitStatus::Exit(EXIT_DO_NOT_RESTART))?;
    let tried = worker.canary.iter().flatten().any(|tried| tried.function == function.function);
    (!tried).then_some(function)
}

fn exit_event(worker: &WorkerRecord, exit_report: &ExitReport) -> Event {
    let end = exit_report.end;
    let note = (!end.is_clean()).then(|| format!("{end} in its destructors, or past stop_timeout in them"));
    Event::WorkerExited { pid: exit_report.pid, functions: worker.names(), jobs: exit_report.jobs, note }
}

fn death_event(worker: &WorkerRecord, exit_report: &ExitReport, decided: LostJob) -> Death {
    let (at, of) = death_at(worker, &exit_report.exit_cause, exit_report.end, decided);
    let only = worker.only_function().map(|version| version.hash);
    Death {
        pid: exit_report.pid,
        functions: worker.names(),
        end: how(exit_report),
        exited: called_exit(exit_report),
        at,
        cut_another: exit_report.cut_another,
        version: of.or(only),
        generation: worker.generation,
        jobs: exit_report.jobs,
        peak_mib: exit_report.peak_kib / 1024,
        report: None,
        out_of_memory: exit_report.out_of_memory.clone(),
    }
}

/// Whether a report is written of a death: the worker had a job, or crashed. Not if we killed it, unless that was
/// for the job's sake.
pub(super) fn is_examined(ended_by_us: Option<ExitReason>, at: &DeathContext, end: ExitStatus) -> bool {
    match ended_by_us {
        Some(reason) => reason == ExitReason::JobTimeout,
        None => matches!(at, DeathContext::Job { .. } | DeathContext::Unknown) || matches!(end, ExitStatus::Signal(_)),
    }
}

/// What a worker was doing when it died, and the version of the function concerned.
fn death_at(
    worker: &WorkerRecord,
    exit_cause: &ExitCause,
    end: ExitStatus,
    decided: LostJob,
) -> (DeathContext, Option<ShortHash>) {
    if let Some(FunctionVersion { function, hash }) = worker.at_start().cloned() {
        let at = match worker.start.stage {
            StartStage::Making(_) => DeathContext::New { function },
            _ => DeathContext::Load { function },
        };
        return (at, Some(hash));
    }
    match exit_cause {
        _ if worker.start.stage == StartStage::Begins => (DeathContext::Start, None),
        ExitCause::InJob(lost) | ExitCause::Answering(lost) => {
            let Some(FunctionVersion { function, hash }) = worker.functions.get(lost.function).cloned() else {
                return (DeathContext::Unknown, None);
            };
            let at = DeathContext::Job {
                function,
                handle: String::from_utf8_lossy(&lost.handle).into_owned(),
                unique: lost.unique.clone(),
                seconds: seconds(lost.ran),
                sending: matches!(exit_cause, ExitCause::Answering(_)),
                timed_out: worker.timed_out(lost, end),
                on_request: worker.ends_on_request(lost),
                disposition: decided.disposition,
                deaths: decided.deaths.map(|(deaths, _)| deaths),
                max_attempts: decided.deaths.map(|(_, most)| most),
            };
            (at, Some(hash))
        }
        ExitCause::Unknown => (DeathContext::Unknown, None),
        ExitCause::OutsideJob | ExitCause::Drained => (DeathContext::Idle, None),
    }
}
