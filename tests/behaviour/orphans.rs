//! P25: workers that hear nothing and never return, when their manager is killed. Nobody is left who knows of them but
//! the guardian.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deaths::forked;
use crate::fixture::{Job, acting, library, path, served, wait_busy, wait_serving};
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::runs;

/// A short grace.
const SHORT: &str = "graceful_shutdown_wait_time = 300ms";

/// A job that does these steps, hears nothing any more and does not return, the first time it is run; then it answers.
/// Returns when it has come so far.
#[track_caller]
fn hang(gearmand: &Gearmand, manager: &Manager, steps: &[&str]) -> (Job, Pid) {
    let mark = |number: usize| path(manager, &format!("mark{number}"));
    let all = steps.iter().chain(&["blockall", "wait /nowhere"]).enumerate();
    let steps: String = all.map(|(number, step)| format!("first {} {step}\n", mark(number))).collect();
    let last = mark(steps.lines().count() - 1);
    let job = Job::act(gearmand, "", &(steps + "say again"));
    let worker = wait_busy(manager, &job.handle);
    wait_for("the job to hang", DEADLINE, || fs::exists(&last).unwrap().then_some(()));
    (job, worker)
}

#[track_caller]
fn wait_guardian(manager: &Manager) -> Pid {
    wait_for("the guardian", DEADLINE, || manager.guardian())
}

/// Also where it has left its group, and with what it started in it; and whatever signal the guardian got.
#[test]
fn a_worker_that_ignores_signals_is_gone_within_the_grace_period() {
    for steps in [&[][..], &["secede"], &["child /nowhere"]] {
        let (gearmand, mut manager) = served(SHORT);
        let guardian = wait_guardian(&manager);
        for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGQUIT, Signal::SIGUSR1] {
            kill(guardian, signal).unwrap();
        }
        let (job, _) = hang(&gearmand, &manager, steps);
        manager.signal(Signal::SIGKILL);
        manager.wait_exit();
        manager.wait_gone();
        manager.start_again();
        assert_eq!(job.result(), b"again", "{steps:?}");
    }
}

#[test]
fn the_orphans_of_a_daemon_are_killed_too_and_its_guardian_holds_no_directory() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).ini(SHORT).daemonize();
    wait_serving(&manager, "act");
    let guardian = wait_guardian(&manager);
    let title = fs::read_to_string(format!("/proc/{guardian}/cmdline")).unwrap();
    assert_eq!(title.trim_end_matches('\0'), format!("gm-native: guardian of manager {}", manager.pid()));
    assert_eq!(fs::read_link(format!("/proc/{guardian}/cwd")).unwrap(), std::path::Path::new("/"));
    let (job, _) = hang(&gearmand, &manager, &[]);
    manager.signal(Signal::SIGKILL);
    manager.wait_gone();
    manager.start_again();
    assert_eq!(job.result(), b"again");
}

/// M2: who is stopped is not dead. A job of the other worker takes longer than the grace.
#[test]
fn while_the_manager_is_stopped_no_process_is_killed() {
    let (gearmand, manager) = served(&format!("{SHORT}\ncount = 2"));
    let (job, worker) = hang(&gearmand, &manager, &[]);
    manager.signal(Signal::SIGSTOP);
    assert_eq!(Job::act(&gearmand, "", "take 1000\nsay done").result(), b"done");
    manager.signal(Signal::SIGCONT);
    assert_eq!(wait_busy(&manager, &job.handle), worker);
    kill(worker, Signal::SIGKILL).unwrap();
    assert_eq!(job.result(), b"again");
}

/// The grace is the one of the last reload, for workers that were started before it, too.
#[test]
fn a_reload_changes_the_grace_of_those_that_are_there() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 1h");
    let (job, _) = hang(&gearmand, &manager, &[]);
    manager.configure(SHORT);
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    manager.wait_gone();
    manager.start_again();
    assert_eq!(job.result(), b"again");
}

/// One that is killed by mistake is replaced, and its successor knows whom to guard.
#[test]
fn a_guardian_that_is_killed_is_replaced() {
    let (gearmand, mut manager) = served(SHORT);
    let first = wait_guardian(&manager);
    kill(first, Signal::SIGKILL).unwrap();
    let line = manager.wait_log("the guardian (pid ");
    assert!(line.contains(&format!("{first}")) && line.contains("killed by SIGKILL; another is started"), "{line}");
    wait_for("another one", DEADLINE, || manager.guardian().filter(|guardian| *guardian != first));
    let (job, _) = hang(&gearmand, &manager, &[]);
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    manager.wait_gone();
    manager.start_again();
    assert_eq!(job.result(), b"again");
    // A stop leaves nobody behind, and needs nobody's help.
    assert!(manager.guardian().is_some());
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    assert_eq!(manager.processes(), []);
}

/// Nobody waits for the job of a `call` whose command is gone.
#[test]
fn the_process_of_a_call_goes_with_its_command() {
    let dir = tempfile::tempdir().unwrap();
    let mark = dir.path().join("mark");
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_gm-native"));
    command.arg("call").arg(library()).args(["--function", "act"]);
    command.arg(format!("blockall\nfirst {} wait /nowhere", mark.display())).current_dir(dir.path());
    let mut call = ChildGuard::start("gm-native call", &mut command);
    let child = wait_for("the child", DEADLINE, || forked(call.pid()));
    wait_for("the job", DEADLINE, || mark.exists().then_some(()));
    call.signal(Signal::SIGKILL);
    call.wait();
    wait_for("the child's end", DEADLINE, || (!runs(child)).then_some(()));
}
