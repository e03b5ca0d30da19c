//! Workers that fail, and functions that have to wait.

use super::*;

#[test]
fn a_library_that_fails_in_new_is_tried_again_and_again_while_the_others_work() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
    assert_eq!(stage.take_actions()[3..], ["start bad+good", "start bad+good"]);
    stage.later(Duration::from_millis(1));
    for id in [1, 2] {
        let function = stage.started[id as usize - 1].functions.iter().position(|(name, _)| name == "bad").unwrap();
        stage.message(id, WorkerMessage::CannotServe { function, reason: "its new() failed: no database".into() });
        stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    }
    assert_eq!(stage.take_actions(), ["kill 2", "start good", "start good"], "without the one that fails");
    assert_eq!(
        stage.count_events(|event| matches!(event, Event::BackingOff { .. })),
        1,
        "both starts were one failure"
    );
    stage.serves(3).serves(4);
    assert!(stage.take_actions().pop().unwrap().starts_with("announce"), "what can be served is served");
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.take_actions(), ["start bad"], "alone, at nobody's expense");
    stage.serves(5);
    assert_eq!(stage.take_actions(), ["go 5"]);
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.take_actions(), ["start bad+good"], "it works, so it goes back to the others");
    stage.serves(6);
    assert_eq!(stage.take_actions(), ["go 6", "leave 3"]);
    stage.leaves(3);
    assert_eq!(stage.take_actions(), ["start bad+good"]);
    stage.serves(7);
    assert_eq!(
        stage.take_actions(),
        ["go 7", "leave 4", "leave 5"],
        "and when they all serve it its own has nothing to do"
    );
}

#[test]
fn a_worker_killed_while_idle_is_replaced_soon_and_one_in_a_job_at_once() {
    let mut stage = two_functions();
    stage.dies_in_job(1, 1);
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.serves(5).take_actions();
    stage.later(Duration::from_secs(100)).ends(3, exit_report(KILLED, ExitCause::OutsideJob, 5));
    assert_eq!(stage.take_actions(), ["start b"], "it had done work");
    for (id, starts) in [(6, 1), (7, 1), (8, 1), (9, 0)] {
        stage.serves(id).take_actions();
        stage.later(Duration::from_millis(1)).ends(id, exit_report(KILLED, ExitCause::OutsideJob, 0));
        assert_eq!(stage.take_actions().len(), starts, "the death of {id}, which had done nothing");
    }
    stage.later(Duration::from_millis(500));
    assert_eq!(stage.take_actions(), ["start b"]);
    assert_eq!(stage.count_events(|event| matches!(event, Event::WorkerDied(_))), 6);
}

#[test]
fn a_poisonous_function_is_slowed_down_and_the_others_are_not() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\nmax_attempts = 1000\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1)).serves(1);
    stage.take_actions();
    for id in 1..=5 {
        stage.dies_in_job(id, 0);
        assert_eq!(stage.take_actions(), ["start a+b"], "death {id} is free");
        stage.serves(id + 1);
        stage.take_actions();
    }
    stage.dies_in_job(6, 0);
    assert_eq!(stage.take_actions(), ["start b"], "the other goes on without it");
    stage.serves(7).later(Duration::from_millis(150));
    assert_eq!(stage.take_actions(), ["go 7", "start a+b"], "and after 100 ms it is tried again");
}

#[test]
fn a_start_that_hangs_is_killed_at_its_deadline() {
    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).input(Input::Spawned { worker: WorkerId(1), pid: 11 });
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_secs(3)));
    stage.take_actions();
    stage.later(Duration::from_secs(3));
    let [kill, announced] = stage.take_actions().try_into().unwrap();
    assert_eq!(kill, "kill 1");
    assert!(announced.starts_with("announce Some(\"a is not served: not ready within start_timeout\\n"), "{announced}");
}

/// What is counted of the jobs of dead workers: once each, and not if the end says nothing about the job.
#[test]
fn a_lost_job_is_counted_by_how_it_ended() {
    let lost = |number| JobInHand {
        function: 0,
        number,
        connection: 1,
        handle: b"H:a:1".to_vec(),
        unique: String::new(),
        ran: Duration::from_secs(9),
        half_sent: false,
    };
    let in_job = || ExitCause::InJob(lost(1));
    let answering = || ExitCause::Answering(lost(1));
    let killed = ExitStatus::Signal(9);
    for (name, cause, is_counted, is_late, is_stopped, expected) in [
        ("crashed", in_job(), false, false, false, (1, 0)),
        ("past its timeout", in_job(), false, true, false, (0, 1)),
        ("killed at the end of a stop", in_job(), false, false, true, (0, 0)),
        ("before its answer was made", answering(), false, false, false, (1, 0)),
        ("its answer waited for room", answering(), true, false, false, (0, 0)),
        ("overwritten", ExitCause::Unknown, false, false, false, (1, 0)),
        ("idle", ExitCause::OutsideJob, false, false, false, (0, 0)),
        ("exited", ExitCause::Drained, false, false, false, (0, 0)),
    ] {
        let mut stage = Stage::new("[GearmanManager]\ntimeout = 5\ngraceful_shutdown_wait_time = 5\n");
        stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
        if is_late {
            let reading =
                ScoreboardReading { worker: WorkerId(1), job: Some(lost(1)), server: Some(0), overwritten: false };
            stage.input(Input::ScoreboardRead(reading));
        }
        if is_stopped {
            stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(6));
        }
        stage.ends(1, ExitReport { is_counted, ..exit_report(killed, cause, 0) });
        let totals = stage.core.job_totals("a", 7, 3);
        assert_eq!((totals.completed, totals.failed), (7, 3), "{name}");
        assert_eq!((totals.crashed, totals.timed_out), expected, "{name}");
    }
}

/// Each function has a watch of its own, and its events name version, job and reason.
#[test]
fn failing_functions_are_reported_separately() {
    let mut stage = two_functions();
    let failed = |reason: &str, at| FailedJob {
        kind: FailureKind::Failed,
        at,
        handle: "H:a:7".into(),
        version: "a-1".into(),
        reason: reason.into(),
    };
    stage.failed.insert("a".into(), (3, 2, Some(failed("no such table", stage.now))));
    stage.message(1, WorkerMessage::JobFailed { function: 0 }).message(1, WorkerMessage::JobFailed { function: 0 });
    stage.message(1, WorkerMessage::JobFailed { function: 99 });
    let failing = |event: &Event| matches!(event, Event::FunctionFailing(failing) if failing.function == "a");
    assert_eq!(
        (stage.count_events(failing), stage.count_events(|event| event.line().contains("2 of 2 jobs failed"))),
        (1, 1)
    );
    assert!(stage.core.failure_rate("a", &stage.core.job_totals("a", 3, 2), stage.now).is_some());
    assert!(stage.core.failure_rate("b", &stage.core.job_totals("b", 3, 0), stage.now).is_none());
    stage.failed.insert("a".into(), (9, 2, Some(failed("no such table", stage.now))));
    for _ in 0..8 {
        stage.later(Duration::from_secs(10));
    }
    assert_eq!(
        stage.count_events(|event| matches!(event, Event::FunctionRecovered(recovered) if recovered.function == "a")),
        1
    );
    assert_eq!(stage.core.failures_to_read(stage.now + Duration::from_secs(9000)), [""; 0]);
}

#[test]
fn a_rejected_canary_reports_why_its_jobs_failed() {
    let mut stage = Stage::new("[GearmanManager]\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
    stage.input(scan(&[("a", 2)])).input(found("a", 2)).serves(2).counts(2, 5, 4);
    let reason = "4 of its first 5 jobs failed, the last with: no such table";
    assert_eq!(
        stage.count_events(
            |event| matches!(event, Event::RolloutStopped { reason: reported, .. } if reported == reason)
        ),
        1
    );
}

/// However many functions fail at once, a turn of the loop reads a few of them, and all have their turn.
#[test]
fn many_functions_that_fail_are_read_a_few_at_a_time() {
    let names: Vec<String> = (0..20).map(|number| format!("f{number:02}")).collect();
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\n");
    let files: Vec<(&str, u64)> = names.iter().map(|name| (name.as_str(), 1)).collect();
    stage.input(scan(&files));
    for (name, _) in &files {
        stage.input(found(name, 1));
    }
    stage.serves(1);
    (0..20).for_each(|function| {
        stage
            .core
            .handle(Input::Message { worker: WorkerId(1), message: WorkerMessage::JobFailed { function } }, stage.now);
    });
    let mut read = 0;
    while stage.core.next_due(stage.now) == Some(stage.now) && !stage.core.failures_to_read(stage.now).is_empty() {
        let functions = stage.core.failures_to_read(stage.now);
        assert!(functions.len() <= 8, "{functions:?}");
        for function in functions {
            read += 1;
            let reading = FailureReading { function, completed: 0, failed: 0, last: None };
            stage.core.handle(Input::FailuresRead(reading), stage.now);
        }
    }
    assert_eq!(read, 20);
}
