//! `versions` and `retry`, and which old versions are kept.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use serde_json::Value;

use crate::fixture::{
    ask, count_events, hash, named, rename_over, served, stamped, strict_gearmand, version, versions, wait_all,
    wait_deployed, wait_quiet,
};
use crate::support::manager::{Manager, Setup};
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};

/// A retry whose file is not served: the exit code, and why.
#[track_caller]
fn not_served(manager: &Manager, args: &[&str], code: i32, words: &str) {
    let done = manager.command("retry", &[&["stamped"], args].concat());
    assert!(done.code() == Some(code) && done.err().contains(words), "{done:?}");
}

/// It waits until the file is served, or is not.
#[test]
fn retry_reports_what_becomes_of_the_file() {
    let (gearmand, mut manager) = served("canary_jobs = 1000000\ncanary_seconds = 1h");
    rename_over(&manager, &stamped("v2", "new"));
    manager.wait_event("rollout_stopped", |_| true);
    manager.mark();
    not_served(&manager, &[], 1, "this version cannot be made");
    manager.wait_event("rollout_stopped", |_| true);
    manager.wait_event("retry_failed", |_| true);
    // Its canary runs for as long as it likes.
    rename_over(&manager, &version("v3"));
    manager.wait_event("rollout_started", |event| event["to"] == *hash(&version("v3")));
    not_served(&manager, &["--timeout", "100ms"], 5, "the manager goes on with it");
    let done = manager.command("retry", &["stamped", "--no-wait"]);
    assert!(done.status.success() && done.out().contains("is tried again"), "{done:?}");
    manager.mark();
    manager.command("rollback", &["stamped"]).success();
    manager.wait_event("retry_failed", |event| event["reason"].as_str().unwrap().contains("a rollback to version"));
    wait_deployed(&gearmand, &manager, "v1");
}

/// `retry` ends a pin: the file is what is served again.
#[test]
fn retry_ends_a_rollback() {
    let (gearmand, manager) = served("");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    manager.command("rollback", &["stamped"]).success();
    wait_deployed(&gearmand, &manager, "v1");
    // It is served by then: nothing is waited for.
    let done = manager.command("retry", &["stamped"]);
    assert!(done.status.success() && done.out().contains(&hash(&version("v2"))), "{done:?}");
    assert_eq!(ask(&gearmand, "stamped"), "v2");
    let again = manager.command("retry", &["stamped"]);
    assert!(again.status.success() && again.out().contains(&hash(&version("v2"))), "{again:?}");
}

/// What a file lacks may lie outside of it: it is probed again although it has not changed. What it holds counts, not
/// what it held when it was good.
#[test]
fn retry_looks_at_the_file_as_it_is() {
    let (gearmand, mut manager) = served("");
    rename_over(&manager, &stamped("v2", "new"));
    manager.wait_event("rollout_stopped", |_| true);
    let lies_elsewhere = manager.dir().join("elsewhere");
    fs::write(&lies_elsewhere, "not a library\n").unwrap();
    for function in ["stamped", "f00"] {
        let part = manager.dir().join("link");
        symlink(&lies_elsewhere, &part).unwrap();
        fs::rename(part, manager.worker_dir().join(format!("{function}.so"))).unwrap();
        manager.wait_event("library_refused", |event| event["function"] == function);
    }
    manager.mark();
    not_served(&manager, &[], 1, "is text, not a library");
    manager.wait_event("library_refused", |event| event["function"] == "stamped");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 1, "of the version that the file holds no more");
    // Behind a link on another file system nobody sees a change.
    fs::write(&lies_elsewhere, version("v3")).unwrap();
    for function in ["stamped", "f00"] {
        manager.command("retry", &[function]).success();
        wait_all(&manager, function, &version("v3"));
        assert_eq!(ask(&gearmand, function), "v3");
    }
}

/// The command in the log works as printed, in a shell in another directory.
#[test]
fn a_command_in_the_log_works_as_printed() {
    let (_gearmand, mut manager) = served("");
    let bad = stamped("v2", "new");
    rename_over(&manager, &bad);
    let line = manager.wait_log("it is not tried again until the file changes or you run `gm-native ");
    let as_printed = |manager: &Manager, line: &str| {
        let (_, rest) = line.split_once("`gm-native ").unwrap();
        let program = env!("CARGO_BIN_EXE_gm-native");
        let script = format!("{program} {}", rest.split('`').next().unwrap());
        let done = run(Command::new("sh").args(["-c", &script]).current_dir("/"), b"", DEADLINE).unwrap();
        assert!(done.code() == Some(1) && done.err().contains("cannot be made"), "{script}: {done:?}");
        manager.wait_event("rollout_stopped", |_| true);
    };
    manager.mark();
    as_printed(&manager, &line);
    // The next manager refuses the file, and logs the same.
    manager.signal(nix::sys::signal::Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    let line = manager.wait_log("rejected before because ");
    as_printed(&manager, &line);
    let status = manager.status()["refused"][0]["reason"].as_str().unwrap().to_owned();
    assert!(status.contains("rejected because"), "{status}");
}

/// While a new version is checked, tried and rolled out all is well: nobody is called at night for a deploy. They are for
/// a version that was rejected, until its file is another one.
#[test]
fn a_check_is_well_during_a_deploy_and_warns_of_a_rejected_version() {
    let gearmand = strict_gearmand();
    let setup =
        Setup::new(&[&gearmand.server()]).ini("canary_seconds = 0\ncanary_jobs = 2\nsettle_time = 20ms\ncount = 3");
    let hindrance = setup.dir().join("hindrance");
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    fs::write(&hindrance, "").unwrap();
    let manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
    wait_all(&manager, "stamped", &version("v1"));
    let check = |line: &str| {
        let done = manager.command("status", &["--check"]);
        assert!(done.out().starts_with(line), "{line}: {done:?}");
        done.code()
    };
    // In its check.
    let slow = stamped("v2", "slow");
    rename_over(&manager, &slow);
    wait_quiet(&manager, 4);
    assert_eq!(check("OK: 1 function, 3 workers | "), Some(0));
    // With its canary, which waits for jobs.
    fs::remove_file(&hindrance).unwrap();
    let tried = |worker: &Value| worker["generation"] == 4 && worker["state"] == "idle";
    manager.wait_status("a canary", |status| status["workers"].as_array()?.iter().any(tried).then_some(()));
    assert_eq!(check("OK: 1 function, "), Some(0));
    // While every worker is replaced.
    let is_over = |event: &Value| event["event"] == "rollout_finished";
    wait_for("the end of the rollout", DEADLINE, || {
        ask(&gearmand, "stamped");
        assert_eq!(check("OK: 1 function, "), Some(0));
        manager.events().iter().any(is_over).then_some(())
    });
    let bad = stamped("v3", "new");
    rename_over(&manager, &bad);
    manager.wait_event("rollout_stopped", |_| true);
    let path = manager.worker_dir().join("stamped.so").display().to_string();
    let warning = format!(
        "WARNING: {path} holds version {}, rejected because its new() failed: this version cannot be made | ",
        hash(&bad)
    );
    assert_eq!(check(&warning), Some(1));
    let note = manager.status()["functions"][0]["note"].as_str().unwrap().to_owned();
    assert!(note.starts_with("its file holds version ") && note.matches(": ").count() == 1, "{note}");
    // The workers have this version already: only the check shows that the manager has read its file again.
    rename_over(&manager, &slow);
    wait_for("a check without the warning", DEADLINE, || {
        let done = manager.command("status", &["--check"]);
        (done.out().starts_with("OK: 1 function, 3 workers | ") && done.code() == Some(0)).then_some(())
    });
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let (gearmand, manager) = served("");
    for (verb, args, words) in [
        ("rollback", &["stamped"][..], "which is in service, is the only one"),
        ("rollback", &["stamped", "ffff"], "no version of stamped whose hash begins with \"ffff\" is stored"),
        ("rollback", &["nobody"], "there is no function nobody"),
        ("retry", &["nobody"], "there is no function nobody"),
    ] {
        let refused = manager.command(verb, args);
        assert_eq!(refused.code(), Some(4), "{refused:?}");
        assert!(refused.err().contains(words), "{refused:?}");
    }
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

#[test]
fn old_versions_are_removed_from_the_store() {
    let (gearmand, manager) = served("keep_versions = 2");
    for name in ["v2", "v3", "v4", "v5"] {
        rename_over(&manager, &version(name));
        wait_deployed(&gearmand, &manager, name);
    }
    // At the promotion of v5 a worker still had v4: it counts as in use.
    let kept = versions(&manager);
    assert_eq!(kept, named(&[("v5", "serving"), ("v4", "stored"), ("v3", "stored"), ("v2", "stored")]));
    let store = fs::read_dir(manager.dir().join("state/store")).unwrap();
    let hashes = store.filter(|entry| entry.as_ref().unwrap().file_name().len() == 12).count();
    assert_eq!(hashes, kept.len(), "and from the disk");
    assert_eq!(fs::read_dir(manager.dir().join("state/store/incoming")).unwrap().count(), 0);
}
