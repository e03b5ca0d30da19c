//! How long workers live, and how they end.

use std::fs;

use nix::sys::signal::Signal;

use crate::differences::on_purpose;
use crate::subject::{Fixture, ask, background, ours, wait_done, wait_shown};
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

/// The different processes that noted something.
fn processes(notes: &[String]) -> Vec<&str> {
    let mut pids: Vec<&str> = notes.iter().map(|line| line.split(' ').nth(1).unwrap()).collect();
    pids.dedup();
    pids
}

/// A worker is replaced after its lifetime, and no job is lost over it.
#[test]
fn a_lifetime() {
    lifetime("max_worker_lifetime = 1\nworker_restart_splay = 1\ndedicated_count = 1", &[]);
}

/// The same by `-x`, which beats the ini.
#[test]
fn a_lifetime_by_option() {
    lifetime("max_worker_lifetime = 9999\nworker_restart_splay = 1", &["-x", "1"]);
}

fn lifetime(ini: &str, args: &[&str]) {
    let gearmand = Gearmand::start();
    let subject = Fixture::new(&gearmand.server(), "one", ini).args(args).start();
    wait_shown(&gearmand, "1 one");
    let note = format!("note {}", subject.path("ran"));
    let mut count = 0;
    wait_for("a second worker to run a job", DEADLINE, || {
        ask(&gearmand, "one", &note);
        count += 1;
        (processes(&subject.notes("ran")).len() > 1).then_some(())
    });
    wait_done(&gearmand, "one");
    // The original kills at one and a half lifetimes whatever the worker does: a job may run twice there.
    let ran = subject.notes("ran").len();
    assert!(if ours() { ran == count } else { ran >= count }, "{count} jobs ran {ran} times");
}

/// lifetime-between-jobs.
#[test]
fn a_job_longer_than_the_lifetime() {
    on_purpose("lifetime-between-jobs");
    let gearmand = Gearmand::start();
    let ini = "max_worker_lifetime = 1\nworker_restart_splay = 1";
    let subject = Fixture::new(&gearmand.server(), "one", ini).start();
    wait_shown(&gearmand, "1 one");
    background(&gearmand, "one", &format!("note {}\ntake 3500\nnote {}", subject.path("began"), subject.path("ended")));
    if ours() {
        subject.wait_notes("ended", 1);
        wait_done(&gearmand, "one");
        assert_eq!((subject.notes("began").len(), subject.notes("ended").len()), (1, 1));
    } else {
        subject.wait_notes("began", 2);
        assert_eq!(subject.notes("ended").len(), 0);
    }
}

/// After so many jobs another process serves. One job after the other, so that a worker looks at its count between.
#[test]
fn max_runs() {
    runs("max_runs_per_worker = 3", &[]);
}

/// The same by `-r`.
#[test]
fn max_runs_by_option() {
    runs("max_runs_per_worker = 1000", &["-r", "3"]);
}

fn runs(ini: &str, args: &[&str]) {
    let gearmand = Gearmand::start();
    let subject = Fixture::new(&gearmand.server(), "one", ini).args(args).start();
    wait_shown(&gearmand, "1 one");
    let note = format!("note {}", subject.path("ran"));
    for _ in 0..7 {
        ask(&gearmand, "one", &note);
    }
    let notes = subject.notes("ran");
    assert_eq!(notes.len(), 7, "a job was lost or ran twice: {notes:?}");
    assert!(processes(&notes).len() >= 2, "{notes:?}");
    if ours() {
        assert_eq!(processes(&notes).len(), 3, "{notes:?}");
    }
}

/// max-runs-hard: with a hundred jobs queued, exactly ten workers run ten each here; there one may go on.
#[test]
fn max_runs_under_load() {
    on_purpose("max-runs-hard");
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one", "max_runs_per_worker = 10");
    let note = format!("note {}", fixture.path("ran"));
    for _ in 0..100 {
        background(&gearmand, "one", &note);
    }
    let subject = fixture.start();
    let notes = subject.wait_notes("ran", 100);
    wait_done(&gearmand, "one");
    let mut each = std::collections::BTreeMap::<&str, u32>::new();
    for line in &notes {
        *each.entry(line).or_default() += 1;
    }
    let exact = each.len() == 10 && each.values().all(|count| *count == 10);
    assert!(exact || !ours(), "{each:?}");
}

/// The job in hand is finished and answered, no other is begun, and the exit code is 0.
#[test]
fn a_stop_while_a_job_runs() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let gearmand = Gearmand::start();
        // Ours has an idle one too: both are told to stop at the same time. There it would stay and take the next job.
        let workers = if ours() { 2 } else { 1 };
        let ini = format!("count = {workers}\ngraceful_shutdown_wait_time = 30");
        let fixture = Fixture::new(&gearmand.server(), "one", &ini).args(&["-vv", "-l", "gm.log"]);
        let mut subject = fixture.start();
        wait_shown(&gearmand, &format!("{workers} one"));
        let (go, began, ended) = (subject.path("go"), subject.path("began"), subject.path("ended"));
        background(&gearmand, "one", &format!("note {began}\nwait {go}\nnote {ended}"));
        subject.wait_notes("began", 1);
        subject.signal(signal);
        if ours() {
            wait_shown(&gearmand, "1 one");
        } else {
            wait_for("the manager to know", DEADLINE, || subject.log().contains("Stopping child ").then_some(()));
        }
        background(&gearmand, "one", &format!("note {began}"));
        fs::write(&go, "").unwrap();
        assert_eq!(subject.wait_exit().code(), Some(0));
        assert_eq!((subject.notes("began").len(), subject.notes("ended").len()), (1, 1));
        let status = gearmand.status("one").unwrap();
        assert_eq!((status.total, status.running), (1, 0), "the job in hand was not answered, or the other was taken");
    }
}

/// A job that does not end in `graceful_shutdown_wait_time` is cut, and the job server has it again.
#[test]
fn a_stop_that_waits_only_so_long() {
    let gearmand = Gearmand::start();
    let mut subject = Fixture::new(&gearmand.server(), "one", "graceful_shutdown_wait_time = 1").start();
    wait_shown(&gearmand, "1 one");
    background(&gearmand, "one", &format!("note {}\ntake 600000", subject.path("began")));
    subject.wait_notes("began", 1);
    subject.signal(Signal::SIGTERM);
    assert_eq!(subject.wait_exit().code(), Some(0));
    wait_for("the job to be queued again", DEADLINE, || {
        gearmand.status("one").is_some_and(|status| (status.total, status.running) == (1, 0)).then_some(())
    });
    assert_eq!(subject.processes(), []);
}

/// idle-stop.
#[test]
fn a_stop_when_idle() {
    on_purpose("idle-stop");
    let gearmand = Gearmand::start();
    let wait = if ours() { 600 } else { 1 };
    let ini = format!("count = 3\ngraceful_shutdown_wait_time = {wait}");
    let mut subject = Fixture::new(&gearmand.server(), "one", &ini).start();
    wait_shown(&gearmand, "3 one");
    subject.signal(Signal::SIGTERM);
    assert_eq!(subject.wait_exit().code(), Some(0));
    assert_eq!(subject.processes(), []);
    wait_shown(&gearmand, "");
}

/// HUP: other workers, the same plan.
#[test]
fn a_hang_up_replaces_the_workers() {
    let gearmand = Gearmand::start();
    let subject = Fixture::new(&gearmand.server(), "one", "").start();
    wait_shown(&gearmand, "1 one");
    let note = format!("note {}", subject.path("ran"));
    ask(&gearmand, "one", &note);
    // The original's worker hears of a signal only when it logs something, such as a job.
    subject.signal(Signal::SIGHUP);
    wait_for("another worker to run a job", DEADLINE, || {
        ask(&gearmand, "one", &note);
        (processes(&subject.notes("ran")).len() > 1).then_some(())
    });
    wait_shown(&gearmand, "1 one");
}
