//! Versions that load and fail in service: the old one stays.

use std::fs;

use serde_json::Value;

use crate::fixture::{
    Job, QUICK, ask, count_events, file, hash, put, rename_over, served, stamped, strict_gearmand, version, wait_all,
    wait_deployed, wait_quiet,
};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};
use gm_native::gearman::client::JobEvent;

/// Puts a bad version in place and lets jobs come until it is rejected; returns the events.
#[track_caller]
fn rejected(gearmand: &Gearmand, manager: &Manager, bytes: &[u8]) -> Value {
    rename_over(manager, bytes);
    let hash = hash(bytes);
    let stopped = || {
        let events = manager.events();
        events.into_iter().find(|e| e["event"] == "rollout_stopped" && e["version"] == *hash)
    };
    loop {
        // Its canary is to have a job of its own.
        let jobs: Vec<Job> = (0..4).map(|_| Job::start(gearmand, "stamped", "", "take 1000")).collect();
        jobs.into_iter().for_each(|job| drop(job.end()));
        if let Some(event) = stopped() {
            return event;
        }
    }
}

/// The old version serves alone, and the bad one is not tried again by a touch.
#[track_caller]
fn old_goes_on(gearmand: &Gearmand, manager: &Manager, bad: &[u8]) {
    let rollouts = count_events(manager, "rollout_started", "stamped");
    rename_over(manager, bad);
    manager.wait_event("library_refused", |event| {
        let reason = event["reason"].as_str().unwrap();
        reason.contains("rejected before") && reason.contains(&hash(bad))
    });
    wait_quiet(manager, 1);
    wait_all(manager, "stamped", &version("v1"));
    assert_eq!(ask(gearmand, "stamped"), "v1");
    assert_eq!(count_events(manager, "rollout_started", "stamped"), rollouts);
}

#[test]
fn one_that_crashes_in_a_job_is_rejected() {
    // One that is killed has been an attempt: no -j 1 here.
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("canary_seconds = 1h");
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));
    let bad = stamped("v2", "crash");
    rename_over(&manager, &bad);
    manager.wait_event("rollout_started", |_| true);
    let mut jobs = 0;
    let event = loop {
        // Whichever worker takes it, its caller gets an answer: a crash requeues it.
        assert_eq!(ask(&gearmand, "stamped"), "v1", "after {jobs} jobs");
        jobs += 1;
        let events = manager.events();
        if let Some(event) = events.into_iter().find(|event| event["event"] == "rollout_stopped") {
            break event;
        }
    };
    assert_eq!([&event["version"], &event["serving"]], [&hash(&bad), &hash(&version("v1"))]);
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.starts_with("its worker was killed by SIGABRT in job H:"), "{reason}");
    old_goes_on(&gearmand, &manager, &bad);
    // A change of its content is tried.
    rename_over(&manager, &version("v3"));
    wait_deployed_by_jobs(&gearmand, &manager, "v3");
}

#[track_caller]
fn wait_deployed_by_jobs(gearmand: &Gearmand, manager: &Manager, name: &str) {
    manager.wait_event("rollout_started", |event| event["to"] == *hash(&version(name)));
    while ask(gearmand, "stamped") != name {}
    wait_deployed(gearmand, manager, name);
}

#[test]
fn one_whose_jobs_fail_is_rejected() {
    let (gearmand, manager) = served("canary_jobs = 1000\ncanary_seconds = 1h");
    let bad = stamped("v2", "fail");
    let event = rejected(&gearmand, &manager, &bad);
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.contains(" of its first ") && reason.ends_with("the last with: this version fails"), "{reason}");
    old_goes_on(&gearmand, &manager, &bad);
    // Perhaps the database was down, and the operator knows that.
    let done = manager.command("retry", &["stamped", "--no-wait"]);
    assert!(done.status.success() && done.out().contains("tried again"), "{done:?}");
    wait_for("it is tried again", DEADLINE, || {
        (count_events(&manager, "rollout_started", "stamped") >= 2).then_some(())
    });
    // The jobs its first canary failed are not the old version's: it is judged as before.
    while count_events(&manager, "rollout_stopped", "stamped") < 2 {
        Job::start(&gearmand, "stamped", "", "").end();
    }
    old_goes_on(&gearmand, &manager, &bad);
}

/// Failures are what some functions do: as many as before are no reason.
#[test]
fn one_that_fails_as_often_as_before_is_no_worse() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("canary_jobs = 4\ncanary_seconds = 1h");
    fs::write(setup.dir().join("workers/stamped.so"), stamped("v1", "fail")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &stamped("v1", "fail"));
    let fail = || assert_eq!(Job::start(&gearmand, "stamped", "", "").end(), JobEvent::Fail);
    (0..5).for_each(|_| fail());
    rename_over(&manager, &stamped("v2", "fail"));
    while count_events(&manager, "rollout_promoted", "stamped") == 0 {
        fail();
    }
    assert_eq!(count_events(&manager, "rollout_stopped", "stamped"), 0);
}

#[test]
fn one_whose_object_cannot_be_made_is_rejected() {
    let (gearmand, manager) = served("");
    for (mood, reason) in [("new", "this version cannot be made"), ("exit125", "exited with code 125 in its new()")] {
        let bad = stamped("v2", mood);
        rename_over(&manager, &bad);
        let event = manager.wait_event("rollout_stopped", |event| event["version"] == *hash(&bad));
        assert!(event["reason"].as_str().unwrap().contains(reason), "{event}");
        old_goes_on(&gearmand, &manager, &bad);
    }
    let starts = manager.events().iter().filter(|event| event["event"] == "worker_started").count();
    assert_eq!(starts, 3, "each was tried once");
}

/// What is no file at all in its place is no removal.
#[test]
fn a_manager_that_starts_on_no_file_serves_the_last_good_version() {
    let (gearmand, mut manager) = served("");
    let (at, nowhere) = (file(&manager), manager.dir().join("nowhere"));
    let link = || std::os::unix::fs::symlink(&nowhere, &at).unwrap();
    let cases: [(&str, &dyn Fn()); 2] = [("is a link to", &link), ("is a directory", &|| fs::create_dir(&at).unwrap())];
    for (words, make) in cases {
        manager.signal(nix::sys::signal::Signal::SIGTERM);
        manager.wait_exit();
        fs::remove_file(&at).unwrap();
        make();
        manager.start_again();
        let event = manager.wait_event("library_refused", |_| true);
        assert!(event["serving"] == *hash(&version("v1")) && event["reason"].as_str().unwrap().starts_with(words));
        wait_all(&manager, "stamped", &version("v1"));
        assert_eq!(ask(&gearmand, "stamped"), "v1");
        if at.is_dir() {
            fs::remove_dir(&at).unwrap();
        }
        rename_over(&manager, &version("v1"));
    }
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
}

/// The last good version and the marks are remembered by the next manager.
#[test]
fn a_manager_that_starts_on_a_bad_file_serves_the_last_good_version() {
    let (gearmand, mut manager) = served("");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    let bad = stamped("v3", "new");
    rename_over(&manager, &bad);
    manager.wait_event("rollout_stopped", |_| true);
    for content in [&bad[..], b"not a library\n", &bad[..bad.len() / 2]] {
        manager.signal(nix::sys::signal::Signal::SIGTERM);
        manager.wait_exit();
        put(&manager, "stamped", content);
        manager.start_again();
        let event = manager.wait_event("library_refused", |_| true);
        assert_eq!(event["serving"], *hash(&version("v2")), "{event}");
        wait_all(&manager, "stamped", &version("v2"));
        assert_eq!(ask(&gearmand, "stamped"), "v2");
        let line = manager.wait_log("keeps serving");
        assert!(line.contains(&hash(&version("v2"))), "{line}");
        let note = manager.status()["functions"][0]["note"].as_str().unwrap_or_default().to_owned();
        assert!(note.starts_with("its file "), "{note}");
        assert_eq!(count_events(&manager, "rollout_started", "stamped"), 0);
    }
    fs::write(file(&manager), version("v4")).unwrap();
    wait_deployed(&gearmand, &manager, "v4");
}
