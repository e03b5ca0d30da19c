//! Limits of the system: descriptors, processes, and many workers.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User, chown, geteuid};

use crate::fixture::{Job, acting, library, make_script, served, serving, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::program::run;
use crate::support::wait::DEADLINE;

/// Sets a soft limit of a running process by what `prlimit(1)` calls it, as the user it belongs to: others may not.
#[track_caller]
fn limit(process: Pid, what: &str, to: &str) {
    let owner = fs::metadata(format!("/proc/{process}")).unwrap();
    let (pid, limit) = (process.to_string(), format!("--{what}={to}:"));
    let mut command = if owner.uid() == geteuid().as_raw() {
        Command::new("prlimit")
    } else {
        let mut command = Command::new("setpriv");
        let (user, group) = (format!("--reuid={}", owner.uid()), format!("--regid={}", owner.gid()));
        command.args([&user, &group, "--clear-groups", "prlimit"]);
        command
    };
    run(command.args(["--pid", &pid, &limit]), b"", DEADLINE).unwrap().success();
}

fn refused(manager: &Manager) -> usize {
    manager.events().iter().filter(|event| event["event"] == "spawn_failed").count()
}

/// Has a manager of two workers lose one while no other can be started, which it says in these words; what runs goes
/// on, and with the limit lifted there are two again. How it backs off is a story of the core's.
#[track_caller]
fn short_of(gearmand: &Gearmand, manager: &Manager, what: &str, words: &[&str]) {
    let lifted = if what == "fsize" { "unlimited" } else { "1000" };
    let [first, second] = workers(manager)[..] else { panic!("two workers were planned") };
    limit(manager.pid(), what, "1");
    kill(first, Signal::SIGKILL).unwrap();
    let event = manager.wait_event("spawn_failed", |_| true);
    for word in words {
        assert!(event["reason"].as_str().unwrap().contains(word), "no {word:?} in {event}");
    }
    for _ in 0..20 {
        assert_eq!(Job::act(gearmand, "", "pid").result(), second.to_string().into_bytes());
    }
    crate::support::wait::wait_for("another try", DEADLINE, || (refused(manager) > 1).then_some(()));
    limit(manager.pid(), what, lifted);
    wait_serving(manager, "act");
    assert_eq!(serving(manager).len(), 2);
    gearmand.wait_workers("act", 2);
}

/// M3.
#[test]
fn out_of_descriptors_it_keeps_what_runs() {
    let (gearmand, manager) = served("count = 2\nbackoff_max = 10ms");
    short_of(&gearmand, &manager, "nofile", &["Too many open files", "(now 1)", "LimitNOFILE"]);
}

/// M27: by default the system ends a process that writes beyond it, without a word.
#[test]
fn at_the_limit_of_the_size_of_files_it_keeps_what_runs() {
    let (gearmand, manager) = served("count = 2\nbackoff_max = 10ms\non_crash = fail");
    limit(manager.pid(), "fsize", "1");
    Job::act(&gearmand, "u", "crash null").failure();
    let examined = manager.wait_event("worker_examined", |_| true);
    assert!(examined["unwritten"].as_str().unwrap_or_default().ends_with("File too large"), "{examined}");
    // More than what the manager gives to its children, and less than the library.
    limit(manager.pid(), "fsize", "100000");
    manager.install("other", &library());
    let refused = manager.wait_event("library_refused", |event| event["function"] == "other");
    assert!(refused["reason"].as_str().unwrap().contains("File too large"), "{refused}");
    limit(manager.pid(), "fsize", "unlimited");
    wait_serving(&manager, "act");
    short_of(&gearmand, &manager, "fsize", &["File too large", "(now 1)", "LimitFSIZE"]);
}

/// M3: root is under no such limit, so the manager is somebody who has no other process.
#[test]
fn out_of_processes_it_keeps_what_runs() {
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can be somebody else");
    }
    let Ok(Some(games)) = User::from_name("games") else { return eprintln!("skipped: no user games") };
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).ini("count = 2\nbackoff_max = 10ms\nuser = games");
    give(setup.dir(), games.uid);
    let manager = setup.start();
    wait_serving(&manager, "act");
    short_of(&gearmand, &manager, "nproc", &["Resource temporarily unavailable", "LimitNPROC"]);
}

/// Everything below a directory is that user's.
fn give(path: &std::path::Path, user: Uid) {
    chown(path, Some(user), None).unwrap();
    if path.is_dir() {
        std::fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path(), user));
    }
}

/// M13, in a size that every machine bears.
#[test]
fn hundreds_of_workers_start_serve_and_drain() {
    const WORKERS: usize = 200;
    let gearmand = Gearmand::with_args(&["-w", "4"]);
    let mut manager = acting(&[&gearmand]).ini(&format!("count = {WORKERS}")).verbosity("-vv").start();
    wait_serving(&manager, "act");
    gearmand.wait_workers("act", WORKERS as u64);
    assert_eq!(serving(&manager).len(), WORKERS);
    for _ in 0..WORKERS {
        assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
    }
    let events = manager.events();
    let wrong = ["spawn_failed", "worker_died", "manager_error", "backing_off", "cannot_serve"];
    let wrong: Vec<_> = events.iter().filter(|event| wrong.contains(&event["event"].as_str().unwrap())).collect();
    assert!(wrong.is_empty(), "{wrong:?}");
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    manager.wait_gone();
    gearmand.wait_workers("act", 0);
    assert_eq!(manager.log().matches(" exited after ").count(), WORKERS);
}

/// M13: with more workers than there are descriptors for, it says which limit that is and where it is set, the workers
/// there are serve, and there is room left for its commands.
#[test]
fn a_limit_that_is_too_low_for_all_is_named() {
    const LIMIT: usize = 120;
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).ini("count = 60");
    let script = setup.dir().join("limited");
    let text = format!("#!/bin/sh\nulimit -n {LIMIT}\nexec {} \"$@\"\n", env!("CARGO_BIN_EXE_gm-native"));
    make_script(&script, &text);
    let manager = setup.program(script).start();
    let event = manager.wait_event("spawn_failed", |_| true);
    for word in ["Too many open files", &format!("(now {LIMIT})"), "LimitNOFILE"] {
        assert!(event["reason"].as_str().unwrap().contains(word), "no {word:?} in {event}");
    }
    let up = manager.wait_status("those there is room for", |_| Some(serving(&manager).len()).filter(|up| *up > 5));
    assert!(up < 60, "{up}");
    assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
}
