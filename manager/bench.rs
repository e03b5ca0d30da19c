//! The supervisor's core for `benches/core.rs`, which measures what an input costs. Built with the feature `bench` only.
//!
//! Simulated workers do at once what the core asks of them, and time passes only when the core waits for it.

#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]
#![allow(clippy::arithmetic_side_effects, reason = "a bench is not supervised by a clock")]

use std::collections::VecDeque;
use std::time::Duration;

use crate::config::{ConfigFile, Overrides, load};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::identity::FileIdentity;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::{Candidate, ScanResult};
use crate::plugins::version_records::VersionFacts;
use crate::supervisor::catalog::{CheckedVersion, SavedVersions};
use crate::supervisor::core::{Action, Core, ExitReport, Input};
use crate::supervisor::exit_cause::ExitCause;
use crate::supervisor::reconcile::WorkerId;
use crate::system::reap::ExitStatus;
use crate::worker::messages::WorkerMessage;

/// The core with all its workers serving.
#[allow(missing_debug_implementations, reason = "nobody prints it")]
pub struct ServingCore {
    core: Core,
    now: Duration,
    waiting: VecDeque<Input>,
    /// Inputs that the core has taken.
    inputs: u64,
    /// Workers that serve, the oldest first.
    serving: VecDeque<WorkerId>,
}

impl ServingCore {
    /// A core whose `workers` dedicated workers are spread over `functions` functions, all serving.
    ///
    /// # Panics
    ///
    /// If the core does not get there.
    #[must_use]
    pub fn new(workers: usize, functions: usize) -> Self {
        let ini = format!("[GearmanManager]\ndedicated_count = {}\nworker_restart_splay = 0\n", workers / functions);
        let source = ConfigFile { path: "gm.ini".as_ref(), bytes: ini.as_bytes() };
        let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
        let now = Duration::from_secs(1000);
        let (core, _) = Core::new(config, SavedVersions::default(), 7, now);
        let mut core = Self { core, now, waiting: VecDeque::new(), inputs: 0, serving: VecDeque::new() };
        let names = (0..functions).map(|n| FunctionName::new(&format!("f{n}")).unwrap());
        let candidates = names.map(|function| (function.clone(), candidate(function)));
        core.waiting.push_back(Input::Scanned(ScanResult { candidates: candidates.collect(), ..Default::default() }));
        core.settle(|core| core.serving.len() == workers);
        core
    }

    /// A message that changes nothing in the plan: a worker has closed a connection.
    pub fn message(&mut self) {
        let worker = self.serving[self.serving.len() / 2];
        self.take(Input::Message { worker, message: WorkerMessage::Disconnection { number: 1 } });
    }

    /// Nothing is due.
    pub fn tick(&mut self) {
        self.take(Input::Timer { read: self.now });
    }

    /// The oldest worker has reached its limit of jobs: another is started and takes over from it. Returns the number of
    /// inputs that this takes.
    pub fn replace(&mut self) -> u64 {
        let before = self.inputs;
        let oldest = self.serving[0];
        self.waiting.push_back(Input::Message { worker: oldest, message: WorkerMessage::NoJobsLeft });
        let workers = self.serving.len();
        self.settle(|core| core.serving.len() == workers && core.serving[0] != oldest);
        self.inputs - before
    }

    /// Feeds what is waiting until all is as it should be; time passes while nothing is waiting.
    fn settle(&mut self, is_settled: impl Fn(&Self) -> bool) {
        for _ in 0..1_000_000 {
            match self.waiting.pop_front() {
                Some(input) => self.take(input),
                None if is_settled(self) => return,
                None => {
                    self.now = self.core.next_due(self.now).unwrap_or(self.now).max(self.now);
                    self.take(Input::Timer { read: self.now });
                }
            }
        }
        panic!("the core does not settle: {} workers serve", self.serving.len());
    }

    fn take(&mut self, input: Input) {
        self.inputs += 1;
        for action in self.core.handle(input, self.now) {
            self.obey(action);
        }
    }

    /// What the effects and the workers would do.
    fn obey(&mut self, action: Action) {
        match action {
            Action::Probe(Candidate { function, identity, .. }) => {
                let hash = format!("{:012x}", function.as_str().len());
                let hash = ShortHash::from_name(&hash).unwrap();
                let facts = VersionFacts { crate_version: "1.0.0".into(), has_go: false };
                let version = CheckedVersion { hash, library: "/s".into(), facts, warning: None };
                self.waiting.push_back(Input::Probed { function, identity, result: Ok(version) });
            }
            Action::Start(start) => {
                let (worker, pid) = (start.worker, start.generation as i32);
                self.waiting.push_back(Input::Spawned { worker, pid });
                self.messages(worker, [WorkerMessage::Loading { function: 0 }, WorkerMessage::Loaded]);
            }
            Action::Connect(worker) => {
                let connection = WorkerMessage::Connection { number: 1, server: 0 };
                self.messages(worker, [connection, WorkerMessage::ServerUp { server: 0 }, WorkerMessage::Ready]);
            }
            Action::Activate(worker) => {
                self.messages(worker, [WorkerMessage::Serving]);
                self.serving.push_back(worker);
            }
            Action::Drain(worker) => {
                self.serving.retain(|serving| *serving != worker);
                self.waiting.push_back(Input::Ended { worker, exit_report: drained() });
            }
            _ => {}
        }
    }

    fn messages<const N: usize>(&mut self, worker: WorkerId, messages: [WorkerMessage; N]) {
        self.waiting.extend(messages.map(|message| Input::Message { worker, message }));
    }
}

fn candidate(function: FunctionName) -> Candidate {
    let path = format!("/w/{function}.so").into();
    let identity = FileIdentity { dev: 1, ino: 1, size: 2, mtime: (0, 0), ctime: (0, 0) };
    Candidate { function, dir: "/w".into(), path, identity }
}

fn drained() -> ExitReport {
    ExitReport {
        pid: 1,
        end: ExitStatus::Exit(0),
        server: None,
        exit_cause: ExitCause::Drained,
        cut_another: false,
        jobs: 100,
        is_counted: false,
        peak_kib: 2048,
        out_of_memory: None,
        workload: None,
        completed: 100,
        report: None,
    }
}
