//! Many signals, and reloads under load: no job is lost, nothing is left behind (M6).

use std::collections::BTreeSet;
use std::fs;
use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{hang_up, is_reload, text};
use crate::fixture::{acting, lines, path, served, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// S11 for reloads: under `-j 1` a job that is given back fails.
#[test]
fn reloads_under_load_cost_no_job_and_no_attempt() {
    const RELOADS: usize = 3;
    let gearmand = Gearmand::with_args(&["-j", "1"]);
    let manager = acting(&[&gearmand]).ini("count = 4").start();
    wait_serving(&manager, "act");
    let before = workers(&manager);
    let notes = path(&manager, "notes");
    let mut client = gearmand.client();
    let mut open = BTreeSet::new();
    let (mut submitted, mut enough) = (0, false);
    while !enough || !open.is_empty() {
        while !enough && open.len() < 12 {
            let (unique, workload) = (submitted.to_string(), format!("take 2\nnote {notes}\nsay {submitted}"));
            let submit = Submission::Foreground(Priority::Normal);
            let handle = client.submit(submit, b"act", unique.as_bytes(), workload.as_bytes()).unwrap();
            open.insert((handle, unique.into_bytes()));
            submitted += 1;
        }
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("all jobs to be done");
        let JobEvent::Complete(result) = event.event else { panic!("{:?}", event.event) };
        assert!(open.remove(&(event.handle, result)), "the result of another job");
        if submitted % 50 == 0 {
            manager.signal(Signal::SIGHUP);
        }
        enough = enough || made(&manager) >= RELOADS;
    }
    let ran = lines(&notes);
    assert_eq!((ran.len(), ran.iter().collect::<BTreeSet<_>>().len()), (submitted, submitted));
    let events = manager.events();
    assert!(!events.iter().any(|event| event["event"] == "worker_died"));
    wait_for("the old workers to leave", DEADLINE, || {
        workers(&manager).iter().all(|worker| !before.contains(worker)).then_some(())
    });
}

/// How often the configuration was read again.
fn made(manager: &Manager) -> usize {
    manager.events().iter().filter(|event| is_reload(event)).count()
}

/// Each is heard before the next is sent; without that the kernel makes one of many.
#[test]
fn fifty_hups_in_a_second_make_one_or_two_reloads() {
    let (gearmand, mut manager) = served("");
    let begin = Instant::now();
    let log = path(&manager, "gm.log");
    for _ in 0..50 {
        // It is reopened at each.
        fs::remove_file(&log).unwrap();
        manager.signal(Signal::SIGHUP);
        wait_for("the log to be reopened", DEADLINE, || fs::exists(&log).unwrap().then_some(()));
    }
    // One each second that this took on a slow machine, one at its end, and the one that shows that all are over.
    let most = usize::try_from(begin.elapsed().as_secs()).unwrap() + 3;
    manager.configure("count = 2");
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |event| text(event).contains("count in [GearmanManager]"));
    gearmand.wait_workers("act", 2);
    let made = made(&manager);
    assert!((2..=most).contains(&made), "{made} reloads, not {most} at most");
}

#[test]
fn hundreds_of_hups_leave_nothing_behind() {
    let (_gearmand, mut manager) = served("count = 3");
    // The first reload is the measure: what is made once is there by then.
    hang_up(&mut manager);
    let settled = |manager: &Manager| {
        wait_serving(manager, "act");
        wait_for("no more than the planned workers", DEADLINE, || (workers(manager).len() == 3).then_some(()));
    };
    settled(&manager);
    let before = left(manager.pid());
    let log = path(&manager, "gm.log");
    for _ in 0..300 {
        fs::remove_file(&log).unwrap();
        manager.signal(Signal::SIGHUP);
        wait_for("the log to be reopened", DEADLINE, || fs::exists(&log).unwrap().then_some(()));
    }
    manager.configure("count = 3\nconnect_timeout = 6");
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |event| text(event).contains("connect_timeout"));
    settled(&manager);
    wait_for(&format!("no more than {before:?} descriptors and threads"), DEADLINE, || {
        let now = left(manager.pid());
        (now.0 <= before.0 && now.1 <= before.1).then_some(())
    });
}

/// How many descriptors and threads a process has.
fn left(pid: Pid) -> (usize, usize) {
    let count = |what: &str| fs::read_dir(format!("/proc/{pid}/{what}")).unwrap().count();
    (count("fd"), count("task"))
}

/// M6.
#[test]
fn a_storm_of_signals_leaves_no_zombie_and_ends_cleanly() {
    let (gearmand, mut manager) = served("count = 6");
    storm(&manager);
    wait_serving(&manager, "act");
    wait_for("the planned workers and no zombie", DEADLINE, || {
        let children = children(manager.pid());
        (children.len() == 6 && children.iter().all(|(_, state)| state != "Z")).then_some(())
    });
    gearmand.wait_workers("act", 6);
    storm(&manager);
    manager.signal(Signal::SIGTERM);
    storm(&manager);
    assert_eq!(manager.wait_exit().code(), Some(0));
    manager.wait_gone();
    assert!(!fs::exists(path(&manager, "gm.pid")).unwrap(), "the pid file was left behind");
    gearmand.wait_workers("act", 0);
}

/// HUP, USR1 and CHLD, with deaths of workers between them. The manager may be gone at any time.
fn storm(manager: &Manager) {
    let pid = manager.pid();
    for round in 0..50 {
        for signal in [Signal::SIGHUP, Signal::SIGUSR1, Signal::SIGCHLD] {
            let _ = kill(pid, signal);
        }
        if round % 25 == 0 {
            // Two at a time, for one SIGCHLD.
            for (worker, _) in children(pid).into_iter().take(2) {
                let _ = kill(worker, Signal::SIGKILL);
            }
        }
    }
}

/// The children of a process and their states.
fn children(pid: Pid) -> Vec<(Pid, String)> {
    let text = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    let all = text.split_whitespace().filter_map(|child| {
        let stat = fs::read_to_string(format!("/proc/{child}/stat")).ok()?;
        let state = stat.rsplit_once(')')?.1.split_whitespace().next()?.to_owned();
        Some((Pid::from_raw(child.parse().ok()?), state))
    });
    all.collect()
}
