//! P10: functions start one after the other, and each has its own `start_timeout`, however many there are.

use super::*;

const HALF: Duration = Duration::from_millis(500);
const MANY: [&str; 10] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];

/// One worker for all of them, about to start.
fn many(ini: &str) -> Stage {
    let mut stage = Stage::new(&format!("[GearmanManager]\ncount = 1\ndedicated_count = 0\n{ini}"));
    stage.input(scan(&MANY.map(|name| (name, 1))));
    for name in MANY {
        stage.input(found(name, 1));
    }
    stage.take_actions();
    stage
}

impl Stage {
    fn comes_to(&mut self, id: u64, function: &str) -> &mut Self {
        let functions = &self.core.workers[&WorkerId(id)].functions;
        let function = functions.iter().position(|version| version.function == *function).unwrap();
        self.message(id, WorkerMessage::Loading { function }).message(id, WorkerMessage::Making { function })
    }

    /// A worker starts these, one after the other, each in so long.
    fn starts_each(&mut self, id: u64, functions: &[&str], time: Duration) -> &mut Self {
        for function in functions {
            self.comes_to(id, function).later(time);
        }
        self
    }

    fn killed(&mut self) -> Vec<String> {
        self.take_actions().into_iter().filter(|did| did.starts_with("kill")).collect()
    }

    fn isolated(&self) -> Vec<&str> {
        self.core.isolated.keys().map(FunctionName::as_str).collect()
    }

    /// What became of the start, and when.
    fn start_line(&mut self) -> Option<String> {
        self.take_actions().into_iter().find(|did| did.starts_with("announce") || did.starts_with("fail"))
    }
}

#[test]
fn many_slow_functions_are_not_mistaken_for_one_that_hangs() {
    let mut stage = many("start_timeout = 2\n");
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 }).starts_each(1, &MANY, HALF).serves(1);
    assert_eq!(stage.killed(), [""; 0]);
    assert_eq!((stage.isolated(), stage.ids()), (vec![], vec![1]));
    assert_eq!(stage.core.serving("j"), 1);
}

#[test]
fn each_has_its_own_time() {
    let mut stage = many("start_timeout = 2\n[c]\nstart_timeout = 10\n");
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 }).starts_each(1, &["a", "b"], HALF);
    stage.comes_to(1, "c").later(Duration::from_secs(9));
    assert_eq!(stage.killed(), [""; 0]);
    stage.comes_to(1, "d").later(Duration::from_secs(2));
    assert!(stage.killed().contains(&"kill 1".into()), "the time of another one is not its own");
    assert!(stage.isolated().contains(&"d") && !stage.isolated().contains(&"c"), "{:?}", stage.isolated());
}

#[test]
fn one_that_hangs_among_many_that_are_slow_is_the_only_one_isolated() {
    let mut stage = many("start_timeout = 2\n");
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 }).starts_each(1, &MANY[..7], HALF);
    stage.comes_to(1, "h").later(HALF * 3);
    assert_eq!(stage.killed(), [""; 0]);
    stage.later(HALF);
    assert_eq!(stage.killed(), ["kill 1"]);
    assert_eq!(stage.isolated(), ["h"]);
}

/// Only the first time it comes so far: a message that comes again, or names no function, gives no more time.
#[test]
fn forged_messages_extend_no_start() {
    let mut stage = many("start_timeout = 2\n");
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 }).starts_each(1, &["a", "b", "c"], HALF);
    for function in ["a", "b", "c"] {
        stage.comes_to(1, function).message(1, WorkerMessage::Making { function: 99 }).later(HALF);
    }
    assert!(stage.killed().contains(&"kill 1".into()));
}

/// The caller that waits for the start learns in time; only a start that would fail for it waits for what is slow.
#[test]
fn a_strict_start_waits_for_many_that_are_slow() {
    let begin = |strict: u8| {
        let mut stage = many(&format!("start_timeout = 2\nstrict = {strict}\n"));
        stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 }).starts_each(1, &MANY[..7], HALF);
        stage
    };
    let line = begin(0).start_line().unwrap_or_default();
    assert!(line.contains("j is not served"), "{line}");
    let mut stage = begin(1);
    assert_eq!(stage.start_line(), None);
    stage.starts_each(1, &MANY[7..], HALF).serves(1);
    assert_eq!(stage.start_line().as_deref(), Some("announce None"));
    // Not for one that hangs among them, and not for ever.
    let mut stage = begin(1);
    stage.comes_to(1, "h").later(HALF * 3);
    assert_eq!(stage.start_line(), None);
    stage.later(HALF).later(Duration::from_secs(1));
    let line = stage.start_line().unwrap_or_default();
    assert!(line.starts_with("fail 1: strict is set") && line.contains("h is not served: not ready"), "{line}");
}
