//! Which function, version or job the end of a worker counts against.

use std::fs;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{Job, acting, library, lines, make_script, path, served, touch, wait_busy, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// M21: a worker that has to drain while its job runs, and then crashes by itself, died in its job.
#[test]
fn a_job_that_crashes_a_draining_worker_counts_like_any_other() {
    let (gearmand, mut manager) = served("on_crash = fail");
    for (number, signal) in [Signal::SIGHUP, Signal::SIGTERM].into_iter().enumerate() {
        let [notes, gate] = ["notes", "gate"].map(|name| path(&manager, &format!("{name}{number}")));
        let job = Job::act(&gearmand, "u1", &format!("note {notes}\nwait {gate}\nsegv"));
        let worker = wait_busy(&manager, &job.handle);
        manager.mark();
        manager.signal(signal);
        manager.wait_event("worker_draining", |event| event["pid"] == worker.as_raw());
        touch(&gate);
        let message = job.failure();
        assert!(message.starts_with("worker killed by SIGSEGV in this job after"), "{signal}: {message}");
        assert_eq!(lines(&notes), ["u1"], "{signal}: it ran once");
        if signal == Signal::SIGHUP {
            wait_serving(&manager, "act");
        }
    }
}

/// M21: every worker that takes it is draining by the time it dies.
#[test]
fn a_poison_job_is_counted_in_draining_workers_too() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).ini("max_attempts = 2").start();
    wait_serving(&manager, "act");
    let (notes, gate) = (path(&manager, "notes"), path(&manager, "gate"));
    let job = Job::act(&gearmand, "u1", &format!("note {notes}\nwait {gate}\nfirst {gate}2 exit 0\nabort"));
    let worker = wait_busy(&manager, &job.handle);
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("worker_draining", |event| event["pid"] == worker.as_raw());
    touch(&gate);
    let message = job.failure();
    assert!(
        message.contains("worker killed by SIGABRT") && message.contains("2 workers were lost in this job"),
        "{message}"
    );
    assert_eq!(lines(&notes), ["u1"; 2]);
}

/// Workers that were started with a function.
fn starts_with(manager: &Manager, function: &str) -> usize {
    let serves = |event: &&Value| event["functions"].as_array().is_some_and(|all| all.contains(&function.into()));
    manager.events().iter().filter(|event| event["event"] == "worker_started").filter(serves).count()
}

/// Ended children of a process that it has not taken note of.
fn zombies(parent: Pid) -> usize {
    let stat = |entry: fs::DirEntry| fs::read_to_string(entry.path().join("stat")).ok();
    let is_one = |stat: &String| {
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after.trim_start().starts_with(&format!("Z {parent} "))
    };
    fs::read_dir("/proc").unwrap().filter_map(|entry| stat(entry.unwrap())).filter(is_one).count()
}

#[track_caller]
fn wait_no_zombie(parent: Pid) {
    wait_for("the last zombie to be reaped", DEADLINE, || (zombies(parent) == 0).then_some(()));
}

/// P24: the others in the same workers do not notice.
#[test]
fn a_new_that_makes_its_worker_exit_has_failed_to_start() {
    for how in ["term", "group", "exit0", "descriptors", "channel"] {
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]).plugin("starting", &library());
        let setup = setup.ini(&format!("count = 2\ndedicated_count = 0\n[starting]\nsetting.how = {how}"));
        let manager = setup.start();
        let third = manager.wait_event("backing_off", |event| event["failures"] == 3);
        assert_eq!(third["function"], "starting", "{how}");
        // Two beside the others, then one at a time.
        assert!(starts_with(&manager, "starting") <= 8, "{how}: {}", starts_with(&manager, "starting"));
        wait_serving(&manager, "act");
        assert_eq!(Job::act(&gearmand, "", "say alive").result(), b"alive", "{how}");
        wait_no_zombie(manager.pid());
    }
}

/// P24: from a thread, by which time nobody can say whose it was.
#[test]
fn a_worker_that_exits_soon_after_its_start_backs_off() {
    for how in ["later term", "later exit0"] {
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]).plugin("starting", &library());
        let setup = setup.ini(&format!("dedicated_count = 2\nbackoff_max = 1\n[starting]\nsetting.how = {how}"));
        let manager = setup.start();
        let fifth = manager.wait_event("backing_off", |event| event["failures"].as_u64() >= Some(5));
        assert_eq!(fifth["function"], "starting", "{how}");
        // Up to three more at once, each with a sibling that was already under way.
        assert!(starts_with(&manager, "starting") <= 10, "{how}: {}", starts_with(&manager, "starting"));
        wait_serving(&manager, "act");
        wait_no_zombie(manager.pid());
    }
}

/// The manager's parent may have blocked signals, and may have left it a child that has exited.
#[test]
fn inherited_children_leave_no_zombie() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]);
    let script = setup.dir().join("start");
    let program = env!("CARGO_BIN_EXE_gm-native");
    let text =
        format!("#!/bin/sh\ntrue &\nsleep 0.1 &\nexec env --block-signal=CHLD --block-signal=TERM {program} \"$@\"\n");
    make_script(&script, &text);
    let mut manager = setup.program(script).start();
    wait_serving(&manager, "act");
    for _ in 0..3 {
        Job::act(&gearmand, "", "first /dev/null say x\nsay y").result();
    }
    wait_no_zombie(manager.pid());
    manager.mark();
    manager.signal(Signal::SIGTERM);
    manager.wait_event("draining", |_| true);
}

/// Its caller submits it again and again, and it kills whatever takes it.
#[test]
fn a_job_known_to_kill_the_old_version_does_not_stop_the_rollout() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).ini("on_crash = fail\ncanary_seconds = 1h\ncanary_jobs = 1000\n");
    let mut manager = setup.start();
    wait_serving(&manager, "act");
    assert!(Job::act(&gearmand, "poison", "abort").failure().contains("SIGABRT"));
    let new = manager.dir().join("new.so");
    let bytes = fs::read(library()).unwrap();
    fs::write(&new, [bytes.as_slice(), b"another version"].concat()).unwrap();
    manager.mark();
    manager.install("act", &new);
    manager.wait_event("rollout_started", |_| true);
    let killed = || manager.events().iter().any(|event| event["event"] == "canary_continued");
    wait_for("the job to reach the canary", DEADLINE, || {
        // One that is done in between, so that nobody has to wait.
        Job::act(&gearmand, "", "say alive").result();
        assert!(Job::act(&gearmand, "poison", "abort").failure().contains("SIGABRT"));
        killed().then_some(())
    });
    assert!(!manager.events().iter().any(|event| event["event"] == "rollout_stopped"));
    manager.wait_log("continues: job ");
    manager.wait_status("another canary", |status| {
        let note = crate::fixture::of(status, "functions", "name", "act")?["note"].as_str()?.to_owned();
        (note.contains("is being tried") && crate::fixture::serving(&manager).len() == 2).then_some(())
    });
}
