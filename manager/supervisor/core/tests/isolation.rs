//! Functions that start alone and not beside others: nobody loses a worker for them.

use super::*;
use crate::supervisor::worker_state::WorkerState;

/// Functions that cannot be in one process, in any order of loading.
struct Clashes(&'static [(&'static str, &'static str)]);

impl Clashes {
    /// Whether a version bears what was loaded before it.
    fn refuses(&self, loaded: &[String], next: &str) -> bool {
        let is = |a: &str, b: &str| next == a && loaded.iter().any(|loaded| loaded == b);
        self.0.iter().any(|(a, b)| is(a, b) || is(b, a))
    }
}

/// A manager whose functions have these files, and what cannot be together.
struct Together {
    stage: Stage,
    clashes: Clashes,
    /// Workers that are over.
    done: usize,
}

impl Together {
    fn start(ini: &str, files: &[(&str, u64)], clashes: Clashes) -> Self {
        let mut stage = Stage::new(&format!("[GearmanManager]\n{ini}"));
        stage.input(scan(files));
        for (name, content) in files {
            stage.input(found(name, *content));
        }
        Self { stage, clashes, done: 0 }
    }

    /// Every worker that was started does as its libraries let it, and the ones that were ordered to drain have exited.
    /// Each function that was served before goes on being served at every moment.
    fn settle(&mut self) -> &mut Self {
        let served = self.served();
        for _ in 0..200 {
            let news = self.stage.started.len() > self.done;
            while self.done < self.stage.started.len() {
                let start = self.stage.started[self.done].clone();
                self.done += 1;
                self.comes_up(&start);
                self.keeps(&served);
            }
            let gone: Vec<u64> =
                self.stage.core.workers.iter().filter(|(_, w)| !w.state.is_live()).map(|(id, _)| id.0).collect();
            for id in &gone {
                self.stage.leaves(*id);
                self.keeps(&served);
            }
            if !news && gone.is_empty() {
                return self;
            }
        }
        panic!("it never settles: {:?}", self.stage.take_actions());
    }

    fn keeps(&self, served: &[String]) {
        let planned = |name: &&String| self.stage.core.plan.planned(name) > 0;
        for name in served.iter().filter(planned) {
            assert!(self.stage.core.serving(name) > 0, "{name} has lost its workers: {:?}", self.stage.log);
        }
    }

    /// A worker loads what it can, in its order.
    fn comes_up(&mut self, start: &WorkerStart) {
        let id = start.worker.0;
        let is_there = |stage: &Stage| {
            stage
                .core
                .workers
                .get(&WorkerId(id))
                .is_some_and(|worker| matches!(worker.state, WorkerState::Starting { .. }))
        };
        if !is_there(&self.stage) {
            return;
        }
        let mut loaded: Vec<String> = Vec::new();
        for place in &start.load_order {
            let hash = start.functions[*place].1.hash.test_name();
            self.stage.message(id, WorkerMessage::Loading { function: *place });
            if self.clashes.refuses(&loaded, &hash) {
                let reason = "cannot allocate memory in static TLS block".to_owned();
                self.stage.message(id, WorkerMessage::CannotServe { function: *place, reason });
                self.stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
                return;
            }
            loaded.push(hash);
        }
        self.stage.serves(id);
        self.stage.counts_if_canary(id);
    }

    fn served(&self) -> Vec<String> {
        let names = self.stage.core.catalog.functions();
        names.into_iter().filter(|name| self.stage.core.serving(name) > 0).map(String::from).collect()
    }

    /// The workers that serve: `2*a+b 1*c`.
    fn workers(&self) -> String {
        let mut kinds: BTreeMap<String, usize> = BTreeMap::new();
        for worker in self.stage.core.workers.values().filter(|worker| worker.state.is_serving()) {
            let mut hashes: Vec<String> = worker.functions.iter().map(|version| version.hash.test_name()).collect();
            hashes.sort_unstable();
            *kinds.entry(hashes.join("+")).or_default() += 1;
        }
        kinds.into_iter().map(|(kind, count)| format!("{count}*{kind}")).collect::<Vec<_>>().join(" ")
    }

    fn reported(&self, name: &str) -> usize {
        self.stage.count_events(|event| matches!(event, Event::FunctionIsolated { function, .. } | Event::FunctionHasGo { function } if function == name))
    }

    fn deploy(&mut self, files: &[(&str, u64)], name: &str, content: u64) -> &mut Self {
        self.stage.input(scan(files)).input(found(name, content));
        self.settle()
    }
}

#[test]
fn a_function_that_fails_beside_others_gets_its_own_workers() {
    for (ini, clashes, expected, isolated) in [
        ("count = 1", Clashes(&[]), "1*a-1+b-1+c-1", [0, 0, 0]),
        ("count = 1", Clashes(&[("a-1", "b-1")]), "1*a-1+c-1 1*b-1", [0, 1, 0]),
        ("count = 2", Clashes(&[("a-1", "c-1")]), "2*a-1+b-1 2*c-1", [0, 0, 1]),
        ("count = 1", Clashes(&[("a-1", "b-1"), ("a-1", "c-1")]), "1*a-1 1*b-1 1*c-1", [0, 1, 1]),
        ("count = 1", Clashes(&[("b-1", "c-1")]), "1*a-1+b-1 1*c-1", [0, 0, 1]),
        ("count = 1\ndedicated_count = 1", Clashes(&[("a-1", "b-1")]), "1*a-1 1*a-1+c-1 2*b-1 1*c-1", [0, 1, 0]),
        ("count = 0", Clashes(&[("a-1", "b-1")]), "1*a-1 1*b-1 1*c-1", [0, 0, 0]),
        (
            "count = 1\n[b]\ndedicated_only = 1\ndedicated_count = 1",
            Clashes(&[("a-1", "b-1")]),
            "1*a-1+c-1 1*b-1",
            [0, 0, 0],
        ),
    ] {
        // Whatever order their files were found in.
        for files in [[("a", 1), ("b", 1), ("c", 1)], [("c", 1), ("b", 1), ("a", 1)]] {
            let mut together = Together::start(ini, &files, Clashes(clashes.0));
            together.settle();
            assert_eq!(together.workers(), expected, "{ini}, {:?}", clashes.0);
            assert_eq!(["a", "b", "c"].map(|name| together.reported(name)), isolated, "{ini}");
            assert_eq!(together.stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 0);
            let note =
                |name| together.stage.core.function_views(together.stage.now).find(|v| v.name == name).unwrap().note;
            for (name, isolated) in ["a", "b", "c"].into_iter().zip(isolated) {
                let says = note(name).is_some_and(|note| note.starts_with("it has workers of its own, since it fails"));
                assert_eq!(says, isolated > 0, "{name}: {:?}", note(name));
            }
        }
    }
}

#[test]
fn no_event_takes_a_served_function_out_of_service() {
    let files = [("a", 1), ("b", 1), ("c", 1)];
    for count in [1, 3] {
        let mut together = Together::start(&format!("count = {count}"), &files, Clashes(&[("a-1", "b-1")]));
        let expected = format!("{count}*a-1+c-1 {count}*b-1");
        together.settle();
        assert_eq!(together.workers(), expected);

        // A reload replaces all; where each belongs is found out again.
        let config = together.stage.core.config.clone();
        together.stage.input(Input::Reload(Box::new(config), Vec::new()));
        together.settle();
        assert_eq!(together.workers(), expected, "after a reload");

        // All-functions workers that crash come back without the one that does not fit.
        let all: Vec<u64> = (together.stage.core.workers.iter())
            .filter(|(_, worker)| worker.functions.len() == 2)
            .map(|(id, _)| id.0)
            .collect();
        for id in all {
            together.stage.ends(id, exit_report(KILLED, ExitCause::OutsideJob, 5));
        }
        assert_eq!(together.served(), ["b"]);
        together.settle();
        assert_eq!(together.workers(), expected, "after a crash");

        // Old age.
        together.stage.later(Duration::from_secs(10_000));
        together.settle();
        assert_eq!(together.workers(), expected, "after a lifetime");
        assert_eq!(together.reported("b"), 1, "reported once");
    }
}

#[test]
fn a_new_library_that_cannot_share_a_worker_does_not_affect_the_running_ones() {
    // By name it would be loaded first, and the running one would fail.
    let mut together = Together::start("count = 2", &[("b", 1), ("c", 1)], Clashes(&[("a-1", "b-1")]));
    together.settle();
    let before: Vec<u64> = together.stage.ids();
    together.deploy(&[("a", 1), ("b", 1), ("c", 1)], "a", 1);
    assert_eq!(together.workers(), "2*a-1 2*b-1+c-1");
    assert!(before.iter().all(|id| together.stage.ids().contains(id)), "nobody was replaced");

    // It gets a version that fits, and goes back to the others.
    together.deploy(&[("a", 2), ("b", 1), ("c", 1)], "a", 2);
    assert_eq!(together.workers(), "2*a-2+b-1+c-1");
    assert_eq!(together.reported("a"), 1);
}

#[test]
fn a_new_version_that_does_not_fit_is_tried_and_rolled_out_in_workers_of_its_own() {
    let files = |content| [("a", content), ("b", 1)];
    let mut together = Together::start("count = 2", &files(1), Clashes(&[("a-2", "b-1")]));
    together.settle();
    together.deploy(&files(2), "a", 2);
    assert_eq!(together.workers(), "2*a-2 2*b-1");
    assert_eq!(together.reported("a"), 1);
    assert_eq!(together.stage.count_events(|event| matches!(event, Event::RolloutPromoted { .. })), 1);
    assert_eq!(together.stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 0);
    // The other one is another now: they may go together.
    together.stage.input(scan(&[("a", 2), ("b", 2)])).input(found("b", 2));
    together.settle();
    assert_eq!(together.workers(), "2*a-2+b-2");
    assert_eq!(together.stage.count_events(|event| matches!(event, Event::FunctionRejoined { .. })), 1);
}

/// P31: two of Go's runtimes in one process are not supported, so one is never loaded beside anything else.
#[test]
fn a_library_in_go_always_has_workers_of_its_own() {
    let go = GO_CONTENT + 1;
    let mut together = Together::start("count = 2", &[("a", go), ("b", 1), ("c", go)], Clashes(&[]));
    together.settle();
    let started_beside = |together: &Together| {
        let with_go = |start: &&WorkerStart| {
            start.functions.iter().any(|(_, version)| version.hash.test_name().ends_with(&go.to_string()))
        };
        together.stage.started.iter().filter(with_go).any(|start| start.functions.len() > 1)
    };
    assert_eq!(together.workers(), format!("2*a-{go} 2*b-1 2*c-{go}"));
    assert_eq!(["a", "b", "c"].map(|name| together.reported(name)), [1, 0, 1]);
    let note = together.stage.core.function_views(together.stage.now).find(|view| view.name == "a").unwrap().note;
    assert_eq!(note.as_deref(), Some(&*format!("it has workers of its own: {}", crate::supervisor::event::WITH_GO)));
    // Another version without Go goes to the others, and one with Go leaves them.
    together.deploy(&[("a", 2), ("b", 1), ("c", go)], "a", 2);
    assert_eq!(together.workers(), format!("2*a-2+b-1 2*c-{go}"));
    together.deploy(&[("a", 2), ("b", go), ("c", go)], "b", go);
    assert_eq!(together.workers(), format!("2*a-2 2*b-{go} 2*c-{go}"));
    assert_eq!(together.stage.count_events(|event| matches!(event, Event::RolloutPromoted { .. })), 2);
    assert!(!started_beside(&together));
    // The configuration cannot put them together.
    together.stage.input(scan(&[("a", 2), ("b", go), ("c", go)]));
    together.settle();
    assert_eq!(together.reported("b"), 1);
}

#[test]
fn a_new_version_that_fails_alone_is_rejected_and_the_old_one_rejoins() {
    let mut together = Together::start("count = 2", &[("a", 1), ("b", 1)], Clashes(&[]));
    together.settle();
    together.stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    for beside in [true, false] {
        let start = together.stage.started.last().unwrap().clone();
        assert_eq!(start.functions.len(), if beside { 2 } else { 1 });
        let function = start.functions.iter().position(|(name, _)| name == "a").unwrap();
        assert_eq!(start.load_order.last(), Some(&function));
        let stopped = together.stage.count_events(|event| matches!(event, Event::RolloutStopped { .. }));
        assert_eq!(stopped, 0, "beside the others it says nothing yet");
        together.stage.message(start.worker.0, WorkerMessage::CannotServe { function, reason: "no".into() });
        together.stage.ends(start.worker.0, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    }
    assert_eq!(together.stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 1);
    together.done = together.stage.started.len();
    together.settle();
    assert_eq!(together.workers(), "2*a-1+b-1");
}

#[test]
fn one_that_does_not_fit_and_is_removed_is_forgotten() {
    let mut together = Together::start("count = 1", &[("a", 1), ("b", 1)], Clashes(&[("a-1", "b-1")]));
    together.settle();
    together.stage.input(scan(&[("a", 1)])).later(Duration::from_secs(5)).input(scan(&[("a", 1)]));
    together.settle();
    assert_eq!(together.workers(), "1*a-1");
    assert!(together.stage.core.isolated.is_empty());
    together.deploy(&[("a", 1), ("b", 1)], "b", 1);
    assert_eq!(together.workers(), "1*a-1 1*b-1");
    // And so is what it did not fit beside.
    together.stage.input(scan(&[("b", 1)])).later(Duration::from_secs(5)).input(scan(&[("b", 1)]));
    together.settle();
    assert_eq!(together.workers(), "1*b-1");
}

/// What is broken for a while, such as a database, is no misfit, and costs nobody anything meanwhile.
#[test]
fn what_failed_for_another_reason_rejoins_the_others() {
    let mut together = Together::start("count = 2", &[("a", 1), ("b", 1)], Clashes(&[]));
    for _ in 0..2 {
        let start = together.stage.started[together.done].clone();
        together.done += 1;
        let function = start.functions.iter().position(|(name, _)| name == "b").unwrap();
        together.stage.message(start.worker.0, WorkerMessage::CannotServe { function, reason: "no database".into() });
        together.stage.ends(start.worker.0, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    }
    together.settle();
    assert_eq!(together.workers(), "2*a-1+b-1");
    assert_eq!(together.reported("b"), 0);
}

/// An old worker that holds what its successor would need, such as a port, stays; the others' new ones come all the same.
#[test]
fn an_old_worker_stays_for_what_only_it_can_serve() {
    let mut together = Together::start("count = 2", &[("a", 1), ("p", 1)], Clashes(&[]));
    together.settle();
    let old = together.stage.ids();
    let config = together.stage.core.config.clone();
    together.stage.input(Input::Reload(Box::new(config), Vec::new()));
    for _ in 0..40 {
        while together.done < together.stage.started.len() {
            let start = together.stage.started[together.done].clone();
            together.done += 1;
            match start.functions.iter().position(|(name, _)| name == "p") {
                Some(function) => {
                    let reason = "address in use".to_owned();
                    together.stage.message(start.worker.0, WorkerMessage::CannotServe { function, reason });
                    together.stage.ends(start.worker.0, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
                }
                None => together.comes_up(&start),
            }
        }
        assert_eq!(together.stage.core.serving("p"), 2);
        together.stage.later(Duration::from_secs(1));
    }
    assert!(old.iter().all(|id| together.stage.ids().contains(id)));
    assert_eq!(together.workers(), "2*a-1 2*a-1+p-1");
    let starts = together.stage.started.iter().filter(|start| start.functions.iter().any(|(name, _)| name == "p"));
    assert!(starts.count() < 12, "it is tried ever more rarely");
}

/// What failed once, alone, has all of its workers again once it starts: the all-functions workers have served it all the
/// time, so it is tried beside the others no more.
#[test]
fn one_that_failed_once_in_a_worker_of_its_own_gets_all_of_these_again() {
    let files = [("a", 1), ("b", 1)];
    let mut together = Together::start("count = 2\ndedicated_count = 3\n", &files, Clashes(&[]));
    assert_eq!(together.settle().workers(), "3*a-1 2*a-1+b-1 3*b-1");
    let alone = |worker: &WorkerRecord| worker.key == GroupKey::Only("a".into());
    let own: Vec<u64> =
        together.stage.core.workers.iter().filter(|(_, worker)| alone(worker)).map(|(id, _)| id.0).collect();
    for id in own {
        together.stage.ends(id, exit_report(KILLED, ExitCause::OutsideJob, 0));
    }
    let failing = together.stage.started.last().unwrap().worker;
    let message = WorkerMessage::CannotServe { function: 0, reason: "the database is away".into() };
    together
        .stage
        .message(failing.0, message)
        .ends(failing.0, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    for _ in 0..20 {
        together.settle().stage.later(Duration::from_secs(10));
    }
    assert_eq!(together.settle().workers(), "3*a-1 2*a-1+b-1 3*b-1");
}
