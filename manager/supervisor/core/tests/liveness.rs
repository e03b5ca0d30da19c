//! Workers that do not respond.

use super::*;
use crate::supervisor::event::UnresponsiveWorker;
use crate::supervisor::worker_state::{ExitReason, WorkerState};

const SECOND: Duration = Duration::from_secs(1);

impl Stage {
    /// Time passes, second by second.
    fn seconds(&mut self, seconds: u32) -> &mut Self {
        for _ in 0..seconds {
            self.later(SECOND);
        }
        self
    }

    /// A worker polls no more.
    fn falls_silent(&mut self, id: u64, process: RunState) {
        self.silent.insert(id, (self.now, process));
    }

    fn unresponsive(&self) -> Vec<&UnresponsiveWorker> {
        let mut all = Vec::new();
        for event in &self.events {
            if let Event::WorkerUnresponsive(worker) = event {
                all.push(worker);
            }
        }
        all
    }
}

#[test]
fn a_silent_worker_is_asked_then_killed_and_replaced() {
    let mut stage = two_functions();
    stage.falls_silent(2, RunState::Stopped);
    stage.seconds(95);
    assert_eq!(stage.take_actions(), ["ping 2"]);
    assert!(stage.unresponsive().is_empty());
    stage.seconds(10);
    assert_eq!(stage.take_actions(), ["kill 2", "start a"]);
    let [told] = stage.unresponsive()[..] else { panic!("{:?}", stage.events) };
    assert_eq!((told.pid, told.process, told.is_killed), (102, RunState::Stopped, true));
    assert!((90.0..=115.0).contains(&told.seconds), "{told:?}");
    assert_eq!(stage.core.workers[&WorkerId(2)].state, WorkerState::Killed { reason: ExitReason::Unresponsive });
    // Its job, if it had been given one meanwhile, has no death to count.
    stage.ends_in_job(2, KILLED, 3);
    assert_eq!((stage.take_actions(), stage.examined.len()), (vec![], 0));
    stage.serves(5).seconds(600);
    assert_eq!(stage.take_actions(), ["go 5"]);
}

#[test]
fn nobody_is_asked_where_that_is_switched_off_or_a_stop_is_under_way() {
    for ini in ["echo_interval = 0", "response_timeout = 0"] {
        let mut stage = Stage::new(&format!("[GearmanManager]\ndedicated_count = 1\n{ini}\n"));
        stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
        stage.falls_silent(1, RunState::Other);
        stage.take_actions();
        stage.seconds(600);
        assert_eq!(stage.take_actions(), [""; 0], "{ini}");
        assert_eq!(stage.core.liveness_due_at(), None, "{ini}");
    }
    let mut stage = two_functions();
    stage.falls_silent(1, RunState::Other);
    stage.seconds(95).input(Input::Stop { by: "SIGTERM" }).seconds(30);
    let killed = stage.take_actions().iter().any(|action| action.starts_with("kill"));
    assert!(!killed && stage.unresponsive().is_empty(), "the stop has a deadline of its own");
}

/// The loop wakes once for a re-scan and the round over the workers.
#[test]
fn a_round_comes_with_a_rescan_or_by_itself() {
    let mut stage = two_functions();
    let start = stage.now;
    assert_eq!(stage.core.liveness_due_at(), Some(start + SECOND * 45));
    stage.now += SECOND * 10;
    stage.input(Input::Rescan);
    assert_eq!(stage.core.liveness_due_at(), Some(start + SECOND * 45), "the last one was just now");
    stage.now += SECOND * 20;
    stage.input(Input::Rescan);
    assert_eq!(stage.core.liveness_due_at(), Some(stage.now + SECOND * 45), "it was done");
}

/// A job has its timeout. Nothing else that a worker does takes it long without a poll.
#[test]
fn only_a_job_that_runs_excuses_silence() {
    use WorkerActivity::{AnswerPending, Answering, Disconnected, Draining, Idle, Running, Starting};
    for activity in [Starting, Idle, Running, Answering, Draining, Disconnected, AnswerPending] {
        for drains in [false, true] {
            let mut stage = two_functions();
            if drains {
                let config = stage.core.config.clone();
                stage.input(Input::Reload(Box::new(config), Vec::new())).serves(5).serves(6);
            }
            stage.activities.insert(1, activity);
            stage.falls_silent(1, RunState::Stopped);
            stage.seconds(120);
            let is_killed = stage.take_actions().contains(&"kill 1".into());
            assert_eq!(is_killed, activity != Running, "{activity:?}, {drains}");
            let told: Vec<bool> = stage.unresponsive().iter().map(|worker| worker.is_answering).collect();
            let is_answering = matches!(activity, Answering | AnswerPending);
            assert_eq!(told, vec![is_answering; usize::from(is_killed)], "{activity:?}, {drains}");
        }
    }
}

/// A worker that is told to drain, and hangs instead, would hold up its successor if there is no surge.
#[test]
fn a_draining_worker_that_hangs_is_killed_too() {
    let mut stage = two_functions();
    let config = stage.core.config.clone();
    stage.input(Input::Reload(Box::new(config), Vec::new()));
    stage.falls_silent(1, RunState::Other);
    stage.serves(5).serves(6).seconds(120);
    let log = stage.take_actions();
    assert!(log.contains(&"leave 1".into()) && log.contains(&"kill 1".into()), "{log:?}");
}

#[test]
fn a_canary_that_hangs_outside_a_job_is_rejected() {
    for (process, is_rejected) in [(RunState::Other, true), (RunState::Stopped, false)] {
        let mut stage = Stage::new("[GearmanManager]\ndedicated_count = 1\ncanary_seconds = 1h\ncanary_jobs = 100\n");
        stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
        stage.input(scan(&[("a", 2)])).input(found("a", 2)).serves(2);
        assert!(stage.core.workers[&WorkerId(2)].canary.is_some());
        stage.falls_silent(2, process);
        stage.seconds(120);
        assert_eq!(stage.remembered == ["bad a a-2"], is_rejected, "{process:?}: {:?}", stage.remembered);
    }
}
