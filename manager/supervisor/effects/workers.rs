//! Workers: their orders, their words, their ends.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use gm_plugin_api::abi::level;
use nix::sys::signal::Signal;

use super::Effects;
use super::children::{Kind, Worker};
use crate::config::Config;
use crate::gearman::packet::encode;
use crate::logging::{Level, escape};
use crate::supervisor::core::{Answer, Counted, Input, Obituary, Seen, Start};
use crate::supervisor::judge::{JobInHand, Verdict, judge};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::rollout::Tally;
use crate::system::clock;
use crate::system::ears::ChildId;
use crate::system::errors::reason;
use crate::system::limits::{self, explained};
use crate::system::page::{self, Counters, Doing};
use crate::system::reap::{self, Reaped};
use crate::system::spawn::file_holding;
use crate::worker::ROLE;
use crate::worker::orders::{self, FunctionOrder, JobName, Limits, Order, Orders, ServerOrder, Word};

/// Descriptors the manager holds of each child: its channel and its output.
const EACH: usize = 3;
/// Descriptors the manager has for itself, about: log, lock, pid file, control socket, what it waits with.
const OWN: usize = 24;
/// Copies of sockets a worker may have handed over: one for each server, and some that are just ending.
const COPIES: usize = 1024;

impl Effects {
    pub(super) fn start(&mut self, start: &Start) {
        let worker = start.worker;
        if let Some((function, _)) = start.functions.iter().find(|(name, version)| !self.is_intact(name, version)) {
            return self.inputs.push_back(Input::LibraryLost { worker, function: function.clone() });
        }
        match self.try_start(start) {
            Ok(pid) => self.inputs.push_back(Input::Spawned { worker, pid }),
            Err(error) => self.inputs.push_back(Input::SpawnFailed { worker, reason: explained(error).to_string() }),
        }
    }

    fn try_start(&mut self, start: &Start) -> io::Result<i32> {
        let orders = file_holding(&orders::encode(&self.orders(start)))?;
        limits::leave_spare(self.descriptors_with(start.servers.len()))?;
        let (page_fd, page) = page::create(start.functions.len())?;
        let denied = self.denied.share()?;
        let functions = start.functions.iter().map(|(name, _)| name.clone()).collect();
        let versions = start.functions.iter().map(|(name, version)| (name.clone(), version.hash.clone())).collect();
        let worker = Worker {
            id: start.worker,
            page,
            functions,
            versions,
            copies: Default::default(),
            forks: Default::default(),
        };
        let child = self.spawn(ROLE, vec![page_fd, orders, denied], Kind::Worker(worker))?;
        self.workers.insert(start.worker, child);
        Ok(self.children.get(&child).map_or(0, |child| child.pid.as_raw()))
    }

    /// Descriptors that are taken when one more worker has started and all have sent copies of their connections. Counted,
    /// since numbers tell nothing: what is closed leaves gaps.
    fn descriptors_with(&self, servers: usize) -> usize {
        let of_child = |child: &super::children::Child| match &child.kind {
            Kind::Worker(worker) => EACH.saturating_add(servers.max(worker.copies.len())),
            _ => EACH,
        };
        let children = self.children.values().map(of_child).sum::<usize>();
        children.saturating_add(EACH).saturating_add(servers).saturating_add(OWN)
    }

    fn orders(&self, start: &Start) -> Orders {
        let config = &self.config;
        let functions = start.functions.iter().map(|(name, version)| FunctionOrder {
            name: name.clone(),
            symbol: format!("{}{name}", config.prefix),
            library: version.library.clone(),
            beside: self.known.beside(name, &version.hash),
            elsewhere: self.known.elsewhere(name, &version.hash),
            version: version.hash.clone(),
            settings: config.functions.get(name).map(|function| function.settings.0.clone()).unwrap_or_default(),
        });
        let names = || start.functions.iter().map(|(name, _)| name.as_str());
        let name = match start.functions.as_slice() {
            [(name, version)] if start.dedicated => format!("{name}/{}", version.hash),
            several => format!("all-{}/generation-{}", several.len(), start.generation),
        };
        Orders {
            manager: std::process::id() as i32,
            functions: functions.collect(),
            load_order: start.load_order.clone(),
            servers: start
                .servers
                .iter()
                .map(|(name, addresses)| ServerOrder { name: name.clone(), addresses: addresses.clone() })
                .collect(),
            name,
            host: self.host.clone(),
            generation: start.generation,
            verbosity: config.verbose,
            siblings: start.siblings,
            limits: Limits {
                max_runs: config.max_runs,
                max_memory: config.least(names(), Config::max_memory),
                max_memory_hard: config.least(names(), Config::max_memory_hard),
                max_packet: config.max_packet,
                connect_timeout: config.connect_timeout,
                echo_interval: config.echo_interval,
                echo_timeout: config.echo_timeout,
                stop_timeout: config.stop_timeout,
                grace: config.graceful_shutdown_wait_time,
            },
        }
    }

    /// Sends an order without waiting.
    pub(super) fn order(&mut self, id: WorkerId, order: &Order) {
        let Some(child) = self.workers.get(&id).and_then(|id| self.children.get(id)) else { return };
        let pid = child.pid;
        if let Err(error) = child.channel.send(&orders::encode(order), Duration::ZERO) {
            self.log(Level::Debug, pid.as_raw(), &format!("worker {pid} takes no order: {}", reason(&error)));
            // What it cannot be told in words it is told by a signal: to leave, or, where it would wait for ever, to end.
            match order {
                Order::Leave => self.terminate_worker(id),
                Order::Connect | Order::Go => self.kill_worker(id),
                Order::Verbosity(_) | Order::Addresses { .. } => {}
            }
        }
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

    pub(super) fn worker_said(&mut self, id: ChildId, message: &[u8], fd: Option<OwnedFd>) {
        let Some(child) = self.children.get_mut(&id) else { return };
        let pid = child.pid.as_raw();
        let Kind::Worker(worker) = &mut child.kind else { return };
        let worker_id = worker.id;
        let Ok(word) = orders::decode::<Word>(message) else {
            let size = message.len();
            return self.log(Level::Debug, pid, &format!("worker {pid} sent {size} bytes that are no message of ours"));
        };
        match (word, fd) {
            (Word::Connection { number, server }, Some(socket)) => {
                if worker.copies.len() < COPIES
                    && let Some((_, old)) = worker.copies.insert(number, (server, socket))
                {
                    self.hand_back(old);
                }
            }
            (Word::Disconnection { number }, _) => {
                if let Some((_, copy)) = worker.copies.remove(&number) {
                    self.hand_back(copy);
                }
            }
            (Word::Log { level, job, text }, _) => self.plugin_logged(id, level, job, &text),
            (Word::ForkCameBack { child, job }, _) => {
                if let Some(turn) = worker.forks.ask(clock::now()) {
                    let text = fork_came_back(child, turn.left_out);
                    self.plugin_logged(id, level::WARN, job, &text);
                }
            }
            (Word::Dropped { lines }, _) => {
                let text = format!(
                    "{lines} log lines of worker {pid} were dropped, since they came faster than they could be written"
                );
                self.log(Level::Warn, pid, &text);
            }
            (word, _) => self.inputs.push_back(Input::Said { worker: worker_id, word }),
        }
    }

    fn plugin_logged(&mut self, id: ChildId, level: u8, job: Option<JobName>, text: &str) {
        let Some(child) = self.children.get(&id) else { return };
        let Kind::Worker(worker) = &child.kind else { return };
        let level = match level {
            level::ERROR => Level::Error,
            level::WARN => Level::Warn,
            0 | level::INFO => Level::Worker,
            level::DEBUG => Level::Debug,
            _ => Level::Crazy,
        };
        if !self.logger.enabled(level) {
            return;
        }
        let about = match &job {
            Some(JobName { function, handle }) => format!("{} {}", escape(function), escape(handle)),
            None => crate::supervisor::event::several(&worker.functions),
        };
        self.log(level, child.pid.as_raw(), &format!("{about}: {}", escape(text)));
    }

    /// A worker is gone: its page is read now. Its connections end as soon as the core has decided about its job.
    pub(super) fn worker_ended(&mut self, worker: Worker, reaped: &Reaped) {
        self.workers.remove(&worker.id);
        let seen = worker.page.read();
        let verdict = judge(reaped.end, &seen, clock::now());
        let mut jobs = 0;
        for (index, (function, version)) in worker.versions.iter().enumerate() {
            let counters = worker.page.counters(index);
            jobs = counters.done.saturating_add(counters.failed).saturating_add(jobs);
            self.past.entry(function.clone()).or_default().add(version, counters);
        }
        let lost = match &verdict {
            Verdict::InJob(lost) | Verdict::Answering(lost) => Some(lost),
            _ => None,
        };
        let server = lost.and_then(|lost| worker.copies.get(&lost.connection)).map(|(server, _)| *server);
        let function = lost.map_or(0, |lost| lost.function);
        // Of a job that cannot be told it is the only function's, where there is no other.
        let known = lost.is_some() || worker.functions.len() == 1;
        let function = worker.functions.get(function).filter(|_| known).cloned();
        let done = function.map_or(0, |function| self.counters(&function).done);
        self.orphaned.insert(worker.id, worker.copies);
        let cut_another = match &verdict {
            Verdict::InJob(_) | Verdict::Answering(_) => seen.sending_elsewhere,
            // No job's, so any is that of one before.
            Verdict::OutsideJob => seen.sending && jobs > 0,
            Verdict::Left | Verdict::Unknown => false,
        };
        let obituary =
            Obituary { end: reaped.end, server, verdict, cut_another, jobs, peak_kib: reaped.peak_kib, done };
        self.inputs.push_back(Input::Ended { worker: worker.id, obituary });
        self.remove_condemned();
    }

    /// A dead worker's connections end, so that its job goes to another at once; or after the answer to its caller.
    pub(super) fn release(&mut self, worker: WorkerId, answer: Option<Answer>) {
        for (number, (_, copy)) in self.orphaned.remove(&worker).unwrap_or_default() {
            let mut last = Vec::new();
            if let Some(answer) = answer.as_ref().filter(|answer| answer.connection == number) {
                // A handle that no packet can carry came from no server: nothing is said, and the job is handed back.
                let _ = encode::failure(&mut last, &answer.handle, &answer.text);
            }
            self.hand_backs.end(copy, last);
        }
    }

    /// What workers are at now.
    pub fn see(&self, workers: Vec<WorkerId>) -> Vec<Seen> {
        let now = clock::now();
        workers.into_iter().filter_map(|worker| self.see_one(worker, now)).collect()
    }

    fn see_one(&self, id: WorkerId, now: Duration) -> Option<Seen> {
        let child = self.children.get(self.workers.get(&id)?)?;
        let Kind::Worker(worker) = &child.kind else { return None };
        let page = worker.page.read();
        // A job whose function has returned is not late, however slowly the job server takes the result.
        let job = page.job.filter(|_| page.doing == Doing::Running);
        let job = job.map(|job| JobInHand::of(&job, page.sending, now));
        let server = job.as_ref().and_then(|job| worker.copies.get(&job.connection)).map(|(server, _)| *server);
        Some(Seen { worker: id, job, server, overwritten: page.overwritten })
    }

    /// What canaries have done, and the old versions everywhere else.
    pub fn count(&self, canaries: Vec<(WorkerId, Vec<(String, String)>)>) -> Vec<Counted> {
        canaries.into_iter().filter_map(|(worker, tried)| self.count_one(worker, &tried)).collect()
    }

    fn count_one(&self, worker: WorkerId, tried: &[(String, String)]) -> Option<Counted> {
        let child = self.children.get(self.workers.get(&worker)?)?;
        let Kind::Worker(canary) = &child.kind else { return None };
        let tally = |(function, served): &(String, String)| {
            let index = canary.functions.iter().position(|name| name == function)?;
            let own = canary.page.counters(index);
            let old = self.counters_of(function, served);
            Some(Tally { done: own.done, failed: own.failed, old_done: old.done, old_failed: old.failed })
        };
        Some(Counted { worker, tallies: tried.iter().map(tally).collect::<Option<_>>()? })
    }

    /// What one version of a function has done, in all workers there ever were.
    fn counters_of(&self, function: &str, version: &str) -> Counters {
        let past = self.past.get(function).and_then(|past| past.versions.iter().find(|(hash, _)| hash == version));
        let past = past.map(|(_, counters)| *counters).unwrap_or_default();
        self.with_living(past, |name, hash| name == function && hash == version)
    }

    /// What a function has done, in all workers there ever were.
    pub(super) fn counters(&self, function: &str) -> Counters {
        let past = self.past.get(function).map(|past| past.all).unwrap_or_default();
        self.with_living(past, |name, _| name == function)
    }

    /// Adds what the workers that are there have done of one function, by its name and version.
    fn with_living(&self, mut sum: Counters, counts: impl Fn(&str, &str) -> bool) -> Counters {
        for child in self.children.values() {
            let Kind::Worker(worker) = &child.kind else { continue };
            if let Some(index) = worker.versions.iter().position(|(name, hash)| counts(name, hash)) {
                add(&mut sum, worker.page.counters(index));
            }
        }
        sum
    }
}

/// What is logged of a process that came back from the plugin that had forked it; follows the function or the job.
fn fork_came_back(child: u32, left_out: u64) -> String {
    let more = if left_out == 0 { String::new() } else { format!(" ({left_out} more before it)") };
    format!(
        "a process that it forked (pid {child}) came back from it and was ended; its result is dropped, the worker's \
         own counts: a forked child has to exec or to _exit{more}"
    )
}

/// Versions of one function whose past is told apart: what a canary is compared with is among the latest.
const TOLD_APART: usize = 8;

/// What workers that are gone had done of one function.
#[derive(Default)]
pub(super) struct Past {
    all: Counters,
    /// By version, the one that ended last at the end.
    versions: Vec<(String, Counters)>,
}

impl Past {
    fn add(&mut self, version: &str, counters: Counters) {
        add(&mut self.all, counters);
        let known = self.versions.iter().position(|(hash, _)| hash == version);
        let mut own = known.map_or_else(|| (version.to_owned(), Counters::default()), |at| self.versions.remove(at));
        add(&mut own.1, counters);
        self.versions.push(own);
        if self.versions.len() > TOLD_APART {
            self.versions.remove(0);
        }
    }
}

/// Adds up counters; a page that was scribbled over must not end the manager.
fn add(sum: &mut Counters, more: Counters) {
    sum.done = sum.done.wrapping_add(more.done);
    sum.failed = sum.failed.wrapping_add(more.failed);
    sum.bytes_in = sum.bytes_in.wrapping_add(more.bytes_in);
    sum.bytes_out = sum.bytes_out.wrapping_add(more.bytes_out);
    sum.run_ns = sum.run_ns.wrapping_add(more.run_ns);
}
