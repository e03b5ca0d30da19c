//! Workers that exit by themselves before they have done a job.

use super::starts::note;
use super::*;
use crate::logging::Level;
use crate::supervisor::worker_state::ExitReason;

/// A worker's farewell that nobody has asked for.
fn drains_and_exits(stage: &mut Stage, id: u64, jobs: u64) {
    stage
        .message(id, WorkerMessage::Draining { jobs })
        .ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, jobs));
}

/// P24: whether it says so or its channel is closed, and wherever it was.
#[test]
fn a_worker_that_exits_by_itself_before_serving_has_failed_to_start() {
    type Way = (&'static str, fn(&mut Stage));
    let ways: [Way; 4] = [
        ("without a word, since its channel is closed", |stage| {
            stage
                .message(1, WorkerMessage::Making { function: 0 })
                .ends(1, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
        }),
        ("when it is loaded", |stage| {
            stage.message(1, WorkerMessage::Making { function: 0 }).message(1, WorkerMessage::Loaded);
            drains_and_exits(stage, 1, 0);
        }),
        ("when it is ready", |stage| {
            stage.message(1, WorkerMessage::Loaded).message(1, WorkerMessage::Ready);
            drains_and_exits(stage, 1, 0);
        }),
        ("with an exit", |stage| {
            stage
                .message(1, WorkerMessage::Loaded)
                .message(1, WorkerMessage::Ready)
                .ends(1, exit_report(ExitStatus::Exit(0), ExitCause::OutsideJob, 0));
        }),
    ];
    for (name, leave) in ways {
        let mut stage = Stage::new("[GearmanManager]\n");
        stage
            .input(scan(&[("bad", 1), ("good", 1)]))
            .input(found("bad", 1))
            .input(found("good", 1))
            .serves(2)
            .take_actions();
        leave(&mut stage);
        assert_eq!(stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 1, "{name}");
        let warned = |event: &Event| matches!(event, Event::ExitedEarly { served: false, .. } | Event::WorkerDied(_));
        assert_eq!(stage.count_events(warned), 1, "{name}");
        assert!(note(&stage, "bad").is_some(), "{name}");
        assert!(!stage.take_actions().iter().any(|did| did.starts_with("start")), "{name}: not at once");
        stage.later(Duration::from_millis(500));
        assert_eq!(stage.take_actions(), ["start bad"], "{name}");
    }
}

/// One may be an operator's: only those that go on are put down to the library.
#[test]
fn a_worker_that_exits_by_itself_without_a_job_backs_off() {
    let mut stage = two_functions();
    for (number, waits) in [0, 0, 0, 500, 1000, 2000].into_iter().enumerate() {
        let id = *stage.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        stage.later(Duration::from_millis(1)).take_actions();
        drains_and_exits(&mut stage, id, 0);
        if waits > 0 {
            assert_eq!(stage.take_actions(), [""; 0], "{number}");
            stage.later(Duration::from_millis(waits));
        }
        assert_eq!(stage.take_actions(), ["start a"], "{number}");
        let started = *stage.ids().last().unwrap();
        stage.serves(started);
    }
    assert_eq!(stage.count_events(|event| matches!(event, Event::ExitedEarly { served: true, .. })), 6);
    let mut busy = two_functions();
    for _ in 0..20 {
        let id = *busy.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        drains_and_exits(&mut busy, id, 1);
        assert_eq!(busy.take_actions(), ["start a"], "it had done a job");
        let started = *busy.ids().last().unwrap();
        busy.serves(started).take_actions();
    }
    assert_eq!(busy.count_events(|event| matches!(event, Event::ExitedEarly { .. } | Event::BackingOff { .. })), 0);
}

/// A command to drain may come just when a first job does.
#[test]
fn a_worker_that_exits_by_itself_is_judged_by_the_jobs_it_ran() {
    let blamed = |event: &Event| matches!(event, Event::ExitedEarly { .. } | Event::BackingOff { .. });
    let mut stage = two_functions();
    for number in 0..20 {
        let id = *stage.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        stage.later(Duration::from_millis(1)).take_actions();
        stage.message(id, WorkerMessage::Draining { jobs: 0 });
        assert_eq!(stage.take_actions(), ["start a"], "{number}: its successor is ready when it goes");
        let started = *stage.ids().last().unwrap();
        stage.serves(started).ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 1)).take_actions();
    }
    assert_eq!(stage.count_events(blamed), 0);
    // Where others have failed before, its end is waited for, unless it has a job, which may take long.
    drains_and_exits(&mut stage, 1, 0);
    let id = *stage.ids().last().unwrap();
    stage.serves(id).later(Duration::from_millis(1)).take_actions();
    stage.message(id, WorkerMessage::Draining { jobs: 0 });
    assert_eq!(stage.take_actions(), [""; 0]);
    stage.message(id, WorkerMessage::Draining { jobs: 1 });
    assert_eq!(stage.take_actions(), ["start a"]);
    assert_eq!(stage.count_events(blamed), 1);
}

/// However long its last words take: each one counts, so that the fourth has to wait.
#[test]
fn a_successor_that_was_started_before_the_end_counts_as_well() {
    let mut stage = two_functions();
    let mut left = Vec::new();
    while stage.count_events(|event| matches!(event, Event::BackingOff { .. })) == 0 {
        let id = *stage.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        stage.later(Duration::from_millis(50)).message(id, WorkerMessage::Draining { jobs: 0 });
        left.push(id);
        stage.later(Duration::from_millis(5)).ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
        let started = *stage.ids().last().unwrap();
        stage.serves(started);
    }
    assert_eq!(left.len(), 4, "{left:?}");
}

/// A service manager may send SIGTERM to every process at once.
#[test]
fn a_worker_that_exits_by_itself_during_a_stop_has_drained() {
    let mut stage = two_functions();
    stage.input(Input::Stop { by: "SIGTERM" }).message(1, WorkerMessage::Draining { jobs: 0 });
    stage.ends(1, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
    assert_eq!(stage.count_events(|event| matches!(event, Event::WorkerExited { .. })), 1);
    assert_eq!(stage.count_events(|event| matches!(event, Event::ExitedEarly { .. })), 0);
}

/// A canary whose new version leaves by itself is not started for ever; one that somebody sent away is.
#[test]
fn a_canary_that_exits_by_itself_is_rejected_after_a_few_times() {
    let rejected = |stage: &Stage| stage.count_events(|event| matches!(event, Event::RolloutStopped { .. }));
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).take_actions();
    stage
        .message(5, WorkerMessage::Making { function: 0 })
        .ends(5, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
    assert_eq!(rejected(&stage), 1, "in its new(), its channel closed");
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).take_actions();
    for (id, expected) in [(5, 0), (6, 0), (7, 1)] {
        stage.serves(id);
        drains_and_exits(&mut stage, id, 0);
        assert_eq!(rejected(&stage), expected);
    }
}

/// A stop that comes while workers start kills them: nothing is wrong with their library.
#[test]
fn a_worker_that_a_stop_kills_while_it_starts_has_not_died() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 101 });
    stage.input(Input::Stop { by: "SIGTERM" });
    stage.ends(1, exit_report(ExitStatus::Signal(9), ExitCause::OutsideJob, 0));
    assert_eq!(stage.deaths().len(), 0);
    let killed = |event: &Event| matches!(event, Event::WorkerKilled { .. }) && event.level() == Level::Proc;
    assert_eq!(stage.count_events(killed), 1);
}

/// The log says who killed it: not its deadline, but who lost patience.
#[test]
fn a_worker_that_repeated_signals_kill_is_reported_as_such() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
    for _ in 0..5 {
        stage.input(Input::Stop { by: "SIGINT" });
    }
    let killed = |event: &Event| matches!(event, Event::WorkerKilled { reason: ExitReason::StopSignals, .. });
    assert_eq!(stage.count_events(killed), 1);
}
