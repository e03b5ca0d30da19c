//! Requests of commands whose effect takes a while: what they begin, and when they are complete.

use std::collections::BTreeSet;
use std::time::Duration;

use super::job_timeouts::ending_job;
use super::lost_jobs::LostJob;
use super::worker_record::EndedJob;
use super::{Core, ExitReport, ManagerPhase, Order, ScoreboardReading};
use crate::config::nearest;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{EndedRequest, Event, counted, seconds, serving};
use crate::supervisor::exit_cause::ExitCause;
use crate::supervisor::job_disposition::JobDisposition;
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::{ExitReason, Trigger, WorkerState};

/// How many may be pending.
const MAX_PENDING: usize = 1000;

/// How long a worker may take to read a command unless it is in a job: it looks for one every 10 ms.
const HEARD: Duration = Duration::from_secs(1);

/// Requests that are not complete yet, in order.
#[derive(Debug, Default)]
pub(super) struct Requests(Vec<PendingRequest>);

/// A request, as its events name it.
#[derive(Debug)]
pub(super) struct NamedRequest {
    /// Its number.
    pub(super) request: u64,
    command: &'static str,
    target: Option<String>,
}

#[derive(Debug)]
struct PendingRequest {
    name: NamedRequest,
    since: Duration,
    goal: Goal,
}

/// What a request waits for.
#[derive(Debug)]
pub(super) enum Goal {
    /// Other workers serve in place of these.
    Replaced(ReplacedWorkers),
    /// The worker has ended, and its job with it.
    Ended(WorkerId),
    /// No worker takes jobs of the function; `drains`: and none runs one.
    Paused { function: FunctionName, drains: bool },
    /// Every planned worker serves the function.
    Served(FunctionName),
}

/// Workers that others are to replace.
#[derive(Debug)]
pub(super) struct ReplacedWorkers {
    /// Whose; `None`: all.
    function: Option<FunctionName>,
    /// Those of them that may still take jobs. Others are removed as they are found.
    live: BTreeSet<WorkerId>,
    /// All of them.
    all: BTreeSet<WorkerId>,
}

/// How far a request is.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Pending,
    Finished(String),
    Failed(String),
}

impl Core {
    /// The sentence that there is no such function, with the most similar one that there is.
    pub(super) fn no_such_function(&self, function: &str) -> String {
        let known = self.catalog.functions();
        let near = nearest(function, known.iter().map(FunctionName::as_str));
        let near = near.map_or(String::new(), |near| format!(" (nearest: {near})"));
        format!("there is no function {function}{near}: no library of it is in worker_dir")
    }

    /// Whether another request can wait for its effect.
    ///
    /// # Errors
    /// One sentence: why not.
    pub(crate) fn may_request(&self) -> Result<(), String> {
        match self.phase {
            ManagerPhase::Starting => Err("the manager is still starting: try again when it serves".into()),
            ManagerPhase::Draining { .. } | ManagerPhase::Finished => Err("the manager is stopping".into()),
            ManagerPhase::Running if self.commands.requests.0.len() >= MAX_PENDING => {
                Err(format!("{MAX_PENDING} requests are pending: try again when some of them are complete"))
            }
            ManagerPhase::Running => Ok(()),
        }
    }

    /// Whether the workers of a function, or all workers, can be replaced.
    ///
    /// # Errors
    /// One sentence: why not.
    pub(crate) fn may_restart(&self, function: Option<&str>) -> Result<Order, String> {
        self.may_request()?;
        Ok(Order::Restart(function.map(|function| self.may_retry(function)).transpose()?))
    }

    /// Whether the worker can be made to end its job.
    ///
    /// # Errors
    /// One sentence: why not.
    pub(crate) fn may_end_job(&self, seen: &ScoreboardReading) -> Result<(), String> {
        let worker =
            self.workers.get(&seen.worker).filter(|worker| !matches!(worker.state, WorkerState::Killed { .. }));
        let Some(worker) = worker else { return Err("the worker is being killed already".into()) };
        let pid = worker.pid.unwrap_or_default();
        match (&seen.job, seen.overwritten) {
            (Some(_), _) | (None, true) if worker.state.is_at_work() => Ok(()),
            _ => Err(format!("worker {pid} runs no job; to replace it, use restart")),
        }
    }

    /// The job server of a job that a worker runs, if that is known.
    pub(crate) fn job_server_of(&self, seen: &ScoreboardReading) -> Option<&str> {
        let server = *self.workers.get(&seen.worker)?.servers.get(seen.server?)?;
        Some(&self.servers.get(server)?.name)
    }

    /// Begins what a command asks for.
    pub(super) fn carry_out(&mut self, request: u64, order: Order, now: Duration) {
        let name = NamedRequest { request, command: order.command(), target: Some(order.target()) };
        match order {
            Order::Restart(function) => self.restart(name, function, now),
            Order::EndJob { pid, seen } => self.end_job(name, pid, &seen, now),
            Order::Pause { function, pause, drains } => self.pause(name, function, pause, drains, now),
            Order::Resume(function) => self.resume(name, function, now),
            Order::Scale(function, workers) => self.scale(name, function, workers, now),
        }
    }

    /// Marks workers as outdated, so that others replace them as in a rollout. Earlier failures no longer count.
    fn restart(&mut self, name: NamedRequest, function: Option<FunctionName>, now: Duration) {
        let replaced = self.workers_of(function.clone());
        match &function {
            Some(function) => {
                self.failures.forget(function);
                self.rejoin(function);
            }
            None => {
                self.failures.forget_all();
                self.rejoin_all();
            }
        }
        for id in replaced.live.clone() {
            // Another canary takes its place: once it is promoted it would stay.
            if self.workers.get(&id).is_some_and(|worker| worker.canary.is_some()) {
                self.trigger(id, Trigger::Drain(ExitReason::Surplus, None), now);
            } else {
                self.workers.change(id, |worker| worker.retirement.at = now);
            }
        }
        self.pending(name, Goal::Replaced(replaced), now);
        self.replan(now);
    }

    /// Waits until every worker has the configuration that was just read.
    pub(super) fn await_reload(&mut self, request: u64, now: Duration) {
        let goal = Goal::Replaced(self.workers_of(None));
        self.pending(NamedRequest { request, command: "reload", target: None }, goal, now);
    }

    fn workers_of(&self, function: Option<FunctionName>) -> ReplacedWorkers {
        let mut all: BTreeSet<WorkerId> = match &function {
            Some(function) => self.workers.with_function(function).map(|(id, _)| id).collect(),
            None => self.workers.keys().copied().collect(),
        };
        all.retain(|id| self.is_live(*id));
        ReplacedWorkers { function, live: all.clone(), all }
    }

    /// Ends a job as its timeout would.
    fn end_job(&mut self, name: NamedRequest, pid: i32, seen: &ScoreboardReading, now: Duration) {
        let Some(worker) = self.workers.get(&seen.worker) else { return };
        let names = worker.names();
        let is_under_way = matches!(worker.state, WorkerState::Draining { reason: ExitReason::JobTimeout, .. });
        let job = seen.job.as_ref().and_then(|job| Some((job, worker.functions.get(job.function)?.function.clone())));
        let grace = match &job {
            Some((_, function)) => self.config.timeout_grace(function),
            None => names.iter().map(|name| self.config.timeout_grace(name)).max().unwrap_or_default(),
        };
        if let Some((job, function)) = job.filter(|_| !is_under_way) {
            let ended = EndedJob { number: job.number, on_request: true };
            self.workers.change(seen.worker, |worker| worker.job_watch.overdue = Some(ended));
            self.report(Event::JobEnding(ending_job(pid, function, job, grace)));
        }
        self.pending(name, Goal::Ended(seen.worker), now);
        if !is_under_way {
            self.trigger(seen.worker, Trigger::Overdue(now.saturating_add(grace)), now);
        }
    }

    /// A worker has ended, which a request may have asked for.
    pub(super) fn worker_of_request_ended(
        &mut self,
        id: WorkerId,
        exit_report: &ExitReport,
        decided: LostJob,
        now: Duration,
    ) {
        let ended: Vec<PendingRequest> = self
            .commands
            .requests
            .0
            .extract_if(.., |pending| matches!(pending.goal, Goal::Ended(worker) if worker == id))
            .collect();
        let pid = exit_report.pid;
        let result = match (&exit_report.exit_cause, decided.disposition) {
            (ExitCause::InJob(_), JobDisposition::Failed) => format!("worker {pid} has ended, and its job has failed"),
            (ExitCause::InJob(_), JobDisposition::Requeued) => {
                format!("worker {pid} has ended, and its job was requeued (on_timeout)")
            }
            (ExitCause::Drained, _) => format!("the job came to its end by itself, and worker {pid} was replaced"),
            _ => format!("worker {pid} has ended"),
        };
        for pending in ended {
            self.end_request(pending, Ok(result.clone()), now);
        }
    }

    pub(super) fn pending(&mut self, name: NamedRequest, goal: Goal, now: Duration) {
        self.commands.requests.0.push(PendingRequest { name, since: now, goal });
    }

    /// Reports requests that are complete, and those that failed.
    pub(super) fn finish_requests(&mut self, now: Duration) {
        for mut pending in std::mem::take(&mut self.commands.requests.0) {
            match self.progress(&mut pending.goal, pending.since, now) {
                Outcome::Pending => self.commands.requests.0.push(pending),
                Outcome::Finished(result) => self.end_request(pending, Ok(result), now),
                Outcome::Failed(reason) => self.end_request(pending, Err(reason), now),
            }
        }
    }

    fn end_request(&mut self, pending: PendingRequest, outcome: Result<String, String>, now: Duration) {
        let PendingRequest { name: NamedRequest { request, command, target }, since, .. } = pending;
        let seconds = seconds(now.saturating_sub(since));
        let ended = |result| EndedRequest { request, command, target, result, seconds };
        self.report(match outcome {
            Ok(result) => Event::RequestFinished(ended(result)),
            Err(reason) => Event::RequestFailed(ended(reason)),
        });
    }

    fn progress(&self, goal: &mut Goal, since: Duration, now: Duration) -> Outcome {
        match goal {
            Goal::Ended(_) => Outcome::Pending,
            Goal::Paused { function, drains } => self.pause_progress(function, *drains, since, now),
            _ if self.is_draining() => Outcome::Failed("the manager is stopping".into()),
            Goal::Served(function) => self.served_progress(function, now),
            Goal::Replaced(replaced) => {
                while let Some(first) = replaced.live.first().copied().filter(|first| !self.is_live(*first)) {
                    replaced.live.remove(&first);
                }
                self.replaced(replaced, now)
            }
        }
    }

    fn pause_progress(&self, function: &FunctionName, drains: bool, since: Duration, now: Duration) -> Outcome {
        if self.pause_of(function).is_none() {
            return Outcome::Failed(format!("{function} was resumed meanwhile"));
        }
        match self.not_left(function) {
            (0, _) => Outcome::Finished("no worker takes jobs of it, and none of its jobs runs".into()),
            // One that is not heard of by then is in a job, and reads the command before it asks for another.
            (left, unheard) if !drains && (unheard == 0 || now >= since.saturating_add(HEARD)) => {
                Outcome::Finished(format!("no worker takes jobs of it; {} not done yet", busy(left)))
            }
            _ => Outcome::Pending,
        }
    }

    /// When a pause is complete although a worker is in a job.
    pub(super) fn requests_due(&self, now: Duration) -> Option<Duration> {
        let pauses = |pending: &PendingRequest| match pending.goal {
            Goal::Paused { drains: false, .. } => Some(pending.since.saturating_add(HEARD)),
            _ => None,
        };
        self.commands.requests.0.iter().filter_map(pauses).filter(|due| *due > now).min()
    }

    fn served_progress(&self, function: &FunctionName, now: Duration) -> Outcome {
        if let Some(reason) = self.why_never_served(function) {
            return Outcome::Failed(reason);
        }
        let (serving_now, planned) = (self.serving(function), self.plan.planned(function) as usize);
        if serving_now == planned && self.is_offered_again(function) {
            return Outcome::Finished(format!("{} it", serving(serving_now)));
        }
        let lacks = serving_now < planned;
        let obstacle = lacks.then(|| self.first_obstacle(std::slice::from_ref(function), now)).flatten();
        obstacle.map_or(Outcome::Pending, Outcome::Failed)
    }

    /// How many workers a function may have on request.
    ///
    /// # Errors
    /// One sentence: why not so many.
    pub(crate) fn may_scale(&self, function: &str, workers: u32) -> Result<Order, String> {
        self.may_request()?;
        let name = self.may_retry(function)?;
        let shared = self.plan.shared(function);
        if workers < shared {
            return Err(format!(
                "{shared} workers serve all functions, {name} among them: it cannot have fewer than these, so not {workers}; \
                 set dedicated_only, or lower count, in the configuration"
            ));
        }
        match workers {
            0 => Err(format!("to have no worker take jobs of {name}, use pause")),
            _ => Ok(Order::Scale(name, workers)),
        }
    }

    /// The workers that a function has on request, if it does.
    pub(crate) fn scaled_to(&self, function: &str) -> Option<u32> {
        self.scaled.get(function).copied()
    }

    fn scale(&mut self, name: NamedRequest, function: FunctionName, workers: u32, now: Duration) {
        self.scaled.insert(function.clone(), workers);
        self.pending(name, Goal::Served(function), now);
        self.replan(now);
    }

    /// Whether others serve in place of these workers.
    fn replaced(&self, replaced: &ReplacedWorkers, now: Duration) -> Outcome {
        let functions: Vec<FunctionName> = match &replaced.function {
            Some(function) => vec![function.clone()],
            None => self.plan.functions().cloned().collect(),
        };
        if !replaced.live.is_empty() {
            // Only one that cannot be replaced at all is worth a look at every function.
            let first = replaced.live.first().and_then(|id| self.workers.get(id));
            let names = first.map(|worker| worker.names()).unwrap_or_default();
            return self.first_obstacle(&names, now).map_or(Outcome::Pending, Outcome::Failed);
        }
        if let Some(function) = &replaced.function
            && let Some(reason) = self.why_never_served(function)
        {
            return Outcome::Failed(reason);
        }
        let lacks = |name: &&FunctionName| self.serving(name) < self.plan.planned(name) as usize;
        let lacking: Vec<FunctionName> = functions.iter().filter(lacks).cloned().collect();
        if !lacking.is_empty() {
            return self.first_obstacle(&lacking, now).map_or(Outcome::Pending, Outcome::Failed);
        }
        let workers = match &replaced.function {
            Some(function) => self.serving(function),
            None => self.workers.totals().serving,
        };
        let draining = replaced.all.iter().filter(|id| self.workers.contains_key(id)).count();
        let draining = match draining {
            0 => String::new(),
            left => format!("; {} still draining", counted(left, "old worker")),
        };
        Outcome::Finished(format!(
            "{} replaced, {} now{draining}",
            counted(replaced.all.len(), "worker"),
            serving(workers)
        ))
    }

    /// Why no worker can be started for one of these functions, if none is on its way.
    fn first_obstacle(&self, functions: &[FunctionName], now: Duration) -> Option<String> {
        let on_their_way = |name: &FunctionName| {
            self.workers.serving_alike(name).any(|(_, alike)| alike.totals.live > alike.totals.serving)
        };
        let stuck = |name: &&FunctionName| !on_their_way(name);
        functions.iter().filter(stuck).find_map(|name| Some(format!("{name}: {}", self.why_none_starts(name, now)?)))
    }

    fn is_live(&self, id: WorkerId) -> bool {
        self.workers.get(&id).is_some_and(|worker| worker.state.is_live())
    }
}

/// `1 worker is`, for what follows.
fn busy(workers: usize) -> String {
    format!("{} {}", counted(workers, "worker"), if workers == 1 { "is" } else { "are" })
}
