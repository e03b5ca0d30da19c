//! M2: deadlines of what children do are judged once these were heard, however late that is.

use super::*;

const SECOND: Duration = Duration::from_secs(1);

impl Stage {
    /// Time goes by in which the manager does nothing, not even hear.
    fn stands_still(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self
    }

    fn workers_to_read(&self) -> Vec<u64> {
        self.core.workers_to_read(self.now).into_iter().map(|id| id.0).collect()
    }
}

/// Two workers of their own, in the `new()` of their functions.
fn making(ini: &str) -> Stage {
    let mut stage = Stage::new(&format!("[GearmanManager]\n{ini}"));
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
    for id in [1, 2] {
        stage.input(Input::Spawned { worker: WorkerId(id), pid: 100 + id as i32 });
        stage.message(id, WorkerMessage::Making { function: 0 });
    }
    stage.take_actions();
    stage
}

#[test]
fn messages_are_read_before_a_worker_is_late() {
    let mut stage = making("start_timeout = 3");
    assert_eq!(stage.workers_to_read(), [0; 0]);
    stage.stands_still(SECOND * 60);
    assert_eq!(stage.workers_to_read(), [1, 2]);
    // A message of one says nothing about the other.
    stage
        .message(1, WorkerMessage::Loaded)
        .message(1, WorkerMessage::ServerUp { server: 0 })
        .message(1, WorkerMessage::Ready);
    assert!(!stage.take_actions().iter().any(|did| did.starts_with("kill")));
    stage.message(2, WorkerMessage::Loaded).later(Duration::ZERO);
    assert!(!stage.take_actions().iter().any(|did| did.starts_with("kill")));
    assert_eq!(stage.core.failures.reasons.len(), 0);
}

#[test]
fn a_silent_worker_is_late_all_the_same() {
    let mut stage = making("start_timeout = 3");
    stage.stands_still(SECOND * 60).message(2, WorkerMessage::Loaded).later(Duration::ZERO);
    assert!(stage.take_actions().contains(&"kill 1".into()));
    assert_eq!(stage.workers_to_read(), [0; 0]);
}

/// Neither is it slow, so that others stand in for it; nor is the start announced without it.
#[test]
fn nothing_else_is_made_of_it_either() {
    let mut stage = making("start_timeout = 3");
    stage.stands_still(SECOND * 60).serves(1).serves(2);
    let did = stage.take_actions();
    assert!(!did.iter().any(|did| did.starts_with("start")), "{did:?}");
    assert_eq!(did.last().unwrap(), "announce None");
}

/// The time between the decision to start a worker and its process is not the worker's.
#[test]
fn a_worker_has_its_time_from_its_process_on() {
    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    stage.stands_still(SECOND * 60).input(Input::Spawned { worker: WorkerId(1), pid: 101 }).later(SECOND * 2);
    assert!(!stage.take_actions().contains(&"kill 1".into()));
    stage.later(SECOND);
    assert!(stage.take_actions().contains(&"kill 1".into()));
}

/// Its deadline in a stop is over, and it has left.
#[test]
fn a_worker_that_exited_in_time_is_not_killed() {
    let mut stage = making("graceful_shutdown_wait_time = 3");
    stage.serves(1).serves(2).input(Input::Stop { by: "SIGTERM" }).take_actions();
    stage.stands_still(SECOND * 60);
    assert_eq!(stage.workers_to_read(), [1, 2]);
    stage.ends(1, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 1)).later(Duration::ZERO);
    assert_eq!(stage.take_actions(), ["kill 2"]);
}
