//! The handle of a manager, tested with a stand-in: a shell script with the same commands.

use std::path::PathBuf;

use nix::sys::signal::Signal;
use serde_json::json;

use crate::support::manager::Setup;
use crate::support::program::write_program;
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::descendants;

/// Answers `status`; otherwise it acts as a manager with a worker, in the foreground or not. It has no events.
const STAND_IN: &str = r#"#!/bin/sh
case "$1" in
status)
    test -e state/ready || exit 3
    echo '{"v":1,"functions":["reverse_string"]}'
    exit ;;
esac
grep -q '^host = h:1,h:2$' gm.ini || { echo "gm.ini: no host"; exit 2; }
grep -q '^count = 2$' gm.ini || { echo "gm.ini: no count"; exit 2; }
manage() {
    setsid sleep 1000 &
    echo "worker $!" >> gm.log
    trap 'exit 0' TERM
    touch state/ready
    while :; do wait; done
}
for last; do :; done
if test "$last" = -d; then
    manage > /dev/null 2>&1 &
    echo $! > gm.pid
else
    echo $$ > gm.pid
    manage
fi
"#;

fn setup() -> Setup {
    let setup = Setup::new(&["h:1", "h:2"]);
    let script: PathBuf = setup.dir().join("stand-in");
    write_program(&script, STAND_IN.as_bytes());
    setup.program(script)
}

#[test]
fn in_the_foreground() {
    let mut manager = setup().ini("count = 2").start();
    assert_eq!(manager.status()["functions"], json!(["reverse_string"]));
    let line = manager.wait_log("worker");
    let worker = line.strip_prefix("worker ").unwrap().parse().unwrap();
    wait_for("the worker", DEADLINE, || manager.processes().iter().any(|pid| pid.as_raw() == worker).then_some(()));
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    let dir = manager.dir().to_owned();
    drop(manager);
    assert!(descendants(nix::unistd::Pid::from_raw(worker)).len() == 1, "a worker outlived its manager's handle");
    assert!(!dir.exists());
}

#[test]
fn as_a_daemon() {
    let mut manager = setup().ini("count = 2").daemonize();
    assert!(manager.processes().contains(&manager.pid()));
    let all = manager.processes();
    for pid in &all {
        let _ = nix::sys::signal::kill(*pid, Signal::SIGKILL);
    }
    manager.wait_gone();
}

#[test]
fn a_start_that_fails_is_reported() {
    let failed = setup().run_to_end();
    assert_eq!((failed.code(), failed.out().as_str()), (Some(2), "gm.ini: no count\n"));
}

#[test]
fn libraries_are_put_into_the_worker_directory() {
    let library = std::env::current_exe().unwrap();
    let manager = setup().ini("count = 2").plugin("one", &library).start();
    manager.install("two", &library);
    manager.remove("one");
    let names: Vec<_> =
        std::fs::read_dir(manager.worker_dir()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["two.so"]);
}
