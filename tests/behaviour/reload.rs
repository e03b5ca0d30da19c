//! SIGHUP: the configuration read again.

use std::fs;

use nix::sys::signal::Signal;

use crate::scene::{Job, of, path, served, wait_serving, workers};
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Puts another text into the ini, in place of one that is there.
#[track_caller]
fn edit(manager: &Manager, old: &str, new: &str) {
    let path = path(manager, "gm.ini");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(old), "{old:?} is not in\n{text}");
    fs::write(&path, text.replace(old, new)).unwrap();
}

/// Waits until `act` has so many workers, all of which serve.
#[track_caller]
fn wait_workers(manager: &Manager, count: u64) {
    manager.wait_status(&format!("{count} workers"), |status| {
        let act = of(status, "functions", "name", "act")?;
        (act["workers_planned"] == count && act["workers_ready"] == count).then_some(())
    });
}

/// What can change while it runs does, and options go on to beat the file.
#[test]
fn what_can_change_is_applied_and_every_worker_replaced() {
    let (gearmand, mut manager) = served("count = 1\nverbose = 5");
    let before = workers(&manager);
    let log = path(&manager, "other.log");
    edit(&manager, "count = 1", &format!("log_file = {log}\ncount = 3\ndedicated_count = 1"));
    manager.mark();
    manager.signal(Signal::SIGHUP);
    let told = manager.wait_event("reloaded", |_| true);
    assert!(told.to_string().contains("count"), "{told}");
    wait_workers(&manager, 4);
    wait_for("the old worker to be replaced", DEADLINE, || {
        (!workers(&manager).iter().any(|pid| before.contains(pid))).then_some(())
    });
    assert_eq!(Job::act(&gearmand, "", "say on").result(), b"on");
    // The option -l beats the file: the log stays where it was.
    assert!(!fs::exists(log).unwrap());
    edit(&manager, "count = 3\ndedicated_count = 1", "count = 1");
    manager.signal(Signal::SIGHUP);
    wait_workers(&manager, 1);
}

/// A wrong one is told, with its lines, and the old one holds; put right, it is taken.
#[test]
fn a_wrong_configuration_leaves_the_old_one() {
    let (gearmand, manager) = served("count = 1");
    let pid = || Job::act(&gearmand, "", "pid").result();
    let before = pid();
    edit(&manager, "count = 1", "count = many\ntimeout = soon");
    manager.signal(Signal::SIGHUP);
    let line = manager.wait_log("the configuration cannot be used, so the old one holds");
    assert!(line.contains("gm.ini:5: ") && line.contains("gm.ini:6: "), "{line}");
    assert_eq!(pid(), before, "the worker was replaced for nothing");
    fs::remove_file(path(&manager, "gm.ini")).unwrap();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reload_failed", |told| told.to_string().contains("No such file"));
    assert_eq!(pid(), before, "the worker was replaced for nothing");
}

/// What cannot change is named.
#[test]
fn what_needs_a_restart_is_said() {
    let (gearmand, manager) = served("count = 1");
    edit(&manager, "count = 1", "count = 1\nstate_dir = /nowhere/else");
    edit(&manager, &format!("state_dir = {}\n", path(&manager, "state")), "");
    manager.signal(Signal::SIGHUP);
    let line = manager.wait_log("the old value holds until the manager is stopped and started");
    assert!(line.contains("state_dir"), "{line}");
    assert_eq!(Job::act(&gearmand, "", "say on").result(), b"on");
}

/// Fifty at once are one reload or two, and jobs go on meanwhile.
#[test]
fn a_storm_is_one_or_two() {
    let (gearmand, mut manager) = served("count = 2");
    manager.mark();
    for _ in 0..50 {
        manager.signal(Signal::SIGHUP);
        assert_eq!(Job::act(&gearmand, "", "say on").result(), b"on");
    }
    manager.wait_event("reloaded", |_| true);
    wait_workers(&manager, 2);
    // A stop comes after what is still due, or ends it.
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    let reloads = manager.log().matches("the configuration read again").count();
    assert!((1..=4).contains(&reloads), "{reloads} reloads");
}

/// Descriptors, threads and memory are where they were after a thousand.
#[test]
fn a_thousand_leave_nothing_behind() {
    let (gearmand, manager) = served("count = 2");
    let of_manager = |file: &str| format!("/proc/{}/{file}", manager.pid());
    let counts = || {
        let count = |file: &str| fs::read_dir(of_manager(file)).unwrap().count();
        (count("fd"), count("task"))
    };
    let resident = || -> u64 {
        let text = fs::read_to_string(of_manager("statm")).unwrap();
        text.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
    };
    // The first reload may leave a thread that reads directories.
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    wait_serving(&manager, "act");
    let first = workers(&manager);
    wait_for("the first reload's end", DEADLINE, || (workers(&manager).len() == 2).then_some(()));
    let (descriptors, threads) = counts();
    let memory = resident();
    for _ in 0..1000 {
        manager.signal(Signal::SIGHUP);
        assert_eq!(Job::act(&gearmand, "", "say on").result(), b"on");
    }
    wait_for("the last reload's end", DEADLINE, || {
        let now = workers(&manager);
        let settled = now.len() == 2 && now != first && counts().0 <= descriptors;
        settled.then_some(())
    });
    assert!(counts().1 <= threads + 1, "{} threads, {threads} before", counts().1);
    assert!(resident() < memory + (16 << 20), "{} bytes, {memory} before", resident());
}
