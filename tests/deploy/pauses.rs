//! `pause`, `resume`, `drain` and `scale`.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{
    Job, QUICK, ask, count_events, hash, of, put, rename_over, served, strict_gearmand, version, wait_all,
    wait_deployed,
};
use crate::load::{callers, settle};
use crate::steering::{done, not_done, pids};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};

/// A manager whose two workers serve `stamped` and `f00`.
fn shared() -> (Gearmand, Manager) {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 2");
    for function in ["stamped", "f00"] {
        std::fs::write(setup.dir().join(format!("workers/{function}.so")), version("v1")).unwrap();
    }
    let manager = setup.start();
    for function in ["stamped", "f00"] {
        wait_all(&manager, function, &version("v1"));
    }
    (gearmand, manager)
}

/// Waits until so many workers offer the function to the job server.
#[track_caller]
fn wait_offered(gearmand: &Gearmand, function: &str, workers: usize) {
    wait_for(&format!("{workers} workers to offer {function}"), DEADLINE, || {
        let offered = gearmand.status(function).map_or(0, |status| status.workers as usize);
        (offered == workers).then_some(())
    });
}

fn function(manager: &Manager, name: &str) -> Value {
    of(&manager.status(), "functions", "name", name).unwrap().clone()
}

#[test]
fn workers_of_several_functions_go_on_with_the_others() {
    let (gearmand, manager) = shared();
    let before = pids(&manager);
    let said = done(&manager, "pause", &["stamped"]);
    assert!(said.contains("no worker takes jobs of it"), "{said}");
    wait_offered(&gearmand, "stamped", 0);
    wait_offered(&gearmand, "f00", 2);
    assert_eq!(pids(&manager), before, "the same processes");
    assert_eq!(ask(&gearmand, "f00"), "v1");
    let waits = Job::start(&gearmand, "stamped", "", "");
    assert_eq!(ask(&gearmand, "f00"), "v1");
    assert_eq!(gearmand.status("stamped").unwrap().running, 0);

    let paused = function(&manager, "stamped");
    assert!(paused["workers_ready"] == 0 && paused["paused_by"].is_string(), "{paused}");
    assert!(paused["note"].as_str().unwrap().starts_with("paused by "), "{paused}");
    assert!(paused["state"]["kind"] == "paused" && paused["state"]["by"] == paused["paused_by"], "{paused}");
    let check = manager.command("status", &["--check"]);
    assert!(check.code() == Some(1) && check.out().contains("stamped: paused by"), "{check:?}");
    not_done(&manager, "rollback", &["stamped"], 4, "is paused by");
    not_done(&manager, "scale", &["stamped", "3"], 4, "is paused by");
    not_done(&manager, "resume", &["f00"], 4, "f00 is not paused");
    not_done(&manager, "pause", &["stampd"], 4, "nearest: stamped");
    assert!(done(&manager, "pause", &["stamped"]).contains("no worker takes jobs of it"), "again");
    assert_eq!(count_events(&manager, "function_paused", "stamped"), 1);

    let said = done(&manager, "resume", &["stamped"]);
    assert!(said.contains("2 workers serve it"), "{said}");
    assert_eq!(pids(&manager), before, "the same processes");
    assert_eq!(waits.result(), b"v1");
    assert!(function(&manager, "stamped")["paused_by"].is_null());
}

/// On a job server that counts one attempt: a job that was given back would fail.
#[test]
fn no_job_is_lost_by_pauses_under_load() {
    let (gearmand, manager) = shared();
    let (notes, over) = (manager.dir().join("notes"), AtomicBool::new(false));
    let accounts = std::thread::scope(|scope| {
        let callers = callers(scope, &gearmand, &notes, &over);
        let ran = |than: usize| {
            wait_for("jobs to run", DEADLINE, || {
                let lines =
                    std::fs::read_to_string(format!("{}-0", notes.display())).unwrap_or_default().lines().count();
                (lines > than).then_some(lines)
            })
        };
        let mut jobs = ran(0);
        for _ in 0..20 {
            // Two at the same time.
            std::thread::scope(|scope| {
                let two: Vec<_> = (0..2).map(|_| scope.spawn(|| done(&manager, "pause", &["stamped"]))).collect();
                two.into_iter().for_each(|one| drop(one.join().unwrap()));
            });
            done(&manager, "resume", &["stamped"]);
            jobs = ran(jobs);
        }
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });
    settle(accounts, &notes);
}

#[test]
fn a_drain_waits_until_nothing_of_it_runs() {
    let (gearmand, manager) = served("dedicated_count = 2");
    let gate = manager.dir().join("gate");
    let job = Job::start(&gearmand, "stamped", "", &format!("wait {}", gate.display()));
    manager.wait_status("a busy worker", |status| of(status, "workers", "state", "busy").map(|_| ()));
    assert!(done(&manager, "pause", &["stamped"]).contains("1 worker is not done yet"));
    not_done(&manager, "drain", &["stamped", "--timeout", "50ms"], 5, "the manager goes on with it");
    std::thread::scope(|scope| {
        let drain = scope.spawn(|| done(&manager, "drain", &["stamped"]));
        manager.wait_event("request_received", |event| event["command"] == "drain" && event["request"] == 3);
        assert!(!drain.is_finished());
        std::fs::write(&gate, "").unwrap();
        assert!(drain.join().unwrap().contains("none of its jobs runs"));
    });
    assert_eq!(job.result(), b"v1");
    assert_eq!(manager.status()["workers"], Value::Array(vec![]), "its workers are gone");
    done(&manager, "resume", &["stamped"]);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

/// It is stored, and tried at resume.
#[test]
fn a_new_version_of_a_paused_function_waits_for_its_canary() {
    let (gearmand, manager) = shared();
    done(&manager, "pause", &["stamped"]);
    rename_over(&manager, &version("v2"));
    manager.wait_event("function_found", |event| event["version"] == *hash(&version("v2")));
    // Others are deployed meanwhile.
    put(&manager, "f00", &version("v3"));
    wait_for("the other function's new version", DEADLINE, || (ask(&gearmand, "f00") == "v3").then_some(()));
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 0);
    done(&manager, "resume", &["stamped"]);
    manager.wait_event("rollout_started", |event| event["function"] == "stamped");
    wait_deployed(&gearmand, &manager, "v2");
}

#[test]
fn a_pause_survives_a_restart_of_the_manager() {
    let (gearmand, mut manager) = shared();
    done(&manager, "pause", &["stamped"]);
    let before = function(&manager, "stamped");
    for signal in [Signal::SIGTERM, Signal::SIGKILL] {
        manager.signal(signal);
        manager.wait_exit();
        manager.wait_gone();
        manager.start_again();
        wait_offered(&gearmand, "f00", 2);
        let after = function(&manager, "stamped");
        assert_eq!((&after["paused_by"], &after["paused_since"]), (&before["paused_by"], &before["paused_since"]));
        assert_eq!(gearmand.status("stamped").map_or(0, |status| status.workers), 0);
    }
    // No worker of this manager has it loaded.
    done(&manager, "resume", &["stamped"]);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    wait_offered(&gearmand, "stamped", 2);
    assert!(Path::new(&manager.dir().join("state/paused.json")).exists());
}

#[test]
fn a_function_is_scaled_until_the_next_reload() {
    let (gearmand, manager) = shared();
    let said = done(&manager, "scale", &["stamped", "4"]);
    assert!(said.contains("4 workers serve it"), "{said}");
    wait_offered(&gearmand, "stamped", 4);
    wait_offered(&gearmand, "f00", 2);
    let scaled = function(&manager, "stamped");
    assert!(scaled["scaled_to"] == 4 && scaled["note"].as_str().unwrap().contains("scaled to 4"), "{scaled}");
    not_done(&manager, "scale", &["stamped", "1"], 4, "2 workers serve all functions");
    not_done(&manager, "scale", &["nothing", "1"], 4, "there is no function nothing");
    done(&manager, "scale", &["stamped", "3"]);
    wait_offered(&gearmand, "stamped", 3);
    done(&manager, "reload", &[]);
    wait_offered(&gearmand, "stamped", 2);
    assert!(function(&manager, "stamped")["scaled_to"].is_null());
}
