//! M17: whatever one function does wrong, the others start, are replaced and rolled out as if it were not there.

use super::walks::walks;
use super::*;
use crate::supervisor::worker_state::WorkerState;

const SECOND: Duration = Duration::from_secs(1);

fn is_start(did: &str, functions: &str) -> bool {
    did == format!("start {functions}")
}

impl Stage {
    /// Everything that can be started now.
    fn settles(&mut self) -> &mut Self {
        while self.core.next_due(self.now) == Some(self.now) {
            self.input(Input::Timer { read: self.now });
        }
        self
    }

    /// How many of these were started since the last call.
    fn starts(&mut self, functions: &str) -> usize {
        self.settles();
        self.take_actions().iter().filter(|did| is_start(did, functions)).count()
    }

    fn place(&self, id: u64, function: &str) -> usize {
        self.core.workers[&WorkerId(id)].functions.iter().position(|version| version.function == *function).unwrap()
    }

    /// A worker comes to the `new()` of a function, and stays there.
    fn is_making(&mut self, id: u64, function: &str) -> &mut Self {
        let function = self.place(id, function);
        self.message(id, WorkerMessage::Making { function })
    }

    fn newest(&self) -> u64 {
        *self.ids().last().unwrap()
    }
}

/// `bad` and `good` with workers of their own; those of `good` serve.
fn apart(ini: &str) -> Stage {
    let mut stage = Stage::new(&format!("[GearmanManager]\n{ini}"));
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1)).settles();
    stage
}

#[test]
fn a_lost_library_keeps_its_own_function_waiting_only() {
    let lost = |worker| Input::LibraryLost { worker: WorkerId(worker), function: "bad".into() };
    let mut stage = apart("dedicated_count = 0\ncount = 2\n");
    stage.take_actions();
    stage.input(lost(1));
    let did = stage.take_actions();
    assert!(did.contains(&"probe bad".to_owned()) && did.contains(&"start good".to_owned()), "{did:?}");
    stage.input(lost(2));
    assert_eq!(stage.starts("good"), 1);
    assert_eq!(stage.count_events(|event| matches!(event, Event::SpawnFailed { .. })), 0);
    for id in stage.ids() {
        stage.serves(id);
    }
    stage.later(SECOND);
    assert_eq!(stage.starts("bad+good"), 1, "tried again");
}

#[test]
fn processes_that_are_refused_to_one_group_are_not_to_the_others() {
    let mut stage = apart("dedicated_count = 2\n");
    for id in stage.ids() {
        match stage.core.workers[&WorkerId(id)].names() == ["bad"] {
            true => stage.input(Input::SpawnFailed { worker: WorkerId(id), reason: "no memory".into() }),
            false => stage.serves(id),
        };
    }
    stage.take_actions();
    let good = stage.newest();
    stage.dies_in_job(good, 9);
    assert_eq!(stage.starts("good"), 1, "at once");
    stage.later(SECOND);
    assert_eq!(stage.starts("bad"), 2);
    assert_eq!(stage.count_events(|event| matches!(event, Event::SpawnFailed { .. })), 1);
}

/// Workers with a function that has failed of late start one at a time; those of the others do not wait for that.
#[test]
fn a_function_on_probation_keeps_no_slot_empty() {
    let mut stage = apart("dedicated_count = 0\ncount = 3\n");
    stage.input(Input::LibraryLost { worker: WorkerId(1), function: "bad".into() });
    for _ in 0..10 {
        for id in stage.ids() {
            match stage.core.workers[&WorkerId(id)].state.is_live() {
                true => stage.serves(id),
                false => stage.leaves(id),
            };
        }
        stage.later(SECOND).settles();
    }
    let all = stage.ids();
    assert!(all.len() == 3 && all.iter().all(|id| stage.core.workers[&WorkerId(*id)].serves("bad")));
    for id in all {
        stage.dies_in_job(id, 9);
        stage.settles();
        let live = stage.core.workers.values().filter(|worker| worker.state.is_live()).count();
        assert_eq!(live, 3, "{:?}", stage.core.workers);
    }
    let last = stage.newest();
    assert_eq!(stage.core.workers[&WorkerId(last)].names(), ["good"]);
}

/// A first death between jobs adds no wait. So nothing has to be read of the other worker before the dead one is replaced
/// by one with all its functions; no timer would bring that about.
#[test]
fn a_worker_that_dies_between_jobs_is_replaced_at_once_with_all_its_functions() {
    let mut stage = Stage::new("[GearmanManager]\ndedicated_count = 0\ncount = 2\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1));
    stage.later(SECOND).input(found("b", 1));
    let [first, second] = stage.ids()[..] else { panic!("two workers were planned") };
    stage.now += SECOND;
    stage.serves(first).serves(second).take_actions();
    stage.ends(first, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(stage.take_actions(), ["start a+b"]);
}

/// A worker in a slow new(), or one that hangs in it, is not connecting.
#[test]
fn a_slow_new_of_many_workers_delays_nobody_else() {
    let mut stage = apart("dedicated_count = 2\n[bad]\ndedicated_count = 40\n");
    assert_eq!(stage.starts("bad"), 16, "as many of one group as may load at once");
    let (bad, good): (Vec<u64>, Vec<u64>) =
        stage.ids().into_iter().partition(|id| stage.core.workers[&WorkerId(*id)].names() == ["bad"]);
    assert_eq!((bad.len(), good.len()), (16, 2));
    for id in bad {
        stage.is_making(id, "bad");
    }
    for id in &good {
        stage.serves(*id);
    }
    stage.take_actions();
    stage.dies_in_job(good[0], 9);
    assert_eq!(stage.starts("good"), 1);
}

#[test]
fn sixteen_workers_connect_at_once_and_slow_ones_do_not_count() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 20\ndedicated_count = 20\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1)).settles();
    for _ in 0..3 {
        for id in stage.ids() {
            stage.input(Input::Spawned { worker: WorkerId(id), pid: 100 }).message(id, WorkerMessage::Loaded);
        }
        stage.settles();
    }
    assert_eq!(stage.core.workers.len(), 60);
    assert_eq!(stage.connecting.len(), 16);
    let first = stage.connecting[0];
    stage.message(first, WorkerMessage::ServerUp { server: 0 }).message(first, WorkerMessage::Ready);
    assert_eq!(stage.connecting.len(), 17, "it has connected");
    let due = stage.core.next_due(stage.now).unwrap();
    assert_eq!(due, stage.now + Duration::from_millis(200));
    stage.later(due - stage.now);
    assert_eq!(stage.connecting.len(), 33);
}

/// The pause between two starts is for those of the plan, not for what is tried again and again.
#[test]
fn starts_that_are_spread_do_not_wait_for_retries() {
    let mut stage = apart("dedicated_count = 3\nworker_initial_spawn_splay = 10s\nbackoff_max = 1\n");
    assert_eq!(stage.started.len(), 1);
    let mut planned = 1;
    for _ in 0..50 {
        stage.later(SECOND);
        for id in stage.ids() {
            let worker = &stage.core.workers[&WorkerId(id)];
            match (worker.names() == ["bad"], worker.state.is_serving()) {
                (true, _) => {
                    stage.message(id, WorkerMessage::CannotServe { function: 0, reason: "no".into() });
                    stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
                }
                (false, false) => drop(stage.serves(id)),
                (false, true) => {}
            }
        }
        let good = stage.started.iter().filter(|start| names(start) == "good").count();
        planned = planned.max(good);
    }
    assert_eq!(planned, 3, "bad is tried every second, good has its turn every ten");
}

/// A worker for all functions that hangs in one new() is no worker for the others.
#[test]
fn what_shares_its_workers_with_a_slow_new_is_started_without_it() {
    let mut stage = apart("dedicated_count = 0\ncount = 2\nstart_timeout = 10\n");
    stage.is_making(1, "bad").is_making(2, "bad").take_actions();
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + SECOND));
    stage.later(SECOND);
    assert_eq!(stage.starts("good"), 2);
    stage.serves(3).serves(4);
    assert_eq!(stage.take_actions(), ["go 3", "go 4"], "the start is announced when bad has come, or not in time");
    // One of them comes up after all: it takes the place of one that stands in.
    stage.serves(1);
    assert_eq!(stage.take_actions()[..2], ["go 1", "leave 3"]);
    stage.leaves(3).later(SECOND);
    // The last one that stands in goes when the other has come up.
    stage.serves(2);
    assert!(stage.take_actions().contains(&"leave 4".to_owned()));
}

/// As long as the old ones serve what is slow nobody takes their place who does not.
#[test]
fn a_worker_is_not_replaced_by_one_that_serves_less() {
    let ini = "dedicated_count = 0\ncount = 2\nmax_worker_lifetime = 100\nworker_restart_splay = 0\n";
    let mut stage = apart(ini);
    stage.serves(1).serves(2).take_actions();
    stage.later(Duration::from_secs(100));
    assert_eq!(stage.starts("bad+good"), 1);
    stage.is_making(3, "bad").later(SECOND).later(SECOND);
    assert_eq!(stage.take_actions(), [""; 0]);
    stage.serves(3);
    assert_eq!(stage.take_actions()[..2], ["go 3", "leave 1"]);
}

/// A file whose probe hangs is not waited for, and a new version that hangs in its new() is tried apart.
#[test]
fn rollouts_do_not_wait_for_what_is_slow() {
    let tried = |stage: &Stage| -> Vec<Vec<String>> {
        let canaries = stage.core.workers.values().filter(|worker| worker.state.is_live());
        canaries
            .filter_map(|w| Some(w.canary.as_ref()?.iter().map(|tried| tried.function.to_string()).collect()))
            .collect()
    };
    let serving = || {
        let mut stage = apart("dedicated_count = 0\ncount = 1\n");
        stage.serves(1).take_actions();
        stage
    };
    let mut probe = serving();
    probe.input(scan(&[("bad", 2), ("good", 2)])).input(found("good", 2));
    assert_eq!(tried(&probe), [[""; 0]; 0], "what is copied together is tried together");
    let due = probe.core.next_due(probe.now).unwrap();
    assert_eq!(due, probe.now + SECOND * 2);
    probe.later(SECOND * 2);
    assert_eq!(tried(&probe), [["good"]]);

    let mut new = serving();
    new.input(scan(&[("bad", 2), ("good", 2)])).input(found("good", 2)).input(found("bad", 2));
    assert_eq!(tried(&new), [["bad", "good"]]);
    let canary = new.newest();
    new.is_making(canary, "bad").later(SECOND);
    let mut apart = tried(&new);
    apart.sort();
    assert_eq!(apart, [["bad"], ["good"]]);

    // What is served already is left out if its new() has become slow.
    let mut old = serving();
    old.input(scan(&[("bad", 1), ("good", 2)])).input(found("good", 2));
    let canary = old.newest();
    old.is_making(canary, "bad").later(SECOND);
    assert_eq!(tried(&old), [["good"]]);
    assert_eq!(names(old.started.last().unwrap()), "good");
}

/// Whatever one function does, in whatever order: at no moment is another function's worker missing and not started.
#[test]
fn random_walks_of_one_function_never_delay_anothers_start() {
    walks(24, 200, |seed| {
        let mut random = fastrand::Rng::with_seed(seed);
        let shared = seed % 2 == 1;
        let mut stage = apart(match shared {
            true => "dedicated_count = 0\ncount = 3\nmax_attempts = 1000\n",
            false => "dedicated_count = 3\nmax_attempts = 1000\n",
        });
        for id in stage.ids() {
            stage.serves(id);
        }
        let (mut versions, mut done) = (1, 0);
        for step in 0..200 {
            let ids = stage.ids();
            let serves = |stage: &Stage, id: u64, name: &str| stage.core.workers[&WorkerId(id)].serves(name);
            let bad: Vec<u64> = ids.iter().copied().filter(|id| serves(&stage, *id, "bad")).collect();
            let Some(id) = bad.get(random.usize(..bad.len().max(1))).copied() else {
                stage.later(Duration::from_millis(random.u64(..5000)));
                continue;
            };
            let starts = matches!(stage.core.workers[&WorkerId(id)].state, WorkerState::Starting { .. });
            let place = stage.place(id, "bad");
            match random.u8(..11) {
                0 if starts => drop(stage.input(Input::LibraryLost { worker: WorkerId(id), function: "bad".into() })),
                1 if starts && !shared => {
                    stage.input(Input::SpawnFailed { worker: WorkerId(id), reason: "no".into() });
                }
                2 if starts => drop(stage.is_making(id, "bad")),
                3 if starts => {
                    stage.message(id, WorkerMessage::CannotServe { function: place, reason: "no".into() });
                    stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
                }
                4 if starts => drop(stage.is_making(id, "bad").ends(id, exit_report(KILLED, ExitCause::OutsideJob, 0))),
                5 if starts => {
                    _ = stage.is_making(id, "bad").ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0))
                }
                6 if !starts => {
                    // The job was bad's.
                    done += 1;
                    let lost = JobInHand { function: place, ..job_of_bad() };
                    stage.ends(id, exit_report(ExitStatus::Signal(11), ExitCause::InJob(lost), done));
                }
                7 => {
                    versions += 1;
                    stage.input(scan(&[("bad", versions), ("good", 1)]));
                    if random.bool() {
                        stage.input(found("bad", versions));
                    }
                }
                8 => drop(stage.serves(id)),
                _ => drop(stage.later(Duration::from_millis(random.u64(..5000)))),
            }
            stage.settles();
            // Workers that do not serve bad come up as they should, and the others as far as to it.
            for id in stage.ids() {
                let begins = stage.core.workers[&WorkerId(id)].start.stage == super::super::StartStage::Begins;
                match serves(&stage, id, "bad") {
                    true if begins => {
                        let function = stage.place(id, "bad");
                        stage.message(id, WorkerMessage::Loading { function });
                    }
                    true => {}
                    false => drop(stage.serves(id)),
                }
            }
            stage.settles();
            let core = &stage.core;
            let good = |worker: &&WorkerRecord| {
                worker.state.is_live() && worker.serves("good") && !core.is_slow(worker) && worker.canary.is_none()
            };
            let there = core.workers.values().filter(good).count();
            assert!(there >= 3, "seed {seed}, step {step}: {there} workers for good: {:?}", core.workers);
            for (id, _) in stage.core.canaries() {
                stage.counts(id.0, 0, 0);
            }
            for id in stage.ids() {
                if !stage.core.workers[&WorkerId(id)].state.is_live() {
                    stage.leaves(id);
                }
            }
        }
    });
}

fn job_of_bad() -> JobInHand {
    JobInHand {
        function: 0,
        number: 1,
        connection: 1,
        handle: b"H:a:1".to_vec(),
        unique: String::new(),
        ran: SECOND,
        half_sent: false,
    }
}
