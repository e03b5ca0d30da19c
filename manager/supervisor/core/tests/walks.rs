//! Random walks: whatever happens, in whatever order, the invariants hold, and once it is quiet the plan is reached.
//!
//! `cargo test --lib walks` walks with a few fixed seeds, `make walks` a million steps with new ones. A seed that failed
//! is printed; `GM_WALK_SEED=N cargo test --lib walks` repeats it.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::plan::Group;
use crate::supervisor::backoff::Backoff;
use crate::supervisor::pause_records::Pause;
use crate::supervisor::reconcile::JobAllowance;
use crate::supervisor::worker_state::{ExitReason, WorkerState};

/// Walks with `few` seeds, or with as many as take `GM_WALK_STEPS`, or with `GM_WALK_SEED` alone.
pub(super) fn walks(few: u64, steps: u64, walk: impl Fn(u64)) {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let (first, count) = match (number("GM_WALK_SEED"), number("GM_WALK_STEPS")) {
        (Some(seed), None) => (seed, 1),
        (seed, Some(total)) => (seed.unwrap_or_else(|| fastrand::u64(..1 << 32)), total.div_ceil(steps)),
        (None, None) => (0, few),
    };
    println!("{count} walks of {steps} steps, seeds from {first}");
    for seed in first..first + count {
        let _named = PrintedOnPanic(seed);
        walk(seed);
    }
}

struct PrintedOnPanic(u64);

impl Drop for PrintedOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the seed was {}", self.0);
        }
    }
}

/// A configuration to walk in.
struct Fixture {
    ini: &'static str,
    /// Each function has one worker and no surge: no two may ever have a job.
    mutex: bool,
}

const SCENES: [Fixture; 4] = [
    Fixture { ini: "count = 2\ndedicated_count = 1\n[b]\ndedicated_count = 3\n", mutex: false },
    Fixture { ini: "count = 0\ndedicated_count = 1\nrollout_surge = 0\nmax_worker_lifetime = 90\n", mutex: true },
    Fixture {
        ini: "count = 0\ndedicated_count = 2\ntimeout = 10\ntimeout_grace = 5\n[a]\non_crash = fail\n",
        mutex: false,
    },
    Fixture { ini: "count = 3\ndedicated_count = 0\nbackoff_max = 3\n", mutex: false },
];

const FUNCTIONS: [&str; 2] = ["a", "b"];

struct Walk {
    stage: Stage,
    fixture: &'static Fixture,
    random: fastrand::Rng,
    /// Of each function's file; 0 if there is none.
    files: [u64; 2],
    newest: u64,
    /// Workers that were ordered to take jobs and are there.
    told_to_go: BTreeSet<WorkerId>,
    stopped: u32,
    /// Whether someone asks for rollbacks, too.
    rolls_back: bool,
}

impl Walk {
    fn new(seed: u64) -> Self {
        let fixture = &SCENES[usize::try_from(seed % 4).unwrap()];
        let stage = Stage::new(&format!("[GearmanManager]\n{}", fixture.ini));
        let random = fastrand::Rng::with_seed(seed);
        let (told_to_go, stopped, rolls_back) = (BTreeSet::new(), 0, false);
        let mut walk = Self { stage, fixture, random, files: [1, 1], newest: 1, told_to_go, stopped, rolls_back };
        walk.scan();
        FUNCTIONS.into_iter().for_each(|name| walk.input(found(name, 1)));
        // Before that a failure would be a failed start, which ends the manager.
        walk.everyone_serves();
        walk
    }

    /// One input, and what must hold before and after it.
    fn input(&mut self, input: Input) {
        let core = &self.stage.core;
        let before: BTreeMap<WorkerId, WorkerState> = core.workers.iter().map(|(id, w)| (*id, w.state)).collect();
        let waits = core.failures.functions.clone();
        let shown = format!("{input:?}");
        self.stage.input(input);
        for did in self.stage.take_actions() {
            match did.split_once(' ') {
                Some(("kill", id)) => self.killed(WorkerId(id.parse().unwrap()), &before),
                Some(("go", id)) => drop(self.told_to_go.insert(WorkerId(id.parse().unwrap()))),
                _ => {}
            }
        }
        let core = &self.stage.core;
        for (id, worker) in core.workers.iter() {
            let was_live = before.get(id).is_none_or(|state| state.is_live());
            assert!(was_live || !worker.state.is_live(), "{id:?} came back after {shown}");
        }
        for (name, before) in waits {
            let after = &core.failures.functions.get(&name);
            let until = |backoff: &Backoff| backoff.waits_until(self.stage.now);
            let Some(after) = after.filter(|after| after.failures() > before.failures()) else { continue };
            assert!(until(after) >= until(&before), "{name} failed once more and waits less: {shown}, {before:?}");
        }
        self.told_to_go.retain(|id| core.workers.contains_key(id));
        self.live_workers_are_bounded(&before, &shown);
        if self.fixture.mutex {
            for name in FUNCTIONS {
                let at_work = self.told_to_go.iter().filter(|id| core.workers[id].serves(name));
                let at_work = at_work.filter(|id| core.workers[id].retirement.runs != JobAllowance::None);
                assert!(at_work.count() <= 1, "two may have a job of {name} after {shown}:{}", self.workers_shown());
            }
        }
    }

    /// At most the plan, one more in each group while workers are replaced, and a canary. A worker at a slow start has
    /// another beside it, and one that serves what its successors could not serve now stays. Once they could, it is
    /// replaced like any other: those that were started meanwhile stay until then, and nobody is started beside them.
    fn live_workers_are_bounded(&self, before: &BTreeMap<WorkerId, WorkerState>, shown: &str) {
        let core = &self.stage.core;
        let counts = |worker: &WorkerRecord| {
            worker.state.is_live()
                && worker.retirement.runs != JobAllowance::None
                && !core.is_slow(worker)
                && !self.is_kept(worker)
        };
        let (canaries, others): (Vec<_>, Vec<_>) =
            core.workers.iter().filter(|(_, worker)| counts(worker)).partition(|(_, worker)| worker.canary.is_some());
        assert!(canaries.len() <= 2 * FUNCTIONS.len(), "canaries after {shown}:{}", self.workers_shown());
        for key in others.iter().map(|(_, worker)| &worker.key).collect::<BTreeSet<_>>() {
            let group: Vec<_> = others.iter().filter(|(_, worker)| worker.key == *key).collect();
            let (planned, surge) = self.planned(key);
            // With no surge a successor is there all the same, and not at work.
            let (most_at_work, most) = (planned + surge, planned + surge.max(1));
            let at_work = group.iter().filter(|(_, worker)| worker.state.is_activated()).count();
            let is_started = group.iter().any(|(id, _)| !before.contains_key(id));
            let shown = || format!("of {key:?} for {planned} after {shown}:{}", self.workers_shown());
            assert!(at_work <= most_at_work, "{at_work} are at work {}", shown());
            assert!(group.len() <= most || !is_started, "{} are there {}", group.len(), shown());
        }
    }

    /// How many workers a group is to have, and how many more while they are replaced.
    fn planned(&self, key: &GroupKey) -> (usize, usize) {
        let core = &self.stage.core;
        let Some(group) = core.plan.groups.iter().find(|group| group_key(group) == *key) else { return (0, 1) };
        let surge = group.functions.iter().map(|name| core.config.rollout_surge(name).of(group.count)).min();
        (group.count as usize, surge.unwrap_or(1) as usize)
    }

    /// Whether it may be there beside the plan: it serves what a worker that is started now would not serve.
    fn is_kept(&self, worker: &WorkerRecord) -> bool {
        let (core, now) = (&self.stage.core, self.stage.now);
        let group = core.plan.groups.iter().find(|group| group_key(group) == worker.key);
        let planned = group.map_or(&[][..], |group| &group.functions);
        let slow = core.slow_functions(&worker.key, planned);
        let starts = |name: &FunctionName| core.may_start(name, now) && planned.contains(name) && !slow.contains(name);
        worker.state.is_serving() && !worker.functions.iter().all(|version| starts(&version.function))
    }

    /// Nobody is killed but for a deadline, or while it starts and has no job.
    fn killed(&self, id: WorkerId, before: &BTreeMap<WorkerId, WorkerState>) {
        let core = &self.stage.core;
        let state = core.workers[&id].state;
        let WorkerState::Killed { reason } = state else { panic!("{id:?} was killed and is {state:?}") };
        let starts = |at: &WorkerState| matches!(at, WorkerState::Starting { .. });
        let before = before.get(&id).copied();
        let right = match reason {
            ExitReason::StartTimeout => before.is_some_and(|at| starts(&at) && at.deadline() <= Some(core.read)),
            ExitReason::DrainTimeout => {
                self.stopped >= 5 || before.and_then(WorkerState::deadline).is_some_and(|at| at <= core.read)
            }
            ExitReason::JobTimeout => {
                matches!(before, Some(WorkerState::Draining { reason: ExitReason::JobTimeout, .. }))
            }
            ExitReason::Stop | ExitReason::Replaced | ExitReason::Surplus => before.as_ref().is_none_or(starts),
            ExitReason::Unresponsive => self.stage.silent.contains_key(&id.0) && before.is_some_and(|at| at.polls()),
            ExitReason::ByItself | ExitReason::CannotServe | ExitReason::StopSignals => false,
        };
        assert!(right, "{id:?} was killed for {reason:?} and was {before:?}");
    }

    fn scan(&mut self) {
        let files: Vec<(&str, u64)> =
            FUNCTIONS.into_iter().zip(self.files).filter(|(_, version)| *version > 0).collect();
        self.input(scan(&files));
    }

    fn send(&mut self, worker: WorkerId, message: WorkerMessage) {
        self.input(Input::Message { worker, message });
    }

    fn end(&mut self, worker: WorkerId, end: ExitStatus, exit_cause: ExitCause, done: u64) {
        self.input(Input::Ended { worker, exit_report: exit_report(end, exit_cause, done) });
    }

    fn later(&mut self, time: Duration) {
        self.stage.now += time;
        self.input(Input::Timer { read: self.stage.now });
    }

    fn workers(&self) -> Vec<WorkerId> {
        self.stage.core.workers.keys().copied().collect()
    }

    fn serves(&mut self, worker: WorkerId) {
        self.input(Input::Spawned { worker, pid: 100 });
        for message in [WorkerMessage::Loaded, WorkerMessage::ServerUp { server: 0 }, WorkerMessage::Ready] {
            self.send(worker, message);
        }
        self.send(worker, WorkerMessage::Serving);
    }

    fn workers_shown(&self) -> String {
        let line = |(id, w): (&WorkerId, &WorkerRecord)| {
            let WorkerRecord { key, state, start, retirement, canary, functions, .. } = w;
            let start = format!("{:?} since {:?}", start.stage, start.reached);
            format!(
                "\n{} {key:?} {state:?}, {start}, {:?} runs, canary of {canary:?}, {functions:?}",
                id.0, retirement.runs
            )
        };
        self.stage.core.workers.iter().map(line).collect()
    }

    /// Also those that are started meanwhile: left alone for the next step of time they would be late.
    fn everyone_serves(&mut self) {
        for _ in 0..10 {
            let on_their_way = |worker: &WorkerRecord| worker.state.is_live() && !worker.state.is_serving();
            let workers = self.stage.core.workers.iter().filter(|(_, worker)| on_their_way(worker));
            let workers: Vec<WorkerId> = workers.map(|(id, _)| *id).collect();
            workers.into_iter().for_each(|worker| self.serves(worker));
        }
    }

    fn job(&mut self, worker: WorkerId) -> JobInHand {
        let functions = self.stage.core.workers[&worker].functions.len();
        let number = self.random.u64(1..4);
        JobInHand {
            function: self.random.usize(..functions.max(1)),
            number,
            connection: 1,
            handle: format!("H:a:{number}").into_bytes(),
            unique: String::new(),
            ran: Duration::from_secs(self.random.u64(..20)),
            half_sent: self.random.bool(),
        }
    }

    /// Something happens to a worker, if there is one.
    fn step_of_worker(&mut self) {
        let workers = self.workers();
        let Some(worker) = workers.get(self.random.usize(..workers.len().max(1))).copied() else { return };
        let function = self.random.usize(..3);
        let name = FUNCTIONS[function % 2];
        let reason = "no".to_owned();
        match self.random.u8(..25) {
            0..=5 => self.serves(worker),
            6 => self.input(Input::Spawned { worker, pid: 100 }),
            7 => self.send(worker, WorkerMessage::Loading { function }),
            8 => self.send(worker, WorkerMessage::Making { function }),
            9 => self.send(worker, WorkerMessage::Loaded),
            10 => self.send(worker, WorkerMessage::Ready),
            11 => self.send(worker, WorkerMessage::Serving),
            12 => self.send(worker, if function == 0 { WorkerMessage::FewJobsLeft } else { WorkerMessage::NoJobsLeft }),
            13 => {
                let jobs = self.random.u64(..2);
                self.send(worker, WorkerMessage::Draining { jobs });
            }
            14 => self.send(worker, WorkerMessage::MemoryLimitExceeded { bytes: 1 }),
            15 => self.send(worker, WorkerMessage::CannotServe { function, reason }),
            16 if self.stage.core.workers[&worker].pid.is_none() => {
                self.input(Input::SpawnFailed { worker, reason });
            }
            17 if self.stage.core.workers[&worker].pid.is_none() => {
                self.input(Input::LibraryLost { worker, function: name.into() });
            }
            18 => {
                let (job, overwritten) = (self.job(worker), self.random.u8(..10) == 0);
                let job = self.random.bool().then_some(job);
                self.input(Input::ScoreboardRead(ScoreboardReading { worker, job, server: Some(0), overwritten }));
            }
            19 => {
                let failed = self.random.u64(..8);
                let counts = JobCounts { completed: 4, failed, old_completed: 100, old_failed: 0 };
                let tried = self.stage.core.workers[&worker].canary.as_ref().map_or(0, Vec::len);
                let failures = vec![String::new(); tried];
                self.input(Input::Counted(CanaryCounts { worker, counts: vec![counts; tried], failures }));
            }
            20 => self.end(worker, ExitStatus::Exit(0), ExitCause::Drained, 0),
            21 => {
                let (job, done) = (self.job(worker), self.random.u64(..5));
                let cause = if self.random.bool() { ExitCause::InJob(job) } else { ExitCause::Answering(job) };
                self.end(worker, KILLED, cause, done);
            }
            22 => self.end(worker, ExitStatus::Exit(1), ExitCause::Unknown, 0),
            23 => drop(self.stage.silent.insert(worker.0, (self.stage.now, RunState::Stopped))),
            _ => self.end(worker, KILLED, ExitCause::OutsideJob, 0),
        }
    }

    fn step(&mut self) {
        let which = self.random.usize(..2);
        let name = FUNCTIONS[which];
        match self.random.u8(..20) {
            0..=11 => self.step_of_worker(),
            12 => {
                self.newest += 1;
                self.files[which] = self.newest;
                self.scan();
                match self.random.u8(..4) {
                    0 => self.input(Input::Probed {
                        function: name.into(),
                        identity: identity(self.newest),
                        result: Err("it is a text file".into()),
                    }),
                    1 => {}
                    _ => self.input(found(name, self.newest)),
                }
            }
            13 if self.random.u8(..4) == 0 => {
                self.files[which] = 0;
                self.scan();
            }
            13 => self.scan(),
            14 if self.random.u8(..4) == 0 => {
                self.input(Input::Reload(Box::new(self.stage.core.config.clone()), Vec::new()))
            }
            14 if self.random.u8(..4) == 0 => self.restart(which),
            14 => self.input(Input::Retry { function: name.into(), asked: BY }),
            15 if self.rolls_back => self.roll_back(name),
            15 if self.random.u8(..4) == 0 => self.pause_or_resume(name),
            15 => self.input(Input::Changed),
            _ => {
                let time = Duration::from_millis(self.random.u64(..5000));
                self.later(time);
            }
        }
    }

    /// One function or all, if they can be restarted.
    fn restart(&mut self, which: usize) {
        let function = [Some(FUNCTIONS[which]), None][self.random.usize(..2)];
        if let Ok(order) = self.stage.core.may_restart(function) {
            self.input(Input::Request { request: 1, order });
        }
    }

    /// Whichever of the two is possible.
    fn pause_or_resume(&mut self, name: &str) {
        let core = &self.stage.core;
        let pause = Pause { by: "alice".into(), since: "2026-11-24 12:00:00".into() };
        let order = match core.pause_of(name) {
            Some(_) => core.may_resume(name).map(Order::Resume),
            None => core.may_pause(name).map(|function| Order::Pause { function, pause, drains: true }),
        };
        if let Ok(order) = order {
            self.input(Input::Request { request: 2, order });
        }
    }

    /// To any version that was ever there, if the function can be rolled back.
    fn roll_back(&mut self, name: &str) {
        let back = version(name, self.random.u64(1..=self.newest));
        if let Ok(function) = self.stage.core.may_roll_back(name) {
            self.input(Input::Rollback { function, version: back, asked: BY });
        }
    }

    /// The files are there, the workers follow their orders, and time passes.
    fn settle(&mut self) {
        let paused = FUNCTIONS.into_iter().filter(|name| self.stage.core.pause_of(name).is_some());
        paused.collect::<Vec<_>>().into_iter().for_each(|name| self.pause_or_resume(name));
        self.newest += 1;
        self.files = [self.newest; 2];
        self.scan();
        let newest = self.newest;
        FUNCTIONS.into_iter().for_each(|name| self.input(found(name, newest)));
        // At last in short steps: in the long ones a worker may just have reached the end of its lifetime.
        for step in [[31_000; 50].as_slice(), &[10; 20]].concat() {
            self.later(Duration::from_millis(step));
            for (worker, tried) in self.stage.core.canaries() {
                let (counts, failures) = (vec![JobCounts::default(); tried.len()], vec![String::new(); tried.len()]);
                self.input(Input::Counted(CanaryCounts { worker, counts, failures }));
            }
            self.everyone_serves();
            self.those_that_drain_exit();
            if step == 10 && self.plan_is_reached() {
                self.nobody_waits();
                return;
            }
        }
        panic!("the plan {:?} is not reached:{}", self.stage.core.plan, self.workers_shown());
    }

    /// Each group has as many workers as planned, all of them serve what the group should, and nobody else is there but a
    /// successor for each that has few runs left.
    fn plan_is_reached(&self) -> bool {
        let core = &self.stage.core;
        let is_as_planned = |group: &Group| {
            let workers = core.workers.values().filter(|worker| worker.key == group_key(group));
            let serve = |worker: &WorkerRecord| group.functions.iter().all(|name| worker.serves(name));
            let (serve, others): (Vec<_>, Vec<_>) =
                workers.partition(|worker| worker.state.is_serving() && serve(worker));
            let nearly_exhausted = serve.iter().filter(|worker| worker.retirement.runs == JobAllowance::Few).count();
            let wait = others.iter().all(|worker| worker.state == WorkerState::Ready);
            serve.len() == group.count as usize && wait && others.len() <= nearly_exhausted
        };
        let is_planned = |worker: &WorkerRecord| core.plan.groups.iter().any(|group| group_key(group) == worker.key);
        core.plan.groups.iter().all(is_as_planned)
            && core.workers.values().all(is_planned)
            && FUNCTIONS.iter().all(|name| core.plan.planned(name) > 0)
    }

    /// The outcome of every rollback and retry was reported.
    fn nobody_waits(&self) {
        for name in FUNCTIONS {
            let rollback = self.stage.core.rollback_under_way(name);
            assert!(rollback.is_none(), "a rollback of {name} has no outcome: {rollback:?}");
            assert_eq!(self.stage.core.retry_under_way(name), None, "a retry of {name} has no outcome");
        }
    }

    fn those_that_drain_exit(&mut self) {
        for worker in self.workers() {
            if !self.stage.core.workers[&worker].state.is_live() {
                self.end(worker, ExitStatus::Exit(0), ExitCause::Drained, 1);
            }
        }
    }

    /// Workers that hear nothing are killed when the grace period is over, and then the manager is finished.
    fn stop(&mut self) {
        for _ in 0..self.random.u32(1..=5) {
            self.stopped += 1;
            self.input(Input::Stop { by: "SIGTERM" });
        }
        self.later(self.stage.core.config.graceful_shutdown_wait_time);
        for worker in self.workers() {
            let state = self.stage.core.workers[&worker].state;
            assert!(matches!(state, WorkerState::Killed { .. }), "{worker:?} is {state:?} after the grace period");
            self.end(worker, KILLED, ExitCause::OutsideJob, 0);
        }
        assert_eq!(self.stage.core.phase, ManagerPhase::Finished);
    }
}

#[test]
fn random_walks_keep_the_invariants() {
    walks(40, 300, |seed| {
        let mut walk = Walk::new(seed);
        (0..300).for_each(|_| walk.step());
        walk.settle();
        walk.stop();
    });
}

/// Apart from the walks above, so that the seeds of those stay what they are.
#[test]
fn random_walks_with_rollbacks_keep_the_invariants() {
    walks(40, 300, |seed| {
        let mut walk = Walk::new(seed);
        walk.rolls_back = true;
        (0..300).for_each(|_| walk.step());
        walk.settle();
        walk.stop();
    });
}
