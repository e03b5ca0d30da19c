//! Jobs that change the process they run in: nothing the manager does depends on what they left of it.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;

use crate::fixture::{Job, path, served, touch, wait_busy, wait_serving, workers};
use crate::support::manager::Manager;

/// What leaves the connections open.
const HARMLESS: [&str; 4] = ["deaf", "wander", "regroup", "become 65534"];
/// What closes them, and with `closefds` the channel to the manager too.
const CLOSING: [&str; 2] = ["closefds", "closesockets"];

/// The steps of a list that this user may take.
fn may(steps: &[&'static str]) -> Vec<&'static str> {
    steps.iter().filter(|step| geteuid().is_root() || !step.starts_with("become")).copied().collect()
}

/// Lets another user's process look for files in the manager's directory, and make some.
fn open_to_all(manager: &Manager) {
    fs::set_permissions(manager.dir(), fs::Permissions::from_mode(0o777)).unwrap();
}

/// P6: a timeout holds.
#[test]
fn a_timeout_ends_a_job_whatever_it_did_to_its_process() {
    let (gearmand, manager) = served("timeout = 300ms\ntimeout_grace = 200ms");
    open_to_all(&manager);
    let never = path(&manager, "never");
    for step in may(&[&HARMLESS[..], &CLOSING].concat()) {
        let job = Job::act(&gearmand, step, &format!("{step}\nwait {never}"));
        let message = job.failure();
        assert!(message.starts_with("timed out"), "{step}: {message}");
        let death = manager.wait_event("worker_died", |event| event["unique"] == step);
        assert_eq!(death["end"], "killed by SIGKILL", "{step}: {death}");
        wait_serving(&manager, "act");
    }
}

/// P6: a stop lets the job finish, and its result arrives.
#[test]
fn a_stop_waits_for_a_job_whatever_it_did_to_its_process() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 1h");
    open_to_all(&manager);
    for step in may(&HARMLESS) {
        let gate = path(&manager, &format!("gate {step}"));
        let job = Job::act(&gearmand, "", &format!("{step}\nwait {gate}\nsay done"));
        wait_busy(&manager, &job.handle);
        manager.signal(Signal::SIGTERM);
        manager.wait_event("draining", |_| true);
        touch(&gate);
        assert_eq!(job.result(), b"done", "{step}");
        assert_eq!(manager.wait_exit().code(), Some(0), "{step}");
        manager.wait_gone();
        manager.start_again();
        wait_serving(&manager, "act");
    }
}

/// P6: nor does a job that never ends hold up a stop for longer than it may.
#[test]
fn a_stop_cuts_a_job_whatever_it_did_to_its_process() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 300ms");
    open_to_all(&manager);
    for step in may(&[&HARMLESS[..], &CLOSING].concat()) {
        let mark = path(&manager, &step.replace(' ', "-"));
        let job = Job::act(&gearmand, "", &format!("first {mark} {step}\nfirst {mark}2 wait /nowhere\nsay again"));
        wait_busy(&manager, &job.handle);
        manager.signal(Signal::SIGTERM);
        assert_eq!(manager.wait_exit().code(), Some(0), "{step}");
        manager.wait_gone();
        manager.start_again();
        assert_eq!(job.result(), b"again", "{step}");
        wait_serving(&manager, "act");
    }
}

/// P6: the worker goes on with the next jobs, and leaves when it is asked to.
#[test]
fn a_worker_can_be_replaced_whatever_its_job_did_to_its_process() {
    let (gearmand, mut manager) = served("");
    open_to_all(&manager);
    for step in may(&HARMLESS) {
        let [before] = workers(&manager)[..] else { panic!("one worker was planned") };
        assert_eq!(Job::act(&gearmand, "", &format!("{step}\nsay done")).result(), b"done", "{step}");
        assert_eq!(Job::act(&gearmand, "", "pid").result(), before.to_string().into_bytes(), "{step}");
        manager.mark();
        manager.signal(Signal::SIGHUP);
        manager.wait_event("worker_exited", |event| event["pid"] == before.as_raw());
        wait_serving(&manager, "act");
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}

/// P6: who can no longer say what a job came to gives it back, and serves again or is replaced.
#[test]
fn a_job_that_closes_the_connections_is_done_again() {
    let (gearmand, manager) = served("");
    for step in CLOSING {
        let mark = path(&manager, step);
        assert_eq!(Job::act(&gearmand, "", &format!("first {mark} {step}\nsay done")).result(), b"done", "{step}");
        wait_serving(&manager, "act");
        assert_eq!(Job::act(&gearmand, "", "say next").result(), b"next", "{step}");
        gearmand.wait_workers("act", 1);
    }
}
