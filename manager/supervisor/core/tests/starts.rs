//! Starts that fail: who is blamed, and who is not started again.

use super::*;
use crate::plugins::rejection::RejectionKind;

/// What the death of a worker at its start is put down to.
pub(super) fn dies_starting(stage: &mut Stage, id: u64, message: WorkerMessage, end: ExitStatus) {
    stage.message(id, message).ends(id, exit_report(end, ExitCause::OutsideJob, 0));
}

pub(super) fn note(stage: &Stage, function: &str) -> Option<String> {
    let mut views = stage.core.function_views(stage.now);
    views.find(|view| view.name == function).and_then(|view| view.note)
}

/// All functions came at the same time, and every worker is for all: only the worker's own message says which one it was.
pub(super) fn good_and_bad() -> Stage {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
    stage.take_actions();
    stage
}

pub(super) fn place_of(stage: &Stage, start: usize, name: &str) -> usize {
    stage.started[start].functions.iter().position(|(found, _)| found == name).unwrap()
}

#[test]
fn workers_start_with_the_last_answer_also_where_that_is_a_no() {
    let refused = || Input::Probed { function: "bad".into(), identity: identity(1), result: Err("is empty".into()) };
    for last in [refused(), found("good", 1)] {
        let mut stage = Stage::new("[GearmanManager]\n");
        stage.input(scan(&[("bad", 1), ("good", 1)]));
        stage.input(if matches!(&last, Input::Probed { result: Ok(_), .. }) { refused() } else { found("good", 1) });
        stage.take_actions();
        stage.input(last);
        assert_eq!(stage.take_actions(), ["start good"]);
    }
}

/// M19.
#[test]
fn what_failed_for_a_passing_reason_is_probed_again_ever_more_rarely() {
    let killed = || Input::Probed {
        function: "a".into(),
        identity: identity(1),
        result: Err(ProbeFailure { reason: "was killed".into(), kind: RejectionKind::Transient, is_no_plugin: false }),
    };
    let mut stage = Stage::new("[GearmanManager]\nrescan_interval = 0\n");
    stage.input(scan(&[("a", 1)])).input(killed());
    assert!(stage.take_actions().pop().unwrap().starts_with("announce Some(\"a: /w/a.so: was killed\\nnothing in"));
    let start = stage.now;
    for wait in [1, 2, 4, 8] {
        let due = stage.core.next_due(stage.now).unwrap();
        assert_eq!(due - stage.now, Duration::from_secs(wait));
        stage.later(due - stage.now - Duration::from_millis(1));
        assert_eq!(stage.take_actions(), [""; 0], "not before");
        stage.later(Duration::from_millis(1));
        assert_eq!(stage.take_actions(), ["probe again a"]);
        stage.input(killed());
    }
    assert_eq!(stage.now - start, Duration::from_secs(15));
    assert_eq!(
        stage.count_events(|event| matches!(event, Event::LibraryRefused { again: Some(1.0), .. })),
        1,
        "reported once"
    );
    assert_eq!(stage.core.refused().count(), 1);
    // A change of the file is looked at at once, and the waits begin again.
    stage.input(scan(&[("a", 2)]));
    assert_eq!(stage.take_actions(), ["probe a"]);
    stage.input(Input::Probed { function: "a".into(), identity: identity(2), result: Err("is empty".into()) });
    stage.later(Duration::from_secs(3600));
    assert_eq!(stage.take_actions(), [""; 0], "a file that is wrong is not");
    stage.input(scan(&[("a", 3)])).input(found("a", 3));
    assert_eq!(stage.take_actions(), ["probe a", "good a a-3", "start a"]);
    assert_eq!(stage.core.refused().count(), 0);
}

/// A file that is gone, or a manager that leaves, has no need of it.
#[test]
fn nothing_is_probed_again_in_vain() {
    let killed = ProbeFailure { reason: "was killed".into(), kind: RejectionKind::Transient, is_no_plugin: false };
    let failed = || Input::Probed { function: "a".into(), identity: identity(1), result: Err(killed.clone()) };
    let mut gone = Stage::new("[GearmanManager]\n");
    gone.input(scan(&[("a", 1), ("b", 1)])).input(found("b", 1)).input(failed());
    gone.input(scan(&[("b", 1)]));
    gone.take_actions();
    gone.later(Duration::from_secs(10)).input(scan(&[("b", 1)]));
    assert!(!gone.take_actions().contains(&"probe again a".to_owned()));
    let mut stops = Stage::new("[GearmanManager]\n");
    stops.input(scan(&[("a", 1), ("b", 1)])).input(found("b", 1)).input(failed());
    stops.input(Input::Stop { by: "SIGTERM" });
    stops.take_actions();
    stops.later(Duration::from_secs(2));
    assert!(!stops.take_actions().contains(&"probe again a".to_owned()));
}

#[test]
fn a_death_at_start_counts_against_the_function_being_started() {
    for (message, end, expected, reported) in [
        (
            (|function| WorkerMessage::Making { function }) as fn(usize) -> WorkerMessage,
            ExitStatus::Exit(3),
            "a worker exited with code 3 in its new()",
            "bad: worker 101 exited with code 3 in its new()",
        ),
        (
            |function| WorkerMessage::Making { function },
            KILLED,
            "a worker was killed by SIGKILL in its new()",
            "bad: worker 101 killed by SIGKILL in its new()",
        ),
        (
            |function| WorkerMessage::Loading { function },
            ExitStatus::Signal(11),
            "a worker was killed by SIGSEGV while its library was loaded",
            "bad: worker 101 killed by SIGSEGV while its library was loaded",
        ),
        (
            // Only new() can ask for that: a constructor that exits is refused by the probe.
            |function| WorkerMessage::Loading { function },
            ExitStatus::Exit(125),
            "a worker exited with code 125 while its library was loaded",
            "bad: worker 101 exited with code 125 while its library was loaded",
        ),
    ] {
        let mut stage = good_and_bad();
        let bad = place_of(&stage, 0, "bad");
        dies_starting(&mut stage, 1, message(bad), end);
        assert_eq!(stage.take_actions(), ["start good"], "{expected}");
        assert_eq!(note(&stage, "bad").as_deref(), Some(expected));
        assert_eq!(note(&stage, "good").as_deref(), Some("its worker is starting"));
        let line = stage.events.iter().find(|event| matches!(event, Event::WorkerDied(_))).unwrap().line();
        assert!(line.starts_with(reported), "{line}");
        stage.serves(2).take_actions();
        stage.later(Duration::from_secs(1));
        assert_eq!(stage.take_actions(), ["start bad"], "{expected}: tried again, alone");
    }
}

#[test]
fn a_death_before_the_first_load_counts_against_no_single_function() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    stage
        .input(scan(&[("bad", 1), ("good", 1)]))
        .input(found("bad", 1))
        .input(found("good", 1))
        .serves(1)
        .take_actions();
    stage.ends(2, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(stage.take_actions(), ["announce None"], "the group waits");
    assert_eq!((note(&stage, "bad"), note(&stage, "good")), (None, None));
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.take_actions(), ["start bad+good"]);
}

#[test]
fn a_new_that_hangs_is_named_and_the_others_serve() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\nstart_timeout = 3\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1)).take_actions();
    let bad = place_of(&stage, 0, "bad");
    stage.message(1, WorkerMessage::Making { function: bad }).later(Duration::from_secs(3));
    assert_eq!(stage.take_actions(), ["kill 1", "start good"]);
    let expected = "not ready within start_timeout, but still in its new()";
    assert_eq!(note(&stage, "bad").as_deref(), Some(expected));
    stage.ends(1, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(stage.count_events(|event| matches!(event, Event::BackingOff { .. })), 1, "blamed once");
}

/// Nobody who waits for `gm-native -d` waits for a function that fails.
#[test]
fn a_function_with_workers_of_its_own_that_fails_does_not_hold_up_the_start() {
    let fails = |stage: &mut Stage| {
        stage.message(1, WorkerMessage::CannotServe { function: 0, reason: "no database".into() });
        stage.ends(1, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    };
    let dies = |stage: &mut Stage| dies_starting(stage, 1, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(3));
    let gives_up =
        |stage: &mut Stage| dies_starting(stage, 1, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(125));
    let ways: [&dyn Fn(&mut Stage); 3] = [&fails, &dies, &gives_up];
    for way in ways {
        let mut stage = Stage::new("[GearmanManager]\n");
        stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
        assert_eq!(stage.take_actions()[3..], ["start bad", "start good"]);
        stage.serves(2);
        assert_eq!(stage.take_actions(), ["go 2"]);
        way(&mut stage);
        let announced = stage.take_actions().pop().unwrap();
        assert!(announced.starts_with("announce Some(\"bad is not served: "), "{announced}");
        assert!(
            ["no database", "exited with code 3 in its new()", "125"].iter().any(|reason| announced.contains(reason)),
            "{announced}"
        );
    }
}

#[test]
fn a_function_that_asks_not_to_be_restarted_waits_for_another_library() {
    let mut stage = good_and_bad();
    let bad = place_of(&stage, 0, "bad");
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    assert_eq!(stage.take_actions(), ["start good"]);
    let not_restarted = |event: &Event| matches!(event, Event::NotRestarted { function, .. } if function == "bad");
    assert_eq!(stage.count_events(not_restarted), 1);
    assert_eq!(stage.count_events(|event| matches!(event, Event::WorkerDied(_) | Event::BackingOff { .. })), 0);
    stage.serves(2);
    assert!(stage.take_actions().pop().unwrap().starts_with("announce"), "the start is complete without it");
    for _ in 0..20 {
        stage.later(Duration::from_secs(30)).input(scan(&[("bad", 1), ("good", 1)]));
    }
    let starts: Vec<String> = stage.take_actions().into_iter().filter(|did| did.contains("bad")).collect();
    assert_eq!(starts, [""; 0], "not in ten minutes");
    let expected = "its new() exited with code 125, which asks not to be started again until its library changes";
    assert_eq!(note(&stage, "bad").as_deref(), Some(expected));
    stage.input(scan(&[("bad", 2), ("good", 1)])).input(found("bad", 2));
    assert_eq!(stage.take_actions(), ["probe bad", "start bad+good"], "new content, new chance: a canary");
    stage.serves(3).counts(3, 20, 0);
    assert_eq!(stage.take_actions(), ["go 3", "good bad bad-2", "leave 2"]);
    assert_eq!(note(&stage, "bad"), None);
}

#[test]
fn a_new_version_that_asks_not_to_be_restarted_is_rejected() {
    let mut stage = good_and_bad();
    let bad = place_of(&stage, 0, "bad");
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    stage.serves(2).input(scan(&[("bad", 2), ("good", 1)])).input(found("bad", 2)).take_actions();
    let bad = place_of(&stage, 2, "bad");
    dies_starting(&mut stage, 3, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    let stopped = |event: &Event| matches!(event, Event::RolloutStopped { reason, .. } if reason == "its worker exited with code 125 in its new()");
    assert_eq!(stage.count_events(stopped), 1);
    stage.take_actions();
    stage.later(Duration::from_secs(600));
    assert_eq!(stage.take_actions(), [""; 0]);
}

#[test]
fn a_canary_that_dies_starting_old_code_does_not_reject_the_new_version() {
    let mut stage = good_and_bad();
    stage.serves(1).input(scan(&[("bad", 1), ("good", 2)])).input(found("good", 2)).take_actions();
    let bad = place_of(&stage, 1, "bad");
    dies_starting(&mut stage, 2, WorkerMessage::Making { function: bad }, ExitStatus::Exit(3));
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 0);
    assert_eq!(stage.take_actions(), ["start good"], "tried again without the one that fails");
}

#[test]
fn a_library_removed_and_put_back_is_tried_again() {
    let mut stage = Stage::new("[GearmanManager]\n");
    stage.input(scan(&[("bad", 1)])).input(found("bad", 1));
    stage.message(1, WorkerMessage::Making { function: 0 });
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("good", 1)).serves(2).take_actions();
    stage.ends(1, exit_report(ExitStatus::Exit(125), ExitCause::OutsideJob, 0)).take_actions();
    stage.later(Duration::from_secs(60));
    assert_eq!(stage.take_actions(), [""; 0]);
    stage.input(scan(&[("good", 1)])).later(Duration::from_secs(1)).input(scan(&[("good", 1)])).take_actions();
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1));
    assert_eq!(stage.take_actions(), ["probe bad", "good bad bad-1", "start bad"]);
}

#[test]
fn a_retry_by_hand_is_tried_at_once() {
    let mut stage = good_and_bad();
    let bad = place_of(&stage, 0, "bad");
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    stage.serves(2).take_actions();
    stage.input(Input::Retry { function: "bad".into(), asked: BY });
    assert!(stage.take_actions().contains(&"start bad+good".to_owned()));
}

#[test]
fn a_manager_with_only_such_functions_reports_it_and_waits_unless_strict() {
    for (ini, expected) in [
        ("", "announce Some(\"bad is not served: its new() exited with code 125"),
        (
            "strict = 1\n",
            "fail 1: strict is set, and not every function can be served: bad is not served: its new() exited",
        ),
    ] {
        let mut stage = Stage::new(&format!("[GearmanManager]\n{ini}"));
        stage.input(scan(&[("bad", 1)])).input(found("bad", 1)).take_actions();
        dies_starting(&mut stage, 1, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(125));
        let last = stage.take_actions().pop().unwrap();
        assert!(last.starts_with(expected), "{last}");
    }
}

#[test]
fn why_a_function_waits_is_shown_also_where_it_was_a_job() {
    let mut stage = Stage::new("[GearmanManager]\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    for id in 1..=6 {
        stage.serves(id);
        assert_eq!(note(&stage, "a"), None);
        stage.dies_in_job(id, 0);
    }
    assert_eq!(note(&stage, "a").as_deref(), Some("a worker was killed by SIGKILL in job H:a:1"));
}

/// A worker of an older version goes on if the new one gives up.
#[test]
fn the_previous_version_stays() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    assert_eq!(stage.take_actions(), ["probe a", "start a"]);
    dies_starting(&mut stage, 5, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(125));
    stage.later(Duration::from_secs(600));
    assert_eq!(stage.take_actions(), [""; 0]);
    assert_eq!(stage.ids(), [1, 2, 3, 4]);
    assert!(note(&stage, "a").unwrap().contains("125"));
}
