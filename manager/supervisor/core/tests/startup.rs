//! What is announced of the start, and when.

use super::starts::place_of;
use super::*;

/// M18: whatever does not come, the start is announced in time, with every function that is not served and why.
#[test]
fn the_start_is_reported_in_time_and_names_what_is_not_served() {
    let timeout = Duration::from_secs(3);
    let fails: fn(&mut Stage, u64) = |stage, id| {
        let place = place_of(stage, id as usize - 1, "bad");
        stage.message(id, WorkerMessage::CannotServe { function: place, reason: "no database".into() });
        stage.ends(id, exit_report(ExitStatus::Exit(4), ExitCause::OutsideJob, 0));
    };
    let hangs: fn(&mut Stage, u64) = |stage, id| {
        let place = place_of(stage, id as usize - 1, "bad");
        stage.message(id, WorkerMessage::Making { function: place });
    };
    let refused: fn(&mut Stage, u64) = |stage, id| {
        drop(stage.core.handle(Input::SpawnFailed { worker: WorkerId(id), reason: "EAGAIN".into() }, stage.now))
    };
    for (ini, bad, message) in [
        ("count = 0", fails, "no database"),
        ("count = 0", hangs, "not ready within start_timeout, but still in its new()"),
        ("count = 0", refused, "no process could be started: EAGAIN"),
        ("count = 2", fails, "no database"),
        ("count = 2", hangs, "not ready within start_timeout, but still in its new()"),
    ] {
        for strict in [false, true] {
            let ini = format!("[GearmanManager]\nstart_timeout = 3\nstrict = {}\n{ini}", u8::from(strict));
            let mut stage = Stage::new(&ini);
            stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("bad", 1)).input(found("good", 1));
            let (begun, mut done, mut announced) = (stage.now, 0, None);
            while announced.is_none() {
                while done < stage.started.len() {
                    done += 1;
                    match stage.started[done - 1].functions.iter().any(|(name, _)| name == "bad") {
                        true => bad(&mut stage, done as u64),
                        false => drop(stage.serves(done as u64)),
                    }
                }
                announced =
                    stage.take_actions().into_iter().find(|did| did.starts_with("announce") || did.starts_with("fail"));
                let due = stage.core.next_due(stage.now).unwrap_or(stage.now + timeout);
                let step = if announced.is_none() { due.saturating_sub(stage.now) } else { Duration::ZERO };
                stage.later(step);
                assert!(stage.now - begun <= timeout + Duration::from_secs(1), "{ini}: too late");
            }
            let announced = announced.unwrap();
            assert!(
                announced.starts_with(if strict { "fail 1: strict is set" } else { "announce Some" }),
                "{ini}: {announced}"
            );
            assert!(announced.contains(&format!("bad is not served: {message}")), "{ini}: {announced}");
            assert!(!announced.contains("good"), "{ini}: {announced}");
        }
    }
}

/// A directory, a library or a name that takes its time holds up nobody for longer than a start may take.
#[test]
fn what_is_not_known_in_time_is_named_and_comes_later() {
    let mut unread = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    unread.later(Duration::from_secs(3)).later(Duration::from_secs(4));
    let announced = unread.take_actions().pop().unwrap();
    assert!(announced.contains("the worker directories are still being read"), "{announced}");

    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 3\n");
    stage.input(scan(&[("bad", 1), ("good", 1)])).input(found("good", 1)).take_actions();
    stage.later(Duration::from_secs(2));
    assert_eq!(stage.take_actions(), ["start good"]);
    stage.serves(1);
    assert_eq!(stage.take_actions(), ["go 1"], "not announced before the other one is known");
    stage.later(Duration::from_secs(3));
    let announced = stage.take_actions().pop().unwrap();
    assert!(announced.contains("bad is not served: its library is still being looked at"), "{announced}");
    stage.input(found("bad", 1));
    assert!(stage.take_actions().contains(&"start bad".to_owned()));
}

/// M17: one library is still being looked at when no other probe has come to its end for a while.
#[test]
fn a_long_probe_does_not_delay_a_start() {
    let known = |ini: &str| {
        let mut stage = Stage::new(ini);
        stage.later(Duration::from_secs(1)).input(scan(&[("a", 1), ("b", 1), ("bad", 1)]));
        stage.later(Duration::from_millis(1500)).input(found("a", 1));
        stage.later(Duration::from_millis(1500)).input(found("b", 1)).take_actions();
        stage
    };
    let mut stage = known("[GearmanManager]\ncount = 1\ndedicated_count = 0\n");
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_secs(2)));
    stage.later(Duration::from_millis(1999));
    assert_eq!(stage.take_actions(), [""; 0], "others come");
    stage.later(Duration::from_millis(1));
    assert_eq!(stage.take_actions().len(), 1, "one worker for both");
    stage.serves(1);
    assert_eq!(stage.take_actions(), ["go 1"]);
    stage.input(Input::Probed { function: "bad".into(), identity: identity(1), result: Err("hangs".into()) });
    assert!(stage.take_actions().pop().unwrap().contains("bad: /w/bad.so: hangs"));

    // Where that ends the start, nothing is served before.
    let mut strict = known("[GearmanManager]\nstrict = 1\n");
    strict.later(Duration::from_secs(10));
    assert_eq!(strict.take_actions(), [""; 0]);
}
