//! M17: what one function does wrong does not affect the others.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{Job, acting, library, of, path, touch, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;

/// The workers that were started with this function alone.
fn workers_for(manager: &Manager, function: &str) -> Vec<Pid> {
    let status = manager.status();
    let alone = |worker: &&Value| worker["functions"] == serde_json::json!([function]);
    status["workers"].as_array().unwrap().iter().filter(alone).map(crate::fixture::pid).collect()
}

/// Ends the only worker of `act`'s own, and waits until there is another.
#[track_caller]
fn replace_act(gearmand: &Gearmand, manager: &Manager) {
    let [before] = workers_for(manager, "act")[..] else { panic!("one worker was planned") };
    kill(before, Signal::SIGKILL).unwrap();
    manager.wait_event("worker_died", |event| event["pid"] == before.as_raw());
    assert_ne!(Job::act(gearmand, "", "pid").result(), before.to_string().into_bytes());
}

/// More of them than may connect at once, and for as long as they like.
#[test]
fn workers_in_a_slow_new_hold_up_no_start_of_another_function() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("starting", &library());
    let gate = setup.dir().join("gate").display().to_string();
    let ini = format!("start_timeout = 1h\n[starting]\ndedicated_count = 20\nsetting.how = until {gate}");
    let manager = setup.ini(&ini).start();
    wait_serving(&manager, "act");
    replace_act(&gearmand, &manager);
    manager.wait_status("many that start", |status| {
        let starting = |worker: &&Value| worker["state"] == "starting";
        (status["workers"].as_array()?.iter().filter(starting).count() == 16).then_some(())
    });
    touch(&gate);
    wait_serving(&manager, "starting");
}

/// In the same workers: the others are served without it, and it joins them when it has come.
#[test]
fn what_shares_its_workers_with_a_slow_new_is_served() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("starting", &library());
    let gate = setup.dir().join("gate").display().to_string();
    let ini = format!("start_timeout = 1h\ncount = 2\ndedicated_count = 0\n[starting]\nsetting.how = until {gate}");
    let manager = setup.ini(&ini).start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say alive").result(), b"alive");
    touch(&gate);
    wait_serving(&manager, "starting");
    wait_serving(&manager, "act");
    gearmand.wait_workers("act", 2);
}

/// The library in the store is gone: it is made again, and nobody else waits for that.
#[test]
fn a_missing_stored_library_delays_nobody_else() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("starting", &library()).ini("[starting]\nsetting.how = sleep 0");
    let mut manager = setup.start();
    wait_serving(&manager, "act");
    wait_serving(&manager, "starting");
    let version = of(&manager.status(), "functions", "name", "starting").unwrap()["version"].clone();
    fs::remove_file(path(&manager, &format!("state/store/{}/starting.so", version.as_str().unwrap()))).unwrap();
    manager.mark();
    let [starting] = workers_for(&manager, "starting")[..] else { panic!("one worker was planned") };
    kill(starting, Signal::SIGKILL).unwrap();
    let waits = manager.wait_event("backing_off", |_| true);
    assert_eq!(waits["function"], "starting", "{waits}");
    replace_act(&gearmand, &manager);
    wait_serving(&manager, "starting");
    assert!(!manager.events().iter().any(|event| event["event"] == "spawn_failed"));
}

/// A new version that hangs in its new() is tried beside another that is good, in the same workers.
#[test]
fn a_rollout_does_not_wait_for_a_version_that_hangs() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("starting", &library());
    let gate = setup.dir().join("gate").display().to_string();
    touch(&gate);
    let ini = format!(
        "start_timeout = 1h\ncount = 1\ndedicated_count = 0\ncanary_seconds = 100ms\n[starting]\nsetting.how = until {gate}"
    );
    let mut manager = setup.ini(&ini).start();
    wait_serving(&manager, "starting");
    fs::remove_file(&gate).unwrap();
    let new = manager.dir().join("new.so");
    fs::write(&new, [fs::read(library()).unwrap().as_slice(), b"another version"].concat()).unwrap();
    manager.mark();
    manager.install("starting", &new);
    manager.install("act", &new);
    let promoted = manager.wait_event("rollout_promoted", |_| true);
    assert_eq!(promoted["function"], "act", "{promoted}");
    touch(&gate);
    manager.wait_event("rollout_promoted", |event| event["function"] == "starting");
}
