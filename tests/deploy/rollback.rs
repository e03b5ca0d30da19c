//! H14: `rollback`: back, and further back; what is refused; and an exit code that shows whether the version is served.

use std::fs;
use std::io::Write;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{
    Job, QUICK, ask, count_events, file, hash, named, of, put, rename_over, served, stamped, strict_gearmand, version,
    versions, wait_all, wait_deployed, wait_quiet,
};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};

/// Rolls back, and sees that the version is served by then: nothing is waited for.
#[track_caller]
fn back_to(gearmand: &Gearmand, manager: &Manager, args: &[&str], name: &str) {
    let done = manager.command("rollback", &[&["stamped"], args].concat());
    assert!(done.status.success() && done.out().contains(&hash(&version(name))), "{done:?}");
    serves(gearmand, manager, name);
}

/// A manager that serves v1. The `slow` libraries hang while there is a file of the name that is returned.
#[track_caller]
fn hinderable_at_v1() -> (Gearmand, Manager, PathBuf) {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    let hindrance = setup.dir().join("hindrance");
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
    wait_all(&manager, "stamped", &version("v1"));
    (gearmand, manager, hindrance)
}

/// Every planned worker serves that version now.
#[track_caller]
fn serves(gearmand: &Gearmand, manager: &Manager, name: &str) {
    let status = manager.status();
    let about = of(&status, "functions", "name", "stamped").unwrap();
    assert_eq!(about["workers_ready"], about["workers_planned"], "{status}");
    assert_eq!(about["version"], *hash(&version(name)));
    // A worker of another version that is still draining may take one last job.
    wait_deployed(gearmand, manager, name);
}

/// The version that `stamped` is pinned to.
fn pinned(manager: &Manager) -> Option<String> {
    versions(manager).into_iter().find(|(_, state)| state == "pinned").map(|(version, _)| version)
}

#[track_caller]
fn refused(manager: &Manager, args: &[&str], words: &str) {
    let refused = manager.command("rollback", args);
    assert_eq!(refused.code(), Some(4), "{refused:?}");
    assert!(refused.err().contains(words), "{refused:?}");
}

/// Deploys a version, and gives its canary jobs until that event; returns the event.
#[track_caller]
fn judged_by_jobs(gearmand: &Gearmand, manager: &Manager, bytes: &[u8], event: &str) -> Value {
    rename_over(manager, bytes);
    let is_it = |one: &Value| one["event"] == event && one["version"] == *hash(bytes);
    wait_for(event, DEADLINE, || {
        let _ = Job::start(gearmand, "stamped", "", "").end();
        manager.events().into_iter().find(is_it)
    })
}

/// Why a version was rejected, from `versions`.
#[track_caller]
fn note(manager: &Manager, bytes: &[u8]) -> String {
    let all: Value = serde_json::from_slice(&manager.command("versions", &["--json"]).success()).unwrap();
    let one = all.as_array().unwrap().iter().find(|version| version["version"] == *hash(bytes)).unwrap();
    one["note"].as_str().unwrap_or_default().to_owned()
}

/// Two people on call roll back one after the other: nobody brings the bad version back.
#[test]
fn each_one_goes_further_back_until_the_content_changes() {
    let (gearmand, mut manager) = served("count = 2\nkeep_versions = 5");
    for name in ["v2", "v3", "v4"] {
        rename_over(&manager, &version(name));
        wait_deployed(&gearmand, &manager, name);
    }
    let states = [("v4", "serving"), ("v3", "stored"), ("v2", "stored"), ("v1", "stored")];
    assert_eq!(versions(&manager), named(&states));
    let table = manager.command("versions", &[]).out();
    assert!(table.starts_with("FUNCTION") && table.lines().count() == 5, "{table}");
    assert!(table.lines().nth(1).unwrap().contains("serving"), "{table}");

    back_to(&gearmand, &manager, &[], "v3");
    back_to(&gearmand, &manager, &[], "v2");
    let states = [("v4", "stored"), ("v3", "stored"), ("v2", "pinned"), ("v1", "stored")];
    assert_eq!(versions(&manager), named(&states));
    let note = manager.status()["functions"][0]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("pinned"), "{note}");
    assert_eq!(
        (count_events(&manager, "rolled_back", "stamped"), count_events(&manager, "rollback_finished", "stamped")),
        (2, 2)
    );
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 3, "what was good needs no canary");

    // The same content again is no change, and a new manager knows of all this.
    rename_over(&manager, &version("v4"));
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    assert_eq!(ask(&gearmand, "stamped"), "v2");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    wait_deployed(&gearmand, &manager, "v2");
    let all: Value = serde_json::from_slice(&manager.command("versions", &["--json"]).success()).unwrap();
    assert!(all.as_array().unwrap().iter().all(|version| version["crate_version"] == "3.2.1"), "{all}");
    let status = manager.status();
    assert_eq!(of(&status, "functions", "name", "stamped").unwrap()["crate_version"], "3.2.1");
    back_to(&gearmand, &manager, &[], "v1");
    refused(&manager, &["stamped"], "stamped has no earlier version to go back to");
    assert_eq!(ask(&gearmand, "stamped"), "v1");

    // What was left by a rollback is no earlier version of the next deploy.
    rename_over(&manager, &version("v5"));
    wait_deployed(&gearmand, &manager, "v5");
    assert_eq!(versions(&manager)[0], (hash(&version("v5")), "serving".into()));
    back_to(&gearmand, &manager, &[], "v1");
    // By name it is.
    back_to(&gearmand, &manager, &[&hash(&version("v3"))[..6]], "v3");
    back_to(&gearmand, &manager, &[], "v1");
}

/// An old library that is copied again is a deploy: back is what it replaced.
#[test]
fn earlier_is_what_was_served_before_not_what_was_stored_before() {
    let (gearmand, manager) = served("");
    for name in ["v2", "v1"] {
        rename_over(&manager, &version(name));
        wait_deployed(&gearmand, &manager, name);
    }
    back_to(&gearmand, &manager, &[], "v2");
}

#[test]
fn a_rejected_version_needs_force_and_keeps_its_mark_and_reason() {
    let (gearmand, manager) = served("canary_jobs = 10\ncanary_seconds = 1h");
    judged_by_jobs(&gearmand, &manager, &version("v2"), "rollout_promoted");
    wait_deployed(&gearmand, &manager, "v2");
    let bad = stamped("v3", "fail");
    let rejected = judged_by_jobs(&gearmand, &manager, &bad, "rollout_stopped");
    let reason = rejected["reason"].as_str().unwrap();
    let bad_hash = hash(&bad);
    refused(&manager, &["stamped", &bad_hash], &format!("was rejected: {reason}; --force"));
    wait_deployed(&gearmand, &manager, "v2");

    let forced = manager.command("rollback", &["stamped", &bad_hash, "--force"]);
    assert!(forced.status.success() && forced.out().contains(reason), "{forced:?}");
    assert_eq!(versions(&manager)[0], (bad_hash.clone(), "pinned".into()));
    assert_eq!(note(&manager, &bad), reason);
    back_to(&gearmand, &manager, &[], "v2");
    assert_eq!((versions(&manager)[0].1.as_str(), note(&manager, &bad).as_str()), ("rejected", reason));
    refused(&manager, &["stamped", &bad_hash], "was rejected: ");
    refused(&manager, &["stamped", &hash(&version("v2"))], "is pinned already; --force");
    back_to(&gearmand, &manager, &[&hash(&version("v2")), "--force"], "v2");

    // Another try is for the version that the file holds, and for no other.
    judged_by_jobs(&gearmand, &manager, &version("v4"), "rollout_promoted");
    wait_deployed(&gearmand, &manager, "v4");
    manager.command("retry", &["stamped"]).success();
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    assert_eq!(note(&manager, &bad), reason);
}

/// What `status --check` says about the file of a pinned function does not depend on when the manager was started.
#[test]
fn a_pin_does_not_hide_a_file_that_is_refused() {
    let (gearmand, mut manager) = served("keep_versions = 5");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    rename_over(&manager, b"a text");
    manager.wait_event("library_refused", |_| true);
    back_to(&gearmand, &manager, &[], "v1");
    let check = |manager: &Manager| {
        let checked = manager.command("status", &["--check"]);
        assert_eq!(checked.code(), Some(1), "{checked:?}");
        let status = manager.status();
        let note = of(&status, "functions", "name", "stamped").unwrap()["note"].as_str().unwrap().to_owned();
        (checked.out().split(" | ").next().unwrap().to_owned(), note)
    };
    let before = check(&manager);
    assert!(before.0.contains("stamped.so is text, not a library"), "{before:?}");
    assert!(before.1.starts_with("pinned") && before.1.contains("is text"), "{before:?}");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    wait_deployed(&gearmand, &manager, "v1");
    wait_for("the file to be checked", DEADLINE, || (check(&manager) == before).then_some(()));
}

/// A version that no job has tried since it was rejected is not good because nobody asked for it.
#[test]
fn a_retry_without_jobs_keeps_the_mark_of_a_rejected_version() {
    let (gearmand, mut manager) = served("canary_jobs = 10\ncanary_seconds = 1h");
    let bad = stamped("v2", "fail");
    let rejected = judged_by_jobs(&gearmand, &manager, &bad, "rollout_stopped");
    let reason = rejected["reason"].as_str().unwrap();
    // Its failures say nothing about the version in service.
    manager.wait_status("no failures", |status| {
        of(status, "functions", "name", "stamped").filter(|about| about["failing"].is_null()).map(drop)
    });
    assert!(!manager.command("status", &[]).out().contains("last failure"));
    manager.configure("canary_seconds = 50ms");
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reload_finished", |_| true);
    let done = manager.command("retry", &["stamped"]);
    assert!(done.status.success() && done.out().contains(reason), "{done:?}");
    assert_eq!((versions(&manager)[0].clone(), note(&manager, &bad)), ((hash(&bad), "serving".into()), reason.into()));
    // So nobody is led back to it.
    rename_over(&manager, &version("v3"));
    wait_deployed(&gearmand, &manager, "v3");
    back_to(&gearmand, &manager, &[], "v1");
}

#[test]
fn what_cannot_be_done_is_said_plainly() {
    let (_gearmand, manager) = served("");
    let only = format!("version {}, which is in service, is the only one", hash(&version("v1")));
    refused(&manager, &["stamped"], &only);
    for command in ["rollback", "retry"] {
        let refused = manager.command(command, &["stampd"]);
        assert_eq!(refused.code(), Some(4), "{refused:?}");
        assert_eq!(
            refused.err(),
            "gm-native: there is no function stampd (nearest: stamped): no library of it is in worker_dir\n"
        );
    }
}

/// The version cannot be served at all, and the old one goes on.
#[test]
fn a_failed_rollback_is_reported_and_takes_nothing_away() {
    let (gearmand, manager) = served("");
    let bad = stamped("v2", "new");
    rename_over(&manager, &bad);
    manager.wait_event("rollout_stopped", |_| true);
    let failed = manager.command("rollback", &["stamped", &hash(&bad), "--force"]);
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    assert!(failed.err().contains("failed: ") && failed.err().contains("this version cannot be made"), "{failed:?}");
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    let status = manager.status();
    let note = of(&status, "functions", "name", "stamped").unwrap()["note"].as_str().unwrap();
    assert!(note.starts_with("pinned") && note.contains("this version cannot be made"), "{note}");
    back_to(&gearmand, &manager, &[], "v1");
}

/// The command returns when the version is served, whatever old workers still have to do.
#[test]
fn a_job_of_the_old_version_does_not_hold_it_up() {
    let (gearmand, manager) = served("");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    let go: PathBuf = manager.dir().join("go");
    let job = Job::start(&gearmand, "stamped", "", &format!("wait {}", go.display()));
    wait_for("the job to run", DEADLINE, || gearmand.status("stamped").filter(|status| status.running == 1));
    let done = manager.command("rollback", &["stamped"]);
    assert!(done.status.success() && done.out().contains("1 old worker is still draining"), "{done:?}");
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    fs::write(go, "").unwrap();
    assert_eq!(job.result(), b"v2");
}

#[test]
fn while_a_version_is_tried_it_is_called_off() {
    let (gearmand, manager) = tries_for_long("settle_time = 20ms");
    rename_over(&manager, &version("v3"));
    manager.wait_event("rollout_started", |event| event["to"] == *hash(&version("v3")));
    back_to(&gearmand, &manager, &[], "v2");
    assert_eq!(count_events(&manager, "rollout_withdrawn", "stamped"), 1);
    back_to(&gearmand, &manager, &[], "v1");
}

/// A manager that serves v2, after v1, and has canaries that are never promoted.
fn tries_for_long(ini: &str) -> (Gearmand, Manager) {
    let (gearmand, mut manager) = served("");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    manager.configure(&format!("canary_seconds = 1h\ncanary_jobs = 1000000\nrescan_interval = 1h\n{ini}"));
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    wait_all(&manager, "stamped", &version("v2"));
    (gearmand, manager)
}

/// It may not have been seen yet, or be at its check, or have a canary.
#[test]
fn a_file_that_was_copied_a_moment_ago_is_called_off() {
    let (gearmand, manager) = tries_for_long("settle_time = 20ms");
    for round in 0..6 {
        let bytes = version(&format!("v{}", round + 3));
        match round % 2 {
            0 => fs::write(file(&manager), bytes).unwrap(),
            _ => rename_over(&manager, &bytes),
        }
        let done = manager.command("rollback", &["stamped"]);
        assert!(done.status.success() && done.out().contains("is called off"), "{done:?}");
        // Its canary, where it had one, may have taken a job before it was told to drain.
        wait_deployed(&gearmand, &manager, "v2");
    }
    // Nothing is left to call off.
    back_to(&gearmand, &manager, &[], "v1");
    assert_eq!(count_events(&manager, "rollout_promoted", "stamped"), 1);
}

/// Nobody has closed it yet, and the manager would wait for that.
#[test]
fn a_file_that_is_still_being_written_is_called_off() {
    let (gearmand, manager) = tries_for_long("settle_time = 1h");
    let mut copy = fs::File::create(file(&manager)).unwrap();
    copy.write_all(&version("v3")).unwrap();
    let done = manager.command("rollback", &["stamped"]);
    assert!(done.status.success() && done.out().contains("is called off"), "{done:?}");
    serves(&gearmand, &manager, "v2");
    drop(copy);
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    serves(&gearmand, &manager, "v2");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 1);
}

/// What is called off in its check stays so, over a crash of the manager, too.
#[test]
fn a_file_that_is_called_off_in_its_check_is_not_tried_by_the_next_manager() {
    let (gearmand, mut manager, hindrance) = hinderable_at_v1();
    fs::write(&hindrance, "").unwrap();
    rename_over(&manager, &stamped("v2", "slow"));
    let done = manager.command("rollback", &["stamped"]);
    assert!(done.status.success() && done.out().contains("is called off"), "{done:?}");
    serves(&gearmand, &manager, "v1");
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    fs::remove_file(&hindrance).unwrap();
    manager.start_again();
    wait_deployed(&gearmand, &manager, "v1");
    assert_eq!(pinned(&manager), Some(hash(&version("v1"))));
}

/// `retry` is called off as a file is: what it would have tried stays where it was.
#[test]
fn a_retry_is_called_off() {
    let (gearmand, manager, hindrance) = hinderable_at_v1();
    let new = stamped("v2", "slow");
    rename_over(&manager, &new);
    wait_all(&manager, "stamped", &new);
    back_to(&gearmand, &manager, &[], "v1");
    fs::write(&hindrance, "").unwrap();
    manager.command("retry", &["stamped", "--no-wait"]).success();
    let done = manager.command("rollback", &["stamped"]);
    let off = format!("stamped.so (version {}) is called off", hash(&new));
    assert!(done.status.success() && done.out().contains(&off), "{done:?}");
    fs::remove_file(&hindrance).unwrap();
    wait_quiet(&manager, 1);
    serves(&gearmand, &manager, "v1");
    assert_eq!(pinned(&manager), Some(hash(&version("v1"))));
}

/// Two people on call roll back at the same time: one version back, not two.
#[test]
fn two_at_the_same_time_go_back_once() {
    let (gearmand, manager, hindrance) = hinderable_at_v1();
    let slow = stamped("v2", "slow");
    for bytes in [&slow, &version("v3")] {
        rename_over(&manager, bytes);
        wait_all(&manager, "stamped", bytes);
    }
    fs::write(&hindrance, "").unwrap();
    let first = manager.command("rollback", &["stamped", "--no-wait"]);
    assert!(
        first.status.success() && first.out().contains("has begun") && first.out().contains(&hash(&slow)),
        "{first:?}"
    );
    let joins = "was under way already: ";
    let second = manager.command("rollback", &["stamped", "--no-wait"]);
    assert!(
        second.status.success() && second.out().contains(joins) && second.out().contains(&hash(&slow)),
        "{second:?}"
    );
    let third = manager.command("rollback", &["stamped", "--timeout", "200ms"]);
    assert!(third.code() == Some(5) && third.err().contains(joins), "{third:?}");
    fs::remove_file(&hindrance).unwrap();
    wait_all(&manager, "stamped", &slow);
    let count = |event| count_events(&manager, event, "stamped");
    wait_for("its end", DEADLINE, || (count("rollback_finished") == 1).then_some(()));
    assert_eq!((count("rolled_back"), count("rollback_failed")), (1, 0));
    // Now it is one of many.
    back_to(&gearmand, &manager, &[], "v1");
}

/// Its worker dies before anybody knows which function is to blame, or in the function, alone or beside others.
#[test]
fn one_whose_workers_die_is_reported_at_once() {
    for (ini, mood) in
        [("count = 2\ndedicated_count = 0", "abort"), ("dedicated_count = 2", "abort"), ("count = 2", "new")]
    {
        let (gearmand, manager) = served(&format!("{ini}\nstart_timeout = 1h"));
        put(&manager, "f00", &version("v1"));
        wait_all(&manager, "f00", &version("v1"));
        let bad = stamped("v2", mood);
        rename_over(&manager, &bad);
        manager.wait_event("rollout_stopped", |_| true);
        let failed = manager.command("rollback", &["stamped", &hash(&bad), "--force", "--timeout", "10m"]);
        assert_eq!(failed.code(), Some(1), "{failed:?}");
        assert!(failed.err().contains("new()") || failed.err().contains("cannot be made"), "{failed:?}");
        assert_eq!(ask(&gearmand, "f00"), "v1");
    }
}

/// One worker serves it and no other one can be made: that is known long before any timeout.
#[test]
fn one_that_only_some_workers_serve_is_reported_at_once() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 2");
    let hindrance = setup.dir().join("hindrance");
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    fs::write(&hindrance, "").unwrap();
    let manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
    wait_all(&manager, "stamped", &version("v1"));
    let bad = stamped("v2", "first");
    rename_over(&manager, &bad);
    manager.wait_event("rollout_stopped", |_| true);
    fs::remove_file(&hindrance).unwrap();
    let failed = manager.command("rollback", &["stamped", &hash(&bad), "--force", "--timeout", "10m"]);
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    let why =
        "1 of 2 workers serve it, and the others cannot be started: its new() failed: only one worker can be made";
    assert!(failed.err().contains(why), "{failed:?}");
}

/// No worker would serve it: it is refused, and the exit code shows it.
#[test]
fn what_nobody_serves_is_refused() {
    let (gearmand, mut manager) = served("keep_versions = 5");
    put(&manager, "f00", &version("v1"));
    for name in ["v2", "v3"] {
        rename_over(&manager, &version(name));
        wait_deployed(&gearmand, &manager, name);
    }
    // Gone from the store.
    fs::remove_dir_all(manager.dir().join("state/store").join(hash(&version("v2")))).unwrap();
    refused(&manager, &["stamped", &hash(&version("v2"))], "is stored; stored are: ");
    back_to(&gearmand, &manager, &[], "v1");
    // Changed there.
    let stored = manager.dir().join("state/store").join(hash(&version("v3"))).join("stamped.so");
    fs::remove_file(&stored).unwrap();
    fs::write(&stored, "rubbish").unwrap();
    refused(&manager, &["stamped", &hash(&version("v3"))], "was changed");

    manager.configure("exclude = stamped\nrescan_interval = 1h\nsettle_time = 20ms");
    manager.signal(Signal::SIGHUP);
    manager.wait_event("function_excluded", |event| event["text"] == "stamped: not served, since exclude names it");
    refused(&manager, &["stamped", &hash(&version("v1"))], "no worker serves stamped: exclude names it");
    manager.mark();
    manager.remove("stamped");
    manager.wait_event("function_removed", |event| event["function"] == "stamped");
    refused(&manager, &["stamped"], "there is no function stamped");
}

/// A file that is being checked when its function is rolled back has not changed after that.
#[test]
fn a_file_that_was_being_checked_does_not_undo_it() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 2");
    let hindrance = setup.dir().join("hindrance");
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let mut manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
    wait_all(&manager, "stamped", &version("v1"));
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    fs::write(&hindrance, "").unwrap();
    rename_over(&manager, &stamped("v3", "slow"));
    wait_quiet(&manager, 3);
    // Once for the file, then for the version before it.
    back_to(&gearmand, &manager, &[], "v2");
    back_to(&gearmand, &manager, &[], "v1");
    fs::remove_file(&hindrance).unwrap();
    wait_quiet(&manager, 2);
    assert_eq!(pinned(&manager), Some(hash(&version("v1"))));
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    wait_deployed(&gearmand, &manager, "v1");
    assert_eq!(pinned(&manager), Some(hash(&version("v1"))));
    rename_over(&manager, &version("v4"));
    wait_deployed(&gearmand, &manager, "v4");
}
