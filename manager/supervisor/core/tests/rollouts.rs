//! New versions: tried, rejected, rolled out.

use super::*;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::version_records::VersionFacts;
use crate::supervisor::event::ServedVersion;

#[test]
fn new_code_is_tried_by_a_canary_then_rolled_out_worker_by_worker_and_never_below_the_plan() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    assert_eq!(stage.take_actions(), ["probe a", "start a"]);
    stage.serves(5);
    assert_eq!(stage.take_actions(), ["go 5"], "a surplus worker: nobody leaves for it");
    stage.counts(5, 19, 0).counts(5, 20, 0);
    assert_eq!(stage.take_actions(), ["good a a-2", "leave 1"]);
    stage.leaves(1);
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.serves(6);
    assert_eq!(stage.take_actions(), ["go 6", "leave 2"]);
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutFinished { .. })), 0);
    stage.leaves(2);
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutFinished { .. })), 1);
    assert_eq!(stage.ids(), [3, 4, 5, 6]);
}

#[test]
fn a_bad_version_is_rejected_and_nothing_else_happens() {
    let fails = |stage: &mut Stage| drop(stage.serves(5).counts(5, 10, 4).take_actions());
    let crashes = |stage: &mut Stage| drop(stage.serves(5).ends_in_job(5, ExitStatus::Signal(11), 0).take_actions());
    let dies_idle = |stage: &mut Stage| {
        drop(stage.serves(5).ends(5, exit_report(ExitStatus::Signal(11), ExitCause::OutsideJob, 0)).take_actions())
    };
    let refuses = |stage: &mut Stage| {
        stage.input(Input::Spawned { worker: WorkerId(5), pid: 105 });
        stage.message(5, WorkerMessage::CannotServe { function: 0, reason: "its new() failed: no table".into() });
        stage.ends(5, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0)).take_actions();
    };
    let hangs = |stage: &mut Stage| drop(stage.later(Duration::from_secs(30)).take_actions());
    type Way = (&'static str, fn(&mut Stage));
    let ways: [Way; 5] = [
        ("jobs fail", fails),
        ("crash in a job", crashes),
        ("crash while idle", dies_idle),
        ("new() fails", refuses),
        ("new() hangs", hangs),
    ];
    for (name, bad) in ways {
        let mut stage = two_functions();
        stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
        assert_eq!(stage.take_actions(), ["probe a", "start a"]);
        bad(&mut stage);
        assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutStopped { version, serving, .. } if version == "a-2" && serving == "a-1")), 1, "{name}");
        assert!(stage.remembered.contains(&"bad a a-2".to_owned()), "{name}");
        stage.ends(5, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0)).take_actions();
        stage.later(Duration::from_secs(600));
        let kept: Vec<u64> = stage.ids().into_iter().filter(|id| *id <= 4).collect();
        assert_eq!(
            (kept, stage.take_actions().len()),
            (vec![1, 2, 3, 4], 0),
            "{name}: the old ones go on, and nobody tries again"
        );
        stage.input(scan(&[("a", 3), ("b", 1)])).input(found("a", 3));
        assert_eq!(stage.take_actions(), ["probe a", "start a"], "{name}: new content is tried");
    }
}

#[test]
fn a_canary_killed_from_outside_is_started_again_but_not_for_ever() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).take_actions();
    for id in 5..=6 {
        stage.take_actions();
        stage.serves(id).ends(id, exit_report(KILLED, ExitCause::OutsideJob, 0));
        assert_eq!(stage.take_actions().pop().unwrap(), "start a");
    }
    stage.serves(7).ends(7, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 1);
}

/// Every rollout that was reported has an end that is reported, and what is tried again is reported again.
#[test]
fn a_version_that_is_replaced_while_it_is_tried_is_withdrawn() {
    let withdrawn = |stage: &Stage, hash: &str| {
        stage.count_events(|event| matches!(event, Event::RolloutWithdrawn { version, .. } if version == hash))
    };
    let tried = |stage: &Stage, hash: &str| {
        stage.count_events(|event| matches!(event, Event::RolloutStarted { to, .. } if to == hash))
    };
    let mut stage = two_functions();
    let file = |stage: &mut Stage, ino: u64, content: u64| {
        let result = Ok(version("a", content));
        stage.input(scan(&[("a", ino), ("b", 1)]));
        stage.input(Input::Probed { function: "a".into(), identity: identity(ino), result });
    };
    file(&mut stage, 2, 2);
    stage.serves(5).ends(5, exit_report(KILLED, ExitCause::OutsideJob, 0));
    stage.serves(6).ends(6, exit_report(KILLED, ExitCause::OutsideJob, 0));
    file(&mut stage, 3, 3);
    assert_eq!((withdrawn(&stage, "a-2"), tried(&stage, "a-3")), (1, 1), "by a newer one");
    stage.serves(8).ends(8, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert_eq!(
        stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })),
        0,
        "the kills were another's"
    );
    file(&mut stage, 4, 1);
    assert_eq!(withdrawn(&stage, "a-3"), 1, "by what is served");
    file(&mut stage, 5, 3);
    assert_eq!(tried(&stage, "a-3"), 2);
    let result = Err("it is a text file".into());
    stage.input(scan(&[("a", 6), ("b", 1)]));
    stage.input(Input::Probed { function: "a".into(), identity: identity(6), result });
    assert_eq!(withdrawn(&stage, "a-3"), 2, "by rubbish");
    stage.later(Duration::from_secs(1));
    assert_eq!((withdrawn(&stage, "a-3"), withdrawn(&stage, "a-2")), (2, 1), "reported once");
}

/// A deploy on the heels of another is an everyday thing: no warning, no error.
#[test]
fn a_canary_that_is_not_needed_any_more_is_no_death() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
    stage.input(Input::Spawned { worker: WorkerId(5), pid: 105 }).take_actions();
    stage.input(scan(&[("a", 3), ("b", 1)])).input(found("a", 3));
    assert_eq!(stage.take_actions(), ["probe a", "kill 5", "start a"]);
    stage.ends(5, exit_report(KILLED, ExitCause::OutsideJob, 0));
    assert!(stage.events.iter().all(|event| event.level() > crate::logging::Level::Warn), "{:?}", stage.events);
}

#[test]
fn several_new_versions_share_one_canary_until_one_of_them_is_at_fault() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\n");
    let all = |ino| scan(&[("a", ino), ("b", ino), ("c", ino)]);
    stage.input(all(1)).input(found("a", 1)).input(found("b", 1)).input(found("c", 1)).serves(1).serves(2);
    stage.take_actions();
    stage.input(scan(&[("a", 2), ("b", 1), ("c", 1)])).input(found("a", 2));
    assert_eq!(stage.take_actions().pop().unwrap(), "start a+b+c");
    stage.input(scan(&[("a", 2), ("b", 2), ("c", 2)])).input(found("c", 1));
    assert_eq!(stage.take_actions(), ["probe b", "probe c"], "what is copied together is tried together");
    stage.input(found("b", 2));
    assert_eq!(stage.take_actions(), [""; 0]);
    stage.input(Input::Probed { function: "c".into(), identity: identity(2), result: Ok(version("c", 1)) });
    assert_eq!(stage.take_actions(), ["kill 3", "start a+b+c"], "what was found meanwhile goes with it");
    stage.serves(4).ends(4, exit_report(ExitStatus::Signal(11), ExitCause::OutsideJob, 0));
    assert_eq!(stage.take_actions(), ["go 4", "start a+b+c"], "nobody knows whose fault it was: one at a time");
    let tried = |start: &WorkerStart| {
        let new = |(name, version): &(FunctionName, CheckedVersion)| {
            version.hash.test_name().ends_with("-2").then(|| name.clone())
        };
        start.functions.iter().filter_map(new).collect::<Vec<_>>()
    };
    assert_eq!(tried(stage.started.last().unwrap()), ["a"]);
    stage.serves(5).counts(5, 20, 0);
    assert!(stage.take_actions().contains(&"good a a-2".to_owned()));
    assert!(stage.started.iter().any(|start| tried(start) == ["b"] || tried(start).contains(&"b".into())));
}

#[test]
fn a_rollback_is_rolled_out_without_a_canary_and_holds_until_the_file_changes() {
    let mut stage = two_functions();
    let earlier =
        CheckedVersion { hash: "a-0".into(), library: "/s".into(), facts: VersionFacts::default(), warning: None };
    stage.input(Input::Rollback { function: "a".into(), version: earlier, asked: BY });
    assert_eq!(stage.take_actions(), ["pin a a-0", "good a a-0", "start a"]);
    stage.serves(5);
    assert_eq!(stage.take_actions(), ["go 5", "leave 1"]);
    stage.leaves(1).serves(6).leaves(2).take_actions();
    stage.take_actions();
    stage.input(scan(&[("a", 9), ("b", 1)])).input(found("a", 9));
    assert_eq!(stage.take_actions(), ["probe a", "unpin a", "start a"]);
}

#[test]
fn a_removed_library_drains_its_workers() {
    let mut stage = two_functions();
    stage.input(scan(&[("b", 1)]));
    assert_eq!(stage.take_actions(), [""; 0], "half of a replacement looks the same");
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_millis(50)));
    stage.later(Duration::from_millis(50));
    assert_eq!(stage.take_actions(), ["Scan"]);
    stage.input(scan(&[("b", 1)]));
    assert_eq!(stage.take_actions(), ["forget a", "leave 1", "leave 2"]);
    stage.leaves(1).leaves(2);
    assert_eq!(stage.ids(), [3, 4]);
}

/// A job that kills whatever takes it says nothing about the canary it kills; one that kills the new version only does.
#[test]
fn a_job_that_has_killed_another_version_does_not_count_against_the_canary() {
    let rejected = |stage: &Stage| stage.count_events(|event| matches!(event, Event::RolloutStopped { .. }));
    let acquitted = |stage: &Stage| stage.count_events(|event| matches!(event, Event::CanaryContinued { .. }));
    for (name, ini) in [
        ("requeued", "[GearmanManager]\ndedicated_count = 2\n"),
        ("submitted again", "[GearmanManager]\ndedicated_count = 2\non_crash = fail\n"),
    ] {
        let mut stage = Stage::new(ini);
        stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1).serves(2);
        stage.dies_in_job(1, 0).serves(3);
        stage.input(scan(&[("a", 2)])).input(found("a", 2)).take_actions();
        stage.serves(4).take_actions();
        stage.ends_in_job(4, ExitStatus::Signal(11), 0);
        assert_eq!((rejected(&stage), acquitted(&stage)), (0, 1), "{name}");
        assert!(stage.take_actions().contains(&"start a".to_owned()), "{name}: another canary");
        stage.serves(5).counts(5, 20, 0);
        assert!(stage.take_actions().contains(&"good a a-2".to_owned()), "{name}");
    }
    let mut first = two_functions();
    first.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).serves(5);
    first.ends_in_job(5, ExitStatus::Signal(11), 0);
    assert_eq!((rejected(&first), acquitted(&first)), (1, 0));
    // The same job, after the old version has died of it, too, and the new one is tried again.
    first.dies_in_job(1, 0).input(Input::Retry { function: "a".into(), asked: BY });
    first.input(Input::Probed { function: "a".into(), identity: identity(2), result: Ok(version("a", 2)) });
    let canary = *first.ids().last().unwrap();
    first.serves(canary).ends_in_job(canary, ExitStatus::Signal(11), 0);
    assert_eq!((rejected(&first), acquitted(&first)), (1, 1));
}

/// What a job does to a version that is tried again is no excuse for that version.
#[test]
fn a_job_that_has_killed_only_the_same_version_counts_against_it() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).serves(5).counts(5, 20, 0);
    stage.dies_in_job(5, 0);
    let back =
        CheckedVersion { hash: "a-1".into(), library: "/s".into(), facts: VersionFacts::default(), warning: None };
    stage.input(Input::Rollback { function: "a".into(), version: back, asked: BY });
    stage.input(scan(&[("a", 3), ("b", 1)])).input(Input::Probed {
        function: "a".into(),
        identity: identity(3),
        result: Ok(version("a", 2)),
    });
    stage.input(Input::Retry { function: "a".into(), asked: BY });
    stage.input(Input::Probed { function: "a".into(), identity: identity(3), result: Ok(version("a", 2)) });
    let canary = stage.core.workers.iter().find(|(_, worker)| worker.canary.is_some()).map(|(id, _)| id.0).unwrap();
    stage.serves(canary).ends_in_job(canary, ExitStatus::Signal(11), 0);
    assert_eq!(stage.count_events(|event| matches!(event, Event::RolloutStopped { .. })), 1);
}

/// Back to an earlier version: done when every planned worker serves it, whatever old ones still do.
#[test]
fn a_rollback_is_complete_when_every_planned_worker_serves_the_version() {
    let earlier = |hash: &str| CheckedVersion { hash: hash.into(), ..version("a", 0) };
    let roll_back = |stage: &mut Stage, hash| {
        stage.input(Input::Rollback { function: "a".into(), version: earlier(hash), asked: BY });
    };
    let ended = |stage: &Stage| -> Vec<String> {
        let ends = stage.events.iter().filter_map(|event| match event {
            Event::RollbackFinished(ServedVersion { version, workers, draining, .. }) => {
                Some(format!("{} {workers} {draining}", version.test_name()))
            }
            Event::RollbackFailed { version, reason, .. } => Some(format!("{} {reason}", version.test_name())),
            _ => None,
        });
        ends.collect()
    };
    let mut stage = two_functions();
    roll_back(&mut stage, "a-0");
    stage.serves(5).leaves(1);
    assert_eq!(ended(&stage), [""; 0], "one of two");
    stage.serves(6);
    assert_eq!(ended(&stage), ["a-0 2 1"], "an old one is still in a job");

    let mut stage = two_functions();
    roll_back(&mut stage, "a-0");
    roll_back(&mut stage, "a-9");
    assert_eq!(ended(&stage), [format!("a-0 version {} took its place", ShortHash::from("a-9"))]);

    let mut stage = two_functions();
    roll_back(&mut stage, "a-0");
    stage.input(Input::Spawned { worker: WorkerId(5), pid: 105 });
    stage.message(5, WorkerMessage::CannotServe { function: 0, reason: "no table".into() });
    stage.ends(5, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    assert_eq!(ended(&stage), ["a-0 no table"]);

    // One of two starts, and the other one does not.
    let mut stage = two_functions();
    roll_back(&mut stage, "a-0");
    stage.serves(5);
    stage.input(Input::Spawned { worker: WorkerId(6), pid: 106 });
    stage.message(6, WorkerMessage::CannotServe { function: 0, reason: "no table".into() });
    stage.ends(6, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    assert_eq!(ended(&stage), ["a-0 1 of 2 workers serve it, and the others cannot be started: no table"]);

    // The system refuses both workers a process.
    let mut stage = two_functions();
    roll_back(&mut stage, "a-0");
    for id in stage.ids().split_off(4) {
        stage.input(Input::SpawnFailed { worker: WorkerId(id), reason: "no memory".into() });
    }
    assert_eq!(ended(&stage), ["a-0 no process could be started: no memory"]);

    // Its worker, which has other functions too, dies before it has loaded any.
    let mut stage = Stage::new("[GearmanManager]\ncount = 2\ndedicated_count = 0\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1)).serves(1).serves(2);
    roll_back(&mut stage, "a-0");
    for id in 3..20 {
        if ended(&stage).is_empty() && stage.core.workers.contains_key(&WorkerId(id)) {
            stage.input(Input::Spawned { worker: WorkerId(id), pid: 100 + id as i32 });
            stage.ends(id, exit_report(ExitStatus::Exit(1), ExitCause::OutsideJob, 0));
        }
        stage.later(Duration::from_millis(1));
    }
    assert!(ended(&stage).len() == 1 && ended(&stage)[0].starts_with("a-0 "), "{:?}", ended(&stage));

    for (what, end) in [("removed", scan(&[("b", 1)])), ("stopped", Input::Stop { by: "SIGTERM" })] {
        let mut stage = two_functions();
        roll_back(&mut stage, "a-0");
        stage.input(end).later(Duration::from_millis(50)).input(scan(&[("b", 1)]));
        assert_eq!(ended(&stage).len(), 1, "{what}");
    }
}

/// Version 1 of `a` never starts. Version 2 is found while a worker of version 1 is starting, which fails after that.
#[test]
fn a_new_version_does_not_wait_for_one_that_never_starts() {
    for ini in ["count = 2", "dedicated_count = 2"] {
        let mut stage = Stage::new(&format!("[GearmanManager]\nbackoff_max = 1\n{ini}"));
        stage.input(scan(&[("a", 1), ("b", 1)]));
        stage.input(found("a", 1)).input(found("b", 1));
        let (mut done, mut failed, mut deployed) = (0, 0, None);
        for _ in 0..5000 {
            let Some(start) = stage.started.get(done).cloned() else {
                stage.later(Duration::from_millis(5));
                continue;
            };
            done += 1;
            let id = start.worker.0;
            let a = start.functions.iter().position(|(name, _)| name.as_str() == "a");
            let Some(function) = a.filter(|place| start.functions[*place].1.hash == version("a", 1).hash) else {
                stage.serves(id).counts_if_canary(id);
                continue;
            };
            stage.input(Input::Spawned { worker: start.worker, pid: 100 + id as i32 });
            failed += 1;
            if failed == 5 {
                deployed = Some(stage.now);
                stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2));
            }
            stage.message(id, WorkerMessage::CannotServe { function, reason: "no table".into() });
            stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
            if stage.core.serving("a") > 0 {
                break;
            }
        }
        let (deployed, served) = (deployed.unwrap(), stage.core.serving("a"));
        assert!(served > 0, "{ini}: version 2 is not served {:?} after it was found", stage.now - deployed);
    }
}

/// The library goes while its canary is ready and the worker before it has a job: two must never be at work.
#[test]
fn a_canary_of_a_function_limited_to_one_worker_is_not_admitted_when_its_file_is_removed() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 0\ndedicated_count = 1\nrollout_surge = 0\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
    let old = stage.started.iter().find(|start| names(start) == "b").unwrap().worker.0;
    for id in stage.ids() {
        stage.serves(id);
    }
    stage.input(scan(&[("a", 1), ("b", 2)])).input(found("b", 2));
    let canary = *stage.ids().last().unwrap();
    stage.take_actions();
    stage.serves(canary);
    assert_eq!(stage.take_actions(), [format!("leave {old}")]);
    for _ in 0..3 {
        stage.later(Duration::from_millis(100)).input(scan(&[("a", 1)]));
    }
    let did = stage.take_actions();
    assert!(!did.contains(&format!("go {canary}")) && did.contains(&format!("leave {canary}")), "{did:?}");
}
