//! Stops: running jobs finish, their results arrive, no job starts, and no process is left.

use std::collections::BTreeSet;
use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::{Signal, kill};

use crate::fixture::{
    Job, acting, background, gm_native, lines, path, served, serving, touch, wait_busy, wait_done, wait_serving,
    workers,
};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

#[test]
fn a_stop_lets_the_running_job_finish_and_begins_no_other() {
    for (signal, size) in [(Signal::SIGTERM, 5), (Signal::SIGQUIT, 5), (Signal::SIGINT, 5_000_000)] {
        let (gearmand, mut manager) = served("count = 2");
        let (gate, notes) = (path(&manager, "gate"), path(&manager, "notes"));
        let workload = format!("wait {gate}\nsize {size}");
        let caller = || gearman(&gearmand, &["-f", "act", "-u", "running"], workload.as_bytes());
        std::thread::scope(|scope| {
            let running = scope.spawn(caller);
            wait_for("the job to run", DEADLINE, || (gearmand.status("act")?.running == 1).then_some(()));
            manager.signal(signal);
            let event = manager.wait_event("draining", |_| true);
            assert_eq!(event["by"], signal.as_str());
            // The idle worker goes at once; the busy one stays, is seen to, and takes nothing more.
            manager.wait_event("worker_exited", |event| event["jobs"] == 0);
            background(&gearmand, "next", &format!("note {notes}"));
            assert_eq!(manager.status()["state"], "draining");
            assert_eq!(manager.command("status", &["--check"]).code(), Some(1));
            touch(&gate);
            let running = running.join().unwrap();
            assert_eq!((running.code(), running.stdout.len()), (Some(0), size), "{signal}: {}", running.err());
        });
        assert_eq!(manager.wait_exit().code(), Some(0), "{signal}");
        manager.wait_gone();
        assert_eq!(lines(&notes), [""; 0], "a job was begun after the stop");
        assert_eq!(gearmand.status("act").map(|status| (status.total, status.workers)), Some((1, 0)));
        assert!(!manager.dir().join("gm.pid").exists() && !manager.dir().join("state/control.sock").exists());
        // It waits for the next manager.
        manager.start_again();
        wait_done(&gearmand);
        assert_eq!(lines(&notes), ["next"]);
    }
}

/// A start meanwhile says what it has to wait for, whether the pid file or the state directory is in its way.
#[test]
fn a_start_during_a_stop_says_that_the_other_one_is_stopping() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 40");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}"));
    wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGTERM);
    manager.wait_event("draining", |_| true);
    for args in [&["-c", "gm.ini", "-P", "gm.pid"][..], &["-c", "gm.ini"]] {
        let refused = gm_native(manager.dir(), args);
        let expected =
            format!("gm-native: another gm-native (pid {}) is stopping: 1 job is still running", manager.pid());
        assert!(refused.code() == Some(1) && refused.err().starts_with(&expected), "{refused:?}");
        assert!(refused.err().contains("has up to 40 s in all") && refused.err().contains(" stop`"), "{refused:?}");
    }
    touch(&gate);
    job.result();
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// A job that asks whether its worker drains gets the right answer.
#[test]
fn a_long_job_can_end_early() {
    let (gearmand, mut manager) = served("");
    let job = Job::act(&gearmand, "", "stopping\nsay early");
    wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGTERM);
    assert_eq!(job.result(), b"early");
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// The job is requeued, and the log names the job that was cut.
#[test]
fn a_job_that_does_not_end_in_time_is_cut() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 300ms");
    let mark = path(&manager, "mark");
    let job = Job::act(&gearmand, "u1", &format!("first {mark} wait /nowhere\nsay again"));
    let worker = wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    let log = manager.log();
    let cut = format!("act: worker {worker} killed by SIGKILL in job {} (unique u1)", job.handle);
    assert!(log.contains(&cut), "no line with {cut:?}");
    manager.start_again();
    assert_eq!(job.result(), b"again");
}

#[test]
fn the_fifth_signal_kills_at_once() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 1h");
    let job = Job::act(&gearmand, "", "wait /nowhere");
    wait_busy(&manager, &job.handle);
    // Two signals at a time can be one: each waits until the one before was heard.
    manager.signal(Signal::SIGTERM);
    manager.wait_event("draining", |_| true);
    for _ in 2..5 {
        manager.mark();
        manager.signal(Signal::SIGINT);
        manager.wait_event("already_draining", |_| true);
    }
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    manager.wait_gone();
}

/// S11, S12: under `-j 1` a job that is given back fails. Workers leave again and again in the middle of a load of
/// results from nothing to 5 MB, and no job fails or is run twice.
#[test]
fn draining_under_load_costs_no_job_and_no_attempt() {
    const JOBS: usize = 200;
    const LEAVINGS: usize = JOBS / 3;
    const SIZES: [usize; 8] = [0, 100_000, 1, 1_000_000, 1_000, 100_000, 10_000, 5_000_000];
    let gearmand = Gearmand::with_args(&["-j", "1"]);
    let manager = acting(&[&gearmand]).ini("count = 4").start();
    wait_serving(&manager, "act");
    let notes = path(&manager, "notes");
    let mut client = gearmand.client();
    let mut open = BTreeSet::new();
    let mut submitted = 0;
    let mut drained = BTreeSet::new();
    while submitted < JOBS || drained.len() < LEAVINGS || !open.is_empty() {
        // A few at a time: gearmand would hold all of the results at once.
        while (submitted < JOBS || drained.len() < LEAVINGS) && open.len() < 12 {
            let size = SIZES[submitted % SIZES.len()];
            let (unique, workload) = (submitted.to_string(), format!("take 1\nnote {notes}\nsize {size}"));
            let submit = Submission::Foreground(Priority::Normal);
            let handle = client.submit(submit, b"act", unique.as_bytes(), workload.as_bytes()).unwrap();
            open.insert((handle, size));
            submitted += 1;
        }
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("all jobs to be done");
        let JobEvent::Complete(result) = event.event else { panic!("{:?}", event.event) };
        assert!(open.remove(&(event.handle, result.len())), "a job has {} bytes too many or too few", result.len());
        let all = serving(&manager);
        if let Some(worker) = all.get(submitted % all.len().max(1)) {
            // It may be on its way already, or gone.
            if kill(*worker, Signal::SIGTERM).is_ok() {
                drained.insert(*worker);
            }
        }
    }
    let ran = lines(&notes);
    assert_eq!((ran.len(), ran.iter().collect::<BTreeSet<_>>().len()), (submitted, submitted));
    wait_for("all that had to drain to exit", DEADLINE, || {
        let left = manager.events().iter().filter(|event| event["event"] == "worker_exited").count();
        (left >= drained.len()).then_some(())
    });
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}

/// A server that wakes one sleeper for each job may wake the one that is just leaving, which has to ask once more.
/// Nothing else would heal it here: the other never asks by itself, and a manager that is stopped sends no successor.
#[test]
fn a_sleeping_worker_that_drains_does_not_swallow_a_wake_up() {
    let gearmand = Gearmand::with_args(&["-w", "1"]);
    let quiet = "echo_interval = 0";
    let both = [0, 1].map(|_| acting(&[&gearmand]).ini(quiet).start());
    let mut client = gearmand.client();
    for round in 0..50 {
        // The one that has been there for longer leaves: it is the one that is woken.
        let leaves = &both[round % 2];
        both.iter().for_each(|manager| wait_serving(manager, "act"));
        wait_asleep(&gearmand, 2);
        let [worker] = workers(leaves)[..] else { panic!("one worker was planned") };
        leaves.signal(Signal::SIGSTOP);
        let workload = format!("say {round}");
        kill(worker, Signal::SIGTERM).unwrap();
        client.submit(Submission::Foreground(Priority::Normal), b"act", b"", workload.as_bytes()).unwrap();
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("the job to be done");
        assert_eq!(event.event, JobEvent::Complete(round.to_string().into_bytes()));
        leaves.signal(Signal::SIGCONT);
        leaves.wait_event("worker_exited", |event| event["pid"] == worker.as_raw());
    }
}

/// Waits until so many workers have registered, and sleep: a server answers what came before an ECHO first.
#[track_caller]
fn wait_asleep(gearmand: &Gearmand, count: u64) {
    gearmand.wait_workers("act", count);
    gearmand.client().echo(b"?").unwrap();
}
