//! Jobs that run too long, and jobs that kill workers: how they end, and what their callers receive.

use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Request, Submission, answer};
use nix::sys::signal::Signal;

use crate::fixture::{Job, library, lines, path, served, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::ScriptedServer;
use crate::support::wait::DEADLINE;

fn count(manager: &Manager, event: &str) -> usize {
    manager.events().iter().filter(|e| e["event"] == event).count()
}

/// P5: a job that ends by itself neither at its timeout nor when it is asked to.
#[test]
fn a_job_past_its_timeout_is_killed_and_its_caller_answered() {
    let (gearmand, manager) = served("timeout = 300ms\ntimeout_grace = 200ms");
    let [before] = workers(&manager)[..] else { panic!("one worker was planned") };
    let (notes, never) = (path(&manager, "notes"), path(&manager, "never"));
    let job = Job::act(&gearmand, "u1", &format!("note {notes}\nwait {never}"));
    let handle = job.handle.clone();
    let message = job.failure();
    assert!(
        message.starts_with("timed out: it ran for 0.")
            && message.contains("; its timeout is 0.3 s, and timeout_grace "),
        "{message}"
    );
    let overdue = manager.wait_event("job_overdue", |event| event["handle"] == handle.as_str());
    assert_eq!([&overdue["unique"], &overdue["function"]], ["u1", "act"], "{overdue}");
    let death = manager.wait_event("worker_died", |event| event["pid"] == before.as_raw());
    assert_eq!([&death["end"], &death["disposition"]], ["killed by SIGKILL", "failed"], "{death}");
    assert!(death["seconds"].as_f64().unwrap() >= 0.5 && death["timed_out"] == true, "{death}");
    manager.wait_log(&format!("job {handle} (unique u1) has run for"));
    // It is not run by anybody else, and there is a worker again.
    assert_eq!(Job::act(&gearmand, "", "say next").result(), b"next");
    assert_eq!(lines(&notes), ["u1"]);
}

/// It notices in time, ends the job as it likes, and the worker exits without a report of a death.
#[test]
fn a_job_that_ends_when_asked_sends_its_own_answer() {
    let (gearmand, manager) = served("timeout = 200ms\ntimeout_grace = 1h");
    let [before] = workers(&manager)[..] else { panic!("one worker was planned") };
    assert_eq!(Job::act(&gearmand, "", "stopping\nsay enough").result(), b"enough");
    manager.wait_event("worker_exited", |event| event["pid"] == before.as_raw());
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say next").result(), b"next");
    assert_eq!((count(&manager, "job_overdue"), count(&manager, "worker_died")), (1, 0));
}

/// Jobs below it are left alone, however many of them there are; and a job's start is what counts, not the worker's.
#[test]
fn jobs_within_their_timeout_are_left_alone() {
    let (gearmand, manager) = served("timeout = 10\n[other]\ntimeout = 1ms");
    let before = workers(&manager);
    for _ in 0..20 {
        Job::act(&gearmand, "", "take 20").result();
    }
    assert_eq!(workers(&manager), before);
    assert_eq!(count(&manager, "job_overdue"), 0);
}

#[test]
fn with_on_timeout_retry_another_worker_has_a_try() {
    let (gearmand, manager) = served("timeout = 200ms\ntimeout_grace = 50ms\non_timeout = retry\nmax_attempts = 2");
    let (notes, never) = (path(&manager, "notes"), path(&manager, "never"));
    let mark = path(&manager, "mark");
    let second = Job::act(&gearmand, "second", &format!("note {notes}\nfirst {mark} wait {never}\nsay done"));
    assert_eq!(second.result(), b"done");
    let message = Job::act(&gearmand, "none", &format!("note {notes}\nwait {never}")).failure();
    assert!(message.starts_with("timed out") && message.ends_with("; 2 workers were lost in this job\n"), "{message}");
    assert_eq!(lines(&notes), ["second", "second", "none", "none"]);
    manager.wait_event("worker_died", |event| event["disposition"] == "failed");
    let dispositions: Vec<_> =
        manager.events().iter().filter_map(|event| Some(event.get("disposition")?.clone())).collect();
    assert_eq!(dispositions, ["requeued", "requeued", "failed"]);
}

/// P14, as far as its caller is concerned: three workers, the default, then a word; others are served all the time.
#[test]
fn a_job_that_kills_every_worker_fails() {
    let (gearmand, manager) = served("count = 2");
    let notes = path(&manager, "notes");
    let poison = Job::act(&gearmand, "poison", &format!("note {notes}\nsegv"));
    for _ in 0..50 {
        assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
    }
    let message = poison.failure();
    assert!(message.starts_with("worker killed by SIGSEGV in this job after"), "{message}");
    assert!(message.ends_with("; 3 workers were lost in this job\n"), "{message}");
    assert_eq!(lines(&notes), ["poison"; 3]);
    manager.wait_log("; failed (death 3 of 3)");
    assert_eq!(manager.log().matches("requeued (death ").count(), 2, "{}", manager.log());
    wait_serving(&manager, "act");
}

#[test]
fn with_on_crash_fail_the_job_fails_at_once() {
    let (gearmand, manager) = served("on_crash = fail");
    for (step, end) in [("segv", "killed by SIGSEGV"), ("exit 0", "exited with code 0 (the library called exit)")] {
        let notes = path(&manager, step);
        let message = Job::act(&gearmand, "u", &format!("note {notes}\n{step}")).failure();
        assert!(message.starts_with(&format!("worker {end} in this job after")), "{message}");
        assert_eq!(lines(&notes), ["u"]);
    }
    assert_eq!(Job::act(&gearmand, "", "say next").result(), b"next");
}

/// A stop does not wait longer for such a job than for its timeout.
#[test]
fn a_timeout_holds_during_a_drain() {
    let (gearmand, mut manager) = served("timeout = 300ms\ntimeout_grace = 100ms\ngraceful_shutdown_wait_time = 1h");
    let job = Job::act(&gearmand, "", &format!("wait {}", path(&manager, "never")));
    crate::fixture::wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGTERM);
    assert!(job.failure().starts_with("timed out"));
    assert!(manager.wait_exit().success());
}

/// S7: a job whose result the server takes slowly is not late.
#[test]
fn a_result_that_is_being_sent_is_waited_for() {
    const SIZE: usize = 20_000_000;
    let (slow, gearmand) = (ScriptedServer::listen(), Gearmand::start());
    let setup =
        Setup::new(&[&slow.server(), &gearmand.server()]).plugin("act", &library()).plugin("parting", &library());
    // The late jobs have a worker of their own: the one that sends would take its answer along when it is killed for one.
    let manager = setup
        .ini("count = 1\ntimeout = 200ms\ntimeout_grace = 50ms\n[parting]\ndedicated_count = 1\ndedicated_only = 1\nsetting.how = never")
        .start();
    let mut peers = [slow.accept(), slow.accept()];
    let offers_act = peers.each_mut().map(|peer| {
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        peer.send(&answer::NO_JOB);
        let mut is_act = false;
        peer.skip_to(|packet| {
            is_act |= packet == Request::CanDo { function: b"act" };
            matches!(packet, Request::CanDo { .. })
        });
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        is_act
    });
    assert!(offers_act[0] != offers_act[1], "{offers_act:?}");
    let [first, second] = &mut peers;
    let (first, second) = if offers_act[0] { (first, second) } else { (second, first) };
    second.send(&answer::NO_JOB);
    first.assign(b"H:slow:1", b"act", format!("size {SIZE}").as_bytes());
    // Time goes by: as long as three jobs take that are late.
    for _ in 0..3 {
        let mut client = gearmand.client();
        client.submit(Submission::Foreground(Priority::Normal), b"parting", b"", b"").unwrap();
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("the job to be late");
        assert!(matches!(&event.event, JobEvent::Warning(text) if text.starts_with(b"timed out")), "{:?}", event.event);
    }
    first.skip_to(|packet| matches!(packet, Request::WorkComplete { data, .. } if data.len() == SIZE));
    let late: Vec<_> = manager.events().into_iter().filter(|event| event["event"] == "job_overdue").collect();
    assert!(late.iter().all(|event| event["handle"] != "H:slow:1"), "{late:?}");
}
