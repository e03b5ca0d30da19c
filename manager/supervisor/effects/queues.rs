//! Asks the job servers about their queues, and reads what the workers do meanwhile.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use super::children::{ChildKind, WorkerHandle};
use super::{BackgroundResult, Effects};
use crate::gearman::admin::AdminFunctionStatus;
use crate::gearman::queues::{QueryTimeouts, queues_at};
use crate::logging::Level;
use crate::plugins::name::FunctionName;
use crate::scoreboard::WorkerActivity;
use crate::supervisor::core::{QueueLengths, QueueReading};
use crate::supervisor::reconcile::WorkerId;
use crate::system::clock;
use crate::system::errors::reason;

/// A worker that began its last job more recently is between two jobs.
const BETWEEN_JOBS: Duration = Duration::from_secs(1);

/// A job server's answer.
pub(crate) struct QueueAnswer {
    /// Which server.
    pub server: usize,
    /// What it lists of our functions, or why it is not known.
    pub listed: io::Result<Vec<AdminFunctionStatus>>,
}

/// The workers of a function that a job server answers.
#[derive(Default)]
struct FunctionWorkers {
    workers: usize,
    idle: usize,
    ended: u64,
}

impl Effects {
    /// Asks in separate tasks, so a silent server delays nothing. One that still owes an answer is not asked again.
    pub(crate) fn ask_queues(&mut self, servers: Vec<(usize, Vec<SocketAddr>)>, functions: BTreeSet<FunctionName>) {
        let functions = Rc::new(functions);
        let timeouts = QueryTimeouts { connect: self.config.connect_timeout, answer: self.config.echo_timeout };
        for (server, addresses) in servers {
            if functions.is_empty() || !self.asked_queues.insert(server) {
                continue;
            }
            let (results, functions) = (self.results.clone(), Rc::clone(&functions));
            tokio::task::spawn_local(async move {
                let listed = queues_at(&addresses, timeouts, |name| functions.contains(name)).await;
                // The receiver is gone only when the manager exits.
                let _ = results.send(BackgroundResult::Queues(QueueAnswer { server, listed }));
            });
        }
    }

    /// A job server's queues, and what these workers do, which are those that it answers. `None` if it has not answered.
    pub(crate) fn queue_readings(&mut self, answer: QueueAnswer, workers: &[WorkerId]) -> Option<Vec<QueueReading>> {
        let QueueAnswer { server, listed } = answer;
        self.asked_queues.remove(&server);
        let listed = match listed {
            Ok(listed) => listed,
            Err(error) => {
                let text = format!("a job server did not list its queues: {}", reason(&error));
                self.log(Level::Debug, std::process::id().cast_signed(), &text);
                return None;
            }
        };
        let any_waits = listed.iter().any(|function| function.total > function.running);
        // Most of the time nothing waits, and no scoreboard is read.
        let mut all = if any_waits { self.function_workers(workers) } else { BTreeMap::new() };
        let reading = |status: &AdminFunctionStatus| {
            let function = FunctionName::new(&status.function).ok()?;
            let FunctionWorkers { workers, idle, ended } = all.remove(function.as_str()).unwrap_or_default();
            let AdminFunctionStatus { total, running, workers: registered, .. } = *status;
            let lengths = QueueLengths { waiting: total.saturating_sub(running), running, workers: registered };
            Some(QueueReading { function, lengths, workers, idle, ended })
        };
        Some(listed.iter().filter_map(reading).collect())
    }

    fn function_workers(&self, workers: &[WorkerId]) -> BTreeMap<&str, FunctionWorkers> {
        let now = clock::now();
        let mut all: BTreeMap<&str, FunctionWorkers> = BTreeMap::new();
        let children = workers.iter().filter_map(|id| self.children.get(self.workers.get(id)?));
        for child in children {
            let ChildKind::Worker(worker) = &child.kind else { continue };
            let is_idle = is_idle(worker, now);
            for (index, function) in worker.functions.iter().enumerate() {
                let of = all.entry(function.as_str()).or_default();
                of.workers = of.workers.saturating_add(1);
                of.idle = of.idle.saturating_add(usize::from(is_idle));
                of.ended = of.ended.wrapping_add(worker.scoreboard.counters(index).jobs());
            }
        }
        all
    }
}

/// Whether a worker has had no job for a while.
fn is_idle(worker: &WorkerHandle, now: Duration) -> bool {
    let last = worker.scoreboard.last_job();
    worker.scoreboard.read().activity == WorkerActivity::Idle
        && last.is_none_or(|(_, began)| now.saturating_sub(began) >= BETWEEN_JOBS)
}
