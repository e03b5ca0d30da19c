//! What happens to jobs when the manager is killed, stopped or started twice.

use std::fs;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{
    Job, acting, background, lines, path, served, touch, wait_busy, wait_done, wait_serving, workers,
};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::program::Finished;
use crate::support::wait::{DEADLINE, wait_for};

/// M1: orphans finish what they have and take nothing new; nothing that is left behind stops the next manager.
#[test]
fn when_it_is_killed_its_workers_finish_and_exit() {
    let (gearmand, mut manager) = served("count = 3");
    let (gate, notes) = (path(&manager, "gate"), path(&manager, "notes"));
    let job = Job::act(&gearmand, "", &format!("wait {gate}\nsize 5000000"));
    let busy = wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    // The idle ones are gone, the busy one is there for its job only.
    wait_for("the idle workers to go", DEADLINE, || {
        let guardian = manager.guardian();
        let others: Vec<Pid> = manager.processes().into_iter().filter(|pid| Some(*pid) != guardian).collect();
        (others == [busy]).then_some(())
    });
    background(&gearmand, "next", &format!("note {notes}"));
    touch(&gate);
    assert_eq!(job.result().len(), 5_000_000);
    manager.wait_gone();
    assert_eq!(lines(&notes), [""; 0], "an orphan took a job");
    assert_eq!(gearmand.status("act").map(|status| (status.total, status.workers)), Some((1, 0)));
    assert!(manager.dir().join("gm.pid").exists() && manager.dir().join("state/control.sock").exists());
    manager.start_again();
    wait_done(&gearmand);
    assert_eq!(lines(&notes), ["next"]);
}

/// M1: what it prints is nobody's, but it may print, and more than a pipe holds.
#[test]
fn when_it_is_killed_a_job_that_prints_is_done() {
    let (gearmand, mut manager) = served("");
    let gate = path(&manager, "gate");
    let lines = format!("print {}\n", "x".repeat(1000)).repeat(200);
    let job = Job::act(&gearmand, "", &format!("wait {gate}\n{lines}say printed"));
    wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    touch(&gate);
    assert_eq!(job.result(), b"printed");
    manager.wait_gone();
}

/// M1: the next manager does not wait for the orphans of the last one.
#[test]
fn when_it_is_killed_another_starts_beside_its_orphans() {
    let (gearmand, mut manager) = served("");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}\npid"));
    let orphan = wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    let killed = manager.pid();
    manager.mark();
    manager.start_again();
    // It says so, once.
    let event = manager.wait_event("earlier_manager_died", |_| true);
    assert_eq!(event["earlier_pid"], killed.as_raw());
    let next = Job::act(&gearmand, "", "pid").result();
    assert_ne!(next, orphan.to_string().into_bytes());
    touch(&gate);
    assert_eq!(job.result(), orphan.to_string().into_bytes());
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    manager.mark();
    manager.start_again();
    assert!(!manager.events().iter().any(|event| event["event"] == "earlier_manager_died"), "{}", manager.log());
}

/// M1: nobody is left who could kill an orphan that does not end, but the kernel.
#[test]
fn when_it_is_killed_its_workers_have_the_grace_period() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 300ms");
    let mark = path(&manager, "mark");
    let job = Job::act(&gearmand, "", &format!("first {mark} wait /nowhere\nsay again"));
    wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    manager.wait_gone();
    manager.start_again();
    assert_eq!(job.result(), b"again");
}

/// M1, at a moment when workers come and go: nothing stays behind.
#[test]
fn when_it_is_killed_while_it_starts_nothing_stays() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).ini("count = 8").start();
    for _ in 0..5 {
        manager.signal(Signal::SIGKILL);
        manager.wait_exit();
        manager.wait_gone();
        gearmand.wait_workers("act", 0);
        manager.start_again();
    }
    wait_serving(&manager, "act");
    gearmand.wait_workers("act", 8);
}

/// M2.
#[test]
fn while_it_is_stopped_jobs_run_and_afterwards_nothing_is_restarted() {
    let (gearmand, mut manager) = served("count = 2");
    let before = workers(&manager);
    manager.mark();
    manager.signal(Signal::SIGSTOP);
    for number in 0..100 {
        let number = number.to_string();
        assert_eq!(Job::act(&gearmand, "", &format!("say {number}")).result(), number.into_bytes());
    }
    assert_eq!(Job::act(&gearmand, "", "panic oh").news().len(), 2);
    let asked = manager.command("status", &[]);
    assert_eq!(asked.code(), Some(5), "{asked:?}");
    manager.signal(Signal::SIGCONT);
    assert_eq!(workers(&manager), before);
    let function = &manager.status()["functions"][0];
    assert!(function["jobs_completed"] == 100 && function["jobs_failed"] == 1, "{function}");
    assert_eq!(manager.events().iter().filter(|event| event["event"] == "worker_started").count(), 2);
}

/// M2: a worker that dies meanwhile is replaced afterwards, and its job requeued.
#[test]
fn what_happened_while_it_was_stopped_is_made_up_for() {
    let (gearmand, manager) = served("");
    let mark = path(&manager, "mark");
    let job = Job::act(&gearmand, "u1", &format!("first {mark} wait /nowhere\nsay again"));
    let worker = wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGSTOP);
    kill(worker, Signal::SIGKILL).unwrap();
    manager.signal(Signal::SIGCONT);
    assert_eq!(job.result(), b"again");
    manager.wait_event("worker_died", |event| event["unique"] == "u1");
}

/// Runs a second manager in the directory of a first one, which must not start.
#[track_caller]
fn second(manager: &Manager, ini: &str, pid_file: &str) -> Finished {
    let config = manager.dir().join("second.ini");
    fs::write(&config, format!("[GearmanManager]\nworker_dir = {}\n{ini}\n", manager.worker_dir().display())).unwrap();
    let args = ["-c", config.to_str().unwrap(), "-P", pid_file];
    let finished = crate::fixture::gm_native(manager.dir(), &args);
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    finished
}

/// M7.
#[test]
fn a_second_one_is_refused_and_names_the_first() {
    let (gearmand, manager) = served("");
    let (pid, state, own) = (manager.pid(), path(&manager, "state"), path(&manager, "own"));
    let (pid_file, other_pid_file) = (path(&manager, "gm.pid"), path(&manager, "other.pid"));
    let refused = second(&manager, &format!("state_dir = {own}"), &pid_file);
    let sentence = refused.err();
    assert!(sentence.contains(&pid_file) && sentence.contains(&format!("pid {pid}")), "{sentence}");
    assert_eq!(sentence.lines().count(), 1, "{sentence}");
    let refused = second(&manager, &format!("state_dir = {state}"), &other_pid_file);
    let sentence = refused.err();
    assert!(sentence.contains(&state) && sentence.contains(&format!("pid {pid}")), "{sentence}");
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), format!("{pid}\n"), "the first one's pid file was touched");
    assert!(!std::path::Path::new(&other_pid_file).exists(), "the second one left its pid file");
    assert_eq!(Job::act(&gearmand, "", "say still").result(), b"still");
    assert_eq!(manager.status()["pid"], pid.as_raw());
}

#[test]
fn a_stale_pid_file_is_taken_over() {
    let (gearmand, mut manager) = served("");
    manager.signal(Signal::SIGKILL);
    manager.wait_exit();
    manager.wait_gone();
    // The number belongs to somebody else by now.
    fs::write(manager.dir().join("gm.pid"), format!("{}\n", Pid::this())).unwrap();
    manager.start_again();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let text = fs::read_to_string(manager.dir().join("gm.pid")).unwrap();
    assert_eq!(text, format!("{}\n", manager.pid()));
}
