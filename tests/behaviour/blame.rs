//! Who is to blame for the end of a worker, and who is not.

use nix::sys::signal::Signal;

use crate::scene::{Job, acting, lines, path, served, touch, wait_busy, wait_serving};
use crate::support::gearmand::Gearmand;

/// M21: whoever is told to leave while its job runs, and then crashes by itself, died in its job.
#[test]
fn a_job_that_crashes_a_worker_that_was_told_to_leave_is_judged_as_any_other() {
    let (gearmand, mut manager) = served("on_crash = fail");
    for (number, signal) in [Signal::SIGHUP, Signal::SIGTERM].into_iter().enumerate() {
        let [notes, gate] = ["notes", "gate"].map(|name| path(&manager, &format!("{name}{number}")));
        let job = Job::act(&gearmand, "u1", &format!("note {notes}\nwait {gate}\nsegv"));
        let worker = wait_busy(&manager, &job.handle);
        manager.mark();
        manager.signal(signal);
        manager.wait_event("worker_leaving", |event| event["pid"] == worker.as_raw());
        touch(&gate);
        let told = job.failure();
        assert!(told.starts_with("worker killed by SIGSEGV in this job after"), "{signal}: {told}");
        assert_eq!(lines(&notes), ["u1"], "{signal}: it ran once");
        if signal == Signal::SIGHUP {
            wait_serving(&manager, "act");
        }
    }
}

/// M21: every worker that takes it has been told to leave by the time it dies.
#[test]
fn a_poison_job_does_not_escape_counting_in_workers_that_leave() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).ini("max_attempts = 2").start();
    wait_serving(&manager, "act");
    let (notes, gate) = (path(&manager, "notes"), path(&manager, "gate"));
    let job = Job::act(&gearmand, "u1", &format!("note {notes}\nwait {gate}\nfirst {gate}2 exit 0\nabort"));
    let worker = wait_busy(&manager, &job.handle);
    manager.mark();
    manager.signal(Signal::SIGHUP);
    manager.wait_event("worker_leaving", |event| event["pid"] == worker.as_raw());
    touch(&gate);
    let told = job.failure();
    assert!(told.contains("worker killed by SIGABRT") && told.contains("2 workers were lost in this job"), "{told}");
    assert_eq!(lines(&notes), ["u1"; 2]);
}
