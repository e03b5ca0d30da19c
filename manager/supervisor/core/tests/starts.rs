//! Starts that fail: who is blamed, and who is not started again.

use super::*;
use crate::plugins::rejection::RejectionKind;

/// What the death of a worker at its start is put down to.
fn dies_starting(stage: &mut Stage, id: u64, message: WorkerMessage, end: ExitStatus) {
    stage.says(id, message).ends(id, exit_report(end, ExitCause::OutsideJob, 0));
}

fn note(stage: &Stage, function: &str) -> Option<String> {
    let mut views = stage.core.function_views(stage.now);
    views.find(|view| view.name == function).and_then(|view| view.note)
}

/// All functions came at the same time, and every worker is for all: only the worker's own words tell who it was.
fn good_and_bad() -> Stage {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
    stage.did();
    stage
}

fn place_of(stage: &Stage, start: usize, name: &str) -> usize {
    stage.started[start].functions.iter().position(|(found, _)| found == name).unwrap()
}

#[test]
fn workers_start_with_the_last_answer_also_where_that_is_a_no() {
    let refused = || Input::Probed { function: "bad".into(), identity: identity(1), result: Err("is empty".into()) };
    for last in [refused(), found("good", 1)] {
        let mut stage = Stage::new("[GearmanManager]\n");
        stage.input(scan(&[("bad", 1), ("good", 1)]));
        stage.input(if matches!(&last, Input::Probed { result: Ok(_), .. }) { refused() } else { found("good", 1) });
        stage.did();
        stage.input(last);
        assert_eq!(stage.did(), ["start good"]);
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
    assert!(stage.did().pop().unwrap().starts_with("announce Some(\"nothing can be served yet"));
    let start = stage.now;
    for wait in [1, 2, 4, 8] {
        let due = stage.core.next_due(stage.now).unwrap();
        assert_eq!(due - stage.now, Duration::from_secs(wait));
        stage.later(due - stage.now - Duration::from_millis(1));
        assert_eq!(stage.did(), [""; 0], "not before");
        stage.later(Duration::from_millis(1));
        assert_eq!(stage.did(), ["probe again a"]);
        stage.input(killed());
    }
    assert_eq!(stage.now - start, Duration::from_secs(15));
    assert_eq!(stage.told(|event| matches!(event, Event::LibraryRefused { again: Some(1.0), .. })), 1, "said once");
    assert_eq!(stage.core.refused().count(), 1);
    // A change of the file is looked at at once, and the waits begin anew.
    stage.input(scan(&[("a", 2)]));
    assert_eq!(stage.did(), ["probe a"]);
    stage.input(Input::Probed { function: "a".into(), identity: identity(2), result: Err("is empty".into()) });
    stage.later(Duration::from_secs(3600));
    assert_eq!(stage.did(), [""; 0], "a file that is wrong is not");
    stage.input(scan(&[("a", 3)])).input(found("a", 3));
    assert_eq!(stage.did(), ["probe a", "good a a-3", "start a"]);
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
    gone.did();
    gone.later(Duration::from_secs(10)).input(scan(&[("b", 1)]));
    assert!(!gone.did().contains(&"probe again a".to_owned()));
    let mut stops = Stage::new("[GearmanManager]\n");
    stops.input(scan(&[("a", 1), ("b", 1)])).input(found("b", 1)).input(failed());
    stops.input(Input::Stop { by: "SIGTERM" });
    stops.did();
    stops.later(Duration::from_secs(2));
    assert!(!stops.did().contains(&"probe again a".to_owned()));
}

#[test]
fn the_function_that_was_started_is_blamed_and_the_others_go_on() {
    for (message, end, expected, told) in [
        (
            (|function| WorkerMessage::Making { function }) as fn(usize) -> WorkerMessage,
            ExitStatus::Exit(3),
            "a worker exited with code 3 in its new()",
            "bad: worker 101 exited with code 3 in its new()",
        ),
        (
            |function| WorkerMessage::Making { function },
            KILLED,
            "a worker killed by SIGKILL in its new()",
            "bad: worker 101 killed by SIGKILL in its new()",
        ),
        (
            |function| WorkerMessage::Loading { function },
            ExitStatus::Signal(11),
            "a worker killed by SIGSEGV while its library was loaded",
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
        assert_eq!(stage.did(), ["start good"], "{expected}");
        assert_eq!(note(&stage, "bad").as_deref(), Some(expected));
        assert_eq!(note(&stage, "good").as_deref(), Some("its worker is starting"));
        let line = stage.events.iter().find(|event| matches!(event, Event::WorkerDied(_))).unwrap().line();
        assert!(line.starts_with(told), "{line}");
        stage.serves(2).did();
        stage.later(Duration::from_secs(1));
        assert_eq!(stage.did(), ["start bad"], "{expected}: tried again, alone");
    }
}

#[test]
fn before_it_loads_anything_nobody_is_blamed_alone() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1)).serves(1).did();
    stage.ends(2, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(stage.did(), ["announce None"], "the group waits");
    assert_eq!((note(&stage, "bad"), note(&stage, "good")), (None, None));
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.did(), ["start bad+good"]);
}

#[test]
fn a_new_that_hangs_is_named_and_the_others_go_on() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 1\nstart_timeout = 3\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1)).did();
    let bad = place_of(&stage, 0, "bad");
    stage.says(1, WorkerMessage::Making { function: bad }).later(Duration::from_secs(3));
    assert_eq!(stage.did(), ["kill 1", "start good"]);
    let expected = "not ready within start_timeout: it was in its new()";
    assert_eq!(note(&stage, "bad").as_deref(), Some(expected));
    stage.ends(1, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(stage.told(|event| matches!(event, Event::BackingOff { .. })), 1, "blamed once");
}

/// Nobody who waits for `gm-native -d` waits for a function that fails.
#[test]
fn a_function_with_workers_of_its_own_that_fails_does_not_hold_up_the_start() {
    let fails = |stage: &mut Stage| {
        stage.says(1, WorkerMessage::CannotServe { function: 0, reason: "no database".into() });
        stage.ends(1, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    };
    let dies = |stage: &mut Stage| dies_starting(stage, 1, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(3));
    let gives_up =
        |stage: &mut Stage| dies_starting(stage, 1, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(125));
    let ways: [&dyn Fn(&mut Stage); 3] = [&fails, &dies, &gives_up];
    for way in ways {
        let mut stage = Stage::new("[GearmanManager]\n");
        stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
        assert_eq!(stage.did()[3..], ["start bad", "start good"]);
        stage.serves(2);
        assert_eq!(stage.did(), ["go 2"]);
        way(&mut stage);
        let told = stage.did().pop().unwrap();
        assert!(told.starts_with("announce Some(\"bad is not served: "), "{told}");
        assert!(
            ["no database", "exited with code 3 in its new()", "125"].iter().any(|reason| told.contains(reason)),
            "{told}"
        );
    }
}

#[test]
fn who_asks_not_to_be_started_again_is_not_until_its_library_changes() {
    let mut stage = good_and_bad();
    let bad = place_of(&stage, 0, "bad");
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    assert_eq!(stage.did(), ["start good"]);
    let not_restarted = |event: &Event| matches!(event, Event::NotRestarted { function, .. } if function == "bad");
    assert_eq!(stage.told(not_restarted), 1);
    assert_eq!(stage.told(|event| matches!(event, Event::WorkerDied(_) | Event::BackingOff { .. })), 0);
    stage.serves(2);
    assert!(stage.did().pop().unwrap().starts_with("announce"), "the start is complete without it");
    for _ in 0..20 {
        stage.later(Duration::from_secs(30)).input(scan(&[("bad", 1), ("good", 1)]));
    }
    let starts: Vec<String> = stage.did().into_iter().filter(|did| did.contains("bad")).collect();
    assert_eq!(starts, [""; 0], "not in ten minutes");
    let expected = "its new() exited with code 125, which asks not to be started again until its library changes";
    assert_eq!(note(&stage, "bad").as_deref(), Some(expected));
    stage.input(scan(&[("bad", 2), ("good", 1)])).input(found("bad", 2));
    assert_eq!(stage.did(), ["probe bad", "start bad+good"], "new content, new chance: a canary");
    stage.serves(3).counts(3, 20, 0);
    assert_eq!(stage.did(), ["go 3", "good bad bad-2", "leave 2"]);
    assert_eq!(note(&stage, "bad"), None);
}

#[test]
fn a_new_version_that_asks_for_it_is_given_up_like_any_bad_one() {
    let mut stage = good_and_bad();
    let bad = place_of(&stage, 0, "bad");
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    stage.serves(2).input(scan(&[("bad", 2), ("good", 1)])).input(found("bad", 2)).did();
    let bad = place_of(&stage, 2, "bad");
    dies_starting(&mut stage, 3, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    let stopped = |event: &Event| matches!(event, Event::RolloutStopped { reason, .. } if reason == "exited with code 125 in its new()");
    assert_eq!(stage.told(stopped), 1);
    stage.did();
    stage.later(Duration::from_secs(600));
    assert_eq!(stage.did(), [""; 0]);
}

#[test]
fn a_canary_that_dies_starting_old_code_says_nothing_about_the_new() {
    let mut stage = good_and_bad();
    stage.serves(1).input(scan(&[("bad", 1), ("good", 2)])).input(found("good", 2)).did();
    let bad = place_of(&stage, 1, "bad");
    dies_starting(&mut stage, 2, WorkerMessage::Making { function: bad }, ExitStatus::Exit(3));
    assert_eq!(stage.told(|event| matches!(event, Event::RolloutStopped { .. })), 0);
    assert_eq!(stage.did(), ["start good"], "tried again without the one that fails");
}

#[test]
fn a_library_taken_away_and_put_back_is_tried_again() {
    let mut stage = Stage::new("[GearmanManager]\n");
    stage.input(scan(&[("bad", 1)])).input(found("bad", 1));
    stage.says(1, WorkerMessage::Making { function: 0 });
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("good", 1)).serves(2).did();
    stage.ends(1, exit_report(ExitStatus::Exit(125), ExitCause::OutsideJob, 0)).did();
    stage.later(Duration::from_secs(60));
    assert_eq!(stage.did(), [""; 0]);
    stage.input(scan(&[("good", 1)])).later(Duration::from_secs(1)).input(scan(&[("good", 1)])).did();
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1));
    assert_eq!(stage.did(), ["probe bad", "good bad bad-1", "start bad"]);
}

#[test]
fn a_retry_by_hand_is_tried_at_once() {
    let mut stage = good_and_bad();
    let bad = place_of(&stage, 0, "bad");
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: bad }, ExitStatus::Exit(125));
    stage.serves(2).did();
    stage.input(Input::Retry { function: "bad".into() });
    assert!(stage.did().contains(&"start bad+good".to_owned()));
}

#[test]
fn a_manager_with_nothing_but_such_a_function_says_so_and_ends() {
    let mut stage = Stage::new("[GearmanManager]\n");
    stage.input(scan(&[("bad", 1)])).input(found("bad", 1)).did();
    dies_starting(&mut stage, 1, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(125));
    let last = stage.did().pop().unwrap();
    assert!(last.starts_with("fail 1: bad: worker 101 exited with code 125 in its new()"), "{last}");
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
    assert_eq!(note(&stage, "a").as_deref(), Some("a worker killed by SIGKILL in job H:a:1"));
}

/// A worker of an older version goes on where the new one gives up.
#[test]
fn the_version_before_goes_on() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    assert_eq!(stage.did(), ["probe a", "start a"]);
    dies_starting(&mut stage, 5, WorkerMessage::Making { function: 0 }, ExitStatus::Exit(125));
    stage.later(Duration::from_secs(600));
    assert_eq!(stage.did(), [""; 0]);
    assert_eq!(stage.ids(), [1, 2, 3, 4]);
    assert!(note(&stage, "a").unwrap().contains("125"));
}

/// M18: whatever does not come, the start is told in time, with every function that is not served and why.
#[test]
fn the_start_is_told_in_time_and_names_what_is_not_served() {
    let timeout = Duration::from_secs(3);
    let fails: fn(&mut Stage, u64) = |stage, id| {
        let place = place_of(stage, id as usize - 1, "bad");
        stage.says(id, WorkerMessage::CannotServe { function: place, reason: "no database".into() });
        stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    };
    let hangs: fn(&mut Stage, u64) = |stage, id| {
        let place = place_of(stage, id as usize - 1, "bad");
        stage.says(id, WorkerMessage::Making { function: place });
    };
    let refused: fn(&mut Stage, u64) = |stage, id| {
        drop(stage.core.handle(Input::SpawnFailed { worker: WorkerId(id), reason: "EAGAIN".into() }, stage.now))
    };
    for (ini, bad, message) in [
        ("count = 0", fails, "no database"),
        ("count = 0", hangs, "not ready within start_timeout: it was in its new()"),
        ("count = 0", refused, "no process could be started: EAGAIN"),
        ("count = 2", fails, "no database"),
        ("count = 2", hangs, "not ready within start_timeout: it was in its new()"),
    ] {
        for strict in [false, true] {
            let ini = format!("[GearmanManager]\nstart_timeout = 3\nstrict = {}\n{ini}", u8::from(strict));
            let mut stage = Stage::new(&ini);
            stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
            let (begun, mut done, mut told) = (stage.now, 0, None);
            while told.is_none() {
                while done < stage.started.len() {
                    done += 1;
                    match stage.started[done - 1].functions.iter().any(|(name, _)| name == "bad") {
                        true => bad(&mut stage, done as u64),
                        false => drop(stage.serves(done as u64)),
                    }
                }
                told = stage.did().into_iter().find(|did| did.starts_with("announce") || did.starts_with("fail"));
                let due = stage.core.next_due(stage.now).unwrap_or(stage.now + timeout);
                let step = if told.is_none() { due.saturating_sub(stage.now) } else { Duration::ZERO };
                stage.later(step);
                assert!(stage.now - begun <= timeout + Duration::from_secs(1), "{ini}: too late");
            }
            let told = told.unwrap();
            assert!(told.starts_with(if strict { "fail 1: strict is set" } else { "announce Some" }), "{ini}: {told}");
            assert!(told.contains(&format!("bad is not served: {message}")), "{ini}: {told}");
            assert!(!told.contains("good"), "{ini}: {told}");
        }
    }
}

/// A directory, a library or a name that takes its time holds up nobody for longer than a start may take.
#[test]
fn what_is_not_known_in_time_is_named_and_comes_later() {
    let mut unread = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    unread.later(Duration::from_secs(3)).later(Duration::from_secs(4));
    let told = unread.did().pop().unwrap();
    assert!(told.contains("the worker directories are still being read"), "{told}");

    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("good", 1)).did();
    stage.later(Duration::from_secs(2));
    assert_eq!(stage.did(), ["start good"]);
    stage.serves(1);
    assert_eq!(stage.did(), ["go 1"], "not told before the other one is known");
    stage.later(Duration::from_secs(3));
    let told = stage.did().pop().unwrap();
    assert!(told.contains("bad is not served: its library is still being looked at"), "{told}");
    stage.input(found("bad", 1));
    assert!(stage.did().contains(&"start bad".to_owned()));
}

/// M17: one library is still being looked at when no other probe has come to its end for a while.
#[test]
fn what_is_looked_at_for_long_holds_up_no_start() {
    let known = |ini: &str| {
        let mut stage = Stage::new(ini);
        stage.later(Duration::from_secs(1)).input(scan(&[("a", 1), ("b", 1), ("bad", 1)]));
        stage.later(Duration::from_millis(1500)).input(found("a", 1));
        stage.later(Duration::from_millis(1500)).input(found("b", 1)).did();
        stage
    };
    let mut stage = known("[GearmanManager]\ncount = 1\ndedicated_count = 0\n");
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_secs(2)));
    stage.later(Duration::from_millis(1999));
    assert_eq!(stage.did(), [""; 0], "others come");
    stage.later(Duration::from_millis(1));
    assert_eq!(stage.did().len(), 1, "one worker for both");
    stage.serves(1);
    assert_eq!(stage.did(), ["go 1"]);
    stage.input(Input::Probed { function: "bad".into(), identity: identity(1), result: Err("hangs".into()) });
    assert!(stage.did().pop().unwrap().contains("bad: /w/bad.so: hangs"));

    // Where that ends the start, nothing is served before.
    let mut strict = known("[GearmanManager]\nstrict = 1\n");
    strict.later(Duration::from_secs(10));
    assert_eq!(strict.did(), [""; 0]);
}

/// A worker's farewell that nobody has asked for.
fn says_farewell(stage: &mut Stage, id: u64, jobs: u64) {
    stage
        .says(id, WorkerMessage::Draining { jobs })
        .ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, jobs));
}

/// P24: whether it says so or its channel is closed, and wherever it was.
#[test]
fn who_leaves_by_itself_before_it_has_served_has_failed_to_start() {
    type Way = (&'static str, fn(&mut Stage));
    let ways: [Way; 4] = [
        ("without a word, since its channel is closed", |stage| {
            stage
                .says(1, WorkerMessage::Making { function: 0 })
                .ends(1, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
        }),
        ("when it is loaded", |stage| {
            stage.says(1, WorkerMessage::Making { function: 0 }).says(1, WorkerMessage::Loaded);
            says_farewell(stage, 1, 0);
        }),
        ("when it is ready", |stage| {
            stage.says(1, WorkerMessage::Loaded).says(1, WorkerMessage::Ready);
            says_farewell(stage, 1, 0);
        }),
        ("with an exit", |stage| {
            stage
                .says(1, WorkerMessage::Loaded)
                .says(1, WorkerMessage::Ready)
                .ends(1, exit_report(ExitStatus::Exit(0), ExitCause::OutsideJob, 0));
        }),
    ];
    for (name, leave) in ways {
        let mut stage = Stage::new("[GearmanManager]\n");
        stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1)).serves(2).did();
        leave(&mut stage);
        assert_eq!(stage.told(|event| matches!(event, Event::BackingOff { .. })), 1, "{name}");
        let warned = |event: &Event| matches!(event, Event::ExitedEarly { served: false, .. } | Event::WorkerDied(_));
        assert_eq!(stage.told(warned), 1, "{name}");
        assert!(note(&stage, "bad").is_some(), "{name}");
        assert!(!stage.did().iter().any(|did| did.starts_with("start")), "{name}: not at once");
        stage.later(Duration::from_millis(500));
        assert_eq!(stage.did(), ["start bad"], "{name}");
    }
}

/// One may be an operator's: only those that go on are put down to the library.
#[test]
fn who_leaves_by_itself_without_a_job_done_is_started_again_ever_more_slowly() {
    let mut stage = two_functions();
    for (number, waits) in [0, 0, 0, 500, 1000, 2000].into_iter().enumerate() {
        let id = *stage.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        stage.later(Duration::from_millis(1)).did();
        says_farewell(&mut stage, id, 0);
        if waits > 0 {
            assert_eq!(stage.did(), [""; 0], "{number}");
            stage.later(Duration::from_millis(waits));
        }
        assert_eq!(stage.did(), ["start a"], "{number}");
        let started = *stage.ids().last().unwrap();
        stage.serves(started);
    }
    assert_eq!(stage.told(|event| matches!(event, Event::ExitedEarly { served: true, .. })), 6);
    let mut busy = two_functions();
    for _ in 0..20 {
        let id = *busy.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        says_farewell(&mut busy, id, 1);
        assert_eq!(busy.did(), ["start a"], "it had done a job");
        let started = *busy.ids().last().unwrap();
        busy.serves(started).did();
    }
    assert_eq!(busy.told(|event| matches!(event, Event::ExitedEarly { .. } | Event::BackingOff { .. })), 0);
}

/// A command to drain may come just when a first job does.
#[test]
fn who_leaves_by_itself_is_judged_by_what_it_has_done_at_its_end() {
    let blamed = |event: &Event| matches!(event, Event::ExitedEarly { .. } | Event::BackingOff { .. });
    let mut stage = two_functions();
    for number in 0..20 {
        let id = *stage.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        stage.later(Duration::from_millis(1)).did();
        stage.says(id, WorkerMessage::Draining { jobs: 0 });
        assert_eq!(stage.did(), ["start a"], "{number}: its successor is ready when it goes");
        let started = *stage.ids().last().unwrap();
        stage.serves(started).ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 1)).did();
    }
    assert_eq!(stage.told(blamed), 0);
    // Where others have failed before, its end is waited for, unless it has a job, which may take long.
    says_farewell(&mut stage, 1, 0);
    let id = *stage.ids().last().unwrap();
    stage.serves(id).later(Duration::from_millis(1)).did();
    stage.says(id, WorkerMessage::Draining { jobs: 0 });
    assert_eq!(stage.did(), [""; 0]);
    stage.says(id, WorkerMessage::Draining { jobs: 1 });
    assert_eq!(stage.did(), ["start a"]);
    assert_eq!(stage.told(blamed), 1);
}

/// However long its last words take: each one counts, so that the fourth has to wait.
#[test]
fn a_successor_that_was_started_before_the_end_counts_as_well() {
    let mut stage = two_functions();
    let mut left = Vec::new();
    while stage.told(|event| matches!(event, Event::BackingOff { .. })) == 0 {
        let id = *stage.ids().iter().rev().find(|id| **id <= 2 || **id > 4).unwrap();
        stage.later(Duration::from_millis(50)).says(id, WorkerMessage::Draining { jobs: 0 });
        left.push(id);
        stage.later(Duration::from_millis(5)).ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
        let started = *stage.ids().last().unwrap();
        stage.serves(started);
    }
    assert_eq!(left.len(), 4, "{left:?}");
}

/// A service manager may send SIGTERM to every process at once.
#[test]
fn who_leaves_by_itself_during_a_stop_has_left() {
    let mut stage = two_functions();
    stage.input(Input::Stop { by: "SIGTERM" }).says(1, WorkerMessage::Draining { jobs: 0 });
    stage.ends(1, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
    assert_eq!(stage.told(|event| matches!(event, Event::WorkerExited { .. })), 1);
    assert_eq!(stage.told(|event| matches!(event, Event::ExitedEarly { .. })), 0);
}

/// A canary whose new version leaves by itself is not started for ever; one that somebody sent away is.
#[test]
fn a_canary_that_leaves_by_itself_is_given_up_after_a_few_times() {
    let rejected = |stage: &Stage| stage.told(|event| matches!(event, Event::RolloutStopped { .. }));
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).did();
    stage
        .says(5, WorkerMessage::Making { function: 0 })
        .ends(5, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0));
    assert_eq!(rejected(&stage), 1, "in its new(), its channel closed");
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).did();
    for (id, expected) in [(5, 0), (6, 0), (7, 1)] {
        stage.serves(id);
        says_farewell(&mut stage, id, 0);
        assert_eq!(rejected(&stage), expected);
    }
}
