//! The queues of the job servers: which servers are asked about which functions, and what follows from their answers.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use super::{Core, ManagerPhase};
use crate::plan::is_excluded;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{
    Event, GrowingQueue, QueueCondition, RecoveredQueue, UnservedFunction, UntakenJobs, are, seconds, wait,
};
use crate::supervisor::queues::{QueueHistory, QueueNotice, QueueProblem, QueueSample, ServiceHistory, ServiceNotice};
use crate::supervisor::reconcile::WorkerId;

/// What is known of the queues.
#[derive(Debug, Default)]
pub(super) struct Queues {
    histories: BTreeMap<(FunctionName, usize), QueueHistory>,
    services: BTreeMap<FunctionName, ServiceHistory>,
    /// What each server that answered the last question says of the functions, by its index.
    answers: BTreeMap<usize, BTreeMap<FunctionName, QueueLengths>>,
}

/// What a job server lists of a function.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct QueueLengths {
    /// Jobs that wait.
    pub waiting: u64,
    /// Jobs that run.
    pub running: u64,
    /// Workers of any host.
    pub workers: u64,
}

/// A function's queue at a job server, and its workers here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct QueueReading {
    /// The function.
    pub function: FunctionName,
    /// What the server lists.
    pub lengths: QueueLengths,
    /// Its workers here that the server answers.
    pub workers: usize,
    /// Those of them that have had no job for a while.
    pub idle: usize,
    /// Jobs that they have ended.
    pub ended: u64,
}

impl QueueReading {
    fn sample(&self) -> QueueSample {
        let QueueLengths { waiting, running, .. } = self.lengths;
        QueueSample { waiting, running, workers: self.workers, idle: self.idle, ended: self.ended }
    }
}

impl Core {
    /// The job servers to ask about their queues, by index: those that are not known to be down.
    pub(crate) fn queues_to_ask(&mut self) -> Vec<(usize, Vec<SocketAddr>)> {
        let is_asked = |server: &super::JobServerState| !server.addresses.is_empty() && !server.is_down();
        let asked: BTreeSet<usize> = self.used_servers().filter(|at| is_asked(&self.servers[*at])).collect();
        // Of the others nothing is known.
        self.queues.histories.retain(|(_, server), _| asked.contains(server));
        self.queues.answers.retain(|server, _| asked.contains(server));
        if self.phase != ManagerPhase::Running || !self.startup.announced {
            self.queues = Queues::default();
            return Vec::new();
        }
        asked.into_iter().map(|at| (at, self.servers[at].addresses.clone())).collect()
    }

    /// The functions whose queues matter: those that are planned, and those that were asked for and cannot be served.
    pub(crate) fn queued_functions(&self) -> BTreeSet<FunctionName> {
        let refused = self.catalog.refused().map(|(function, ..)| function.clone());
        let missing = self.plan.missing.iter().filter_map(|missing| FunctionName::new(&missing.function).ok());
        let unplanned = refused.chain(missing).filter(|name| !is_excluded(&self.config, name));
        let all = self.plan.functions().cloned().chain(unplanned);
        all.filter(|name| self.pause_of(name).is_none()).collect()
    }

    /// The workers that take jobs and that a job server answers.
    pub(crate) fn workers_connected_to(&self, server: usize) -> Vec<WorkerId> {
        let Some(server) = self.servers.get(server) else { return Vec::new() };
        let serves = |id: &&WorkerId| self.workers.get(id).is_some_and(|worker| worker.state.is_serving());
        server.connected_workers().filter(serves).copied().collect()
    }

    /// A job server has listed its queues; `None` if it has not answered.
    pub(super) fn queues_read(&mut self, server: usize, readings: Option<Vec<QueueReading>>, now: Duration) {
        let name = self.servers.get(server).filter(|server| server.is_used()).map(|server| server.name.clone());
        let (Some(name), Some(readings), true) = (name, readings, self.phase == ManagerPhase::Running) else {
            // What is not known is not reported.
            self.queues.histories.retain(|(_, at), _| *at != server);
            self.queues.answers.remove(&server);
            return;
        };
        let wanted = self.queued_functions();
        let answer = readings.iter().map(|reading| (reading.function.clone(), reading.lengths)).collect();
        self.queues.answers.insert(server, answer);
        let mut samples: BTreeMap<FunctionName, QueueSample> =
            readings.into_iter().map(|reading| (reading.function.clone(), reading.sample())).collect();
        self.queues.histories.retain(|(function, _), _| wanted.contains(function));
        self.queues.services.retain(|function, _| wanted.contains(function));
        for function in wanted {
            // A function that is not listed has never had a job there.
            let sample = samples.remove(&function).unwrap_or_default();
            self.observe_queue(&function, server, &name, sample, now);
            self.observe_service(function, now);
        }
    }

    fn observe_queue(
        &mut self,
        function: &FunctionName,
        server: usize,
        name: &str,
        sample: QueueSample,
        now: Duration,
    ) {
        let key = (function.clone(), server);
        let mut history = self.queues.histories.remove(&key).unwrap_or_default();
        let notice = history.observe(sample, now);
        if !history.is_empty(now) {
            self.queues.histories.insert(key, history);
        }
        let (function, server) = (function.clone(), name.to_owned());
        let QueueSample { waiting, workers, idle, .. } = sample;
        match notice {
            Some(QueueNotice::Begins(QueueProblem::Growing, lasts, first)) => {
                let (before, seconds) = (first.waiting, seconds(lasts));
                self.report(Event::QueueGrowing(GrowingQueue { function, server, waiting, before, seconds, workers }));
            }
            Some(QueueNotice::Begins(QueueProblem::NotTaken, lasts, _)) => {
                let seconds = seconds(lasts);
                self.report(Event::JobsNotTaken(UntakenJobs { function, server, waiting, seconds, idle }));
            }
            Some(QueueNotice::Ends(problem, lasted)) => {
                let condition = match problem {
                    QueueProblem::Growing => QueueCondition::Growing,
                    QueueProblem::NotTaken => QueueCondition::NotTaken,
                };
                let (server, seconds) = (Some(server), seconds(lasted));
                let recovered = RecoveredQueue { function, server, condition, waiting, seconds };
                self.report(Event::QueueRecovered(recovered));
            }
            None => {}
        }
    }

    /// Whether anybody serves a function, according to all servers that answer.
    fn observe_service(&mut self, function: FunctionName, now: Duration) {
        let lengths: Vec<QueueLengths> =
            self.queues.answers.values().filter_map(|answer| answer.get(&function)).copied().collect();
        let is_served = self.serving(&function) > 0 || lengths.iter().any(|lengths| lengths.workers > 0);
        let mut history = self.queues.services.remove(&function).unwrap_or_default();
        let notice = history.observe(is_served, now);
        if !is_served {
            self.queues.services.insert(function.clone(), history);
        }
        let waiting = lengths.iter().fold(0_u64, |sum, lengths| sum.saturating_add(lengths.waiting));
        match notice {
            Some(ServiceNotice::Unserved(lasts)) => {
                let names = self.queues.answers.keys().filter_map(|server| self.servers.get(*server));
                let servers = names.map(|server| server.name.clone()).collect();
                let reason = self.why_nobody_serves(&function, now);
                let seconds = seconds(lasts);
                self.report(Event::FunctionUnserved(UnservedFunction { function, servers, waiting, seconds, reason }));
            }
            Some(ServiceNotice::ServedAgain(lasted)) => {
                let (condition, seconds) = (QueueCondition::Unserved, seconds(lasted));
                let recovered = RecoveredQueue { function, server: None, condition, waiting, seconds };
                self.report(Event::QueueRecovered(recovered));
            }
            None => {}
        }
    }

    fn why_nobody_serves(&self, function: &str, now: Duration) -> String {
        match self.catalog.refused().find(|(refused, ..)| **refused == *function) {
            Some((_, _, reason)) => format!("its file {reason}"),
            None if !self.catalog.holds(function) => "no worker directory holds a library of that name".into(),
            None => self.why_unserved(function, now),
        }
    }

    /// What is wrong with a function's queues, for status: a clause each. The first ones are a reason to act.
    pub(super) fn queue_warnings(&self, function: &FunctionName) -> (Vec<String>, Vec<String>) {
        let (mut urgent, mut notes) = (Vec::new(), Vec::new());
        let its = self.queues.histories.iter().filter(|((name, _), _)| name == function);
        for ((_, server), history) in its {
            let server = self.servers.get(*server).map_or("", |server| &server.name);
            match history.problem() {
                Some((QueueProblem::Growing, queue)) => {
                    let waiting = wait(queue.waiting);
                    urgent.push(format!("{waiting} at {server}, more than before, and all workers are busy"));
                }
                Some((QueueProblem::NotTaken, queue)) => {
                    notes.push(format!("{} at {server} although {} idle", wait(queue.waiting), are(queue.idle)));
                }
                None => {}
            }
        }
        if self.queues.services.get(function).is_some_and(ServiceHistory::is_reported) {
            notes.push("no worker of any host serves it".into());
        }
        (urgent, notes)
    }
}
