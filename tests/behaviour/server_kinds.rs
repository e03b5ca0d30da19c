//! S21: the same day of work on each kind of job server: gearmand with other options, and servers that others wrote.
//!
//! What differs is what becomes of a job whose worker dies, and which priorities a server knows.

use std::fs;
use std::process::Command;
use std::time::Instant;

use gm_native::gearman::ServerError;
use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::Signal;

use crate::fixture::{library, path, pattern, touch, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::other_servers::OtherServer;
use crate::support::wait::{DEADLINE, wait_for};

/// What a server does with a job whose worker is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum LostJob {
    /// The next worker gets it.
    Again,
    /// The server tells the caller that it failed.
    Fails,
    /// The same, in a packet that says it is a request, which our client does not believe.
    FailsInARequest,
}

#[test]
fn gearmand_with_one_thread_or_four() {
    for threads in ["1", "4"] {
        on_gearmand(&["-t", threads], LostJob::Again);
    }
}

#[test]
fn gearmand_with_a_limit_of_attempts() {
    on_gearmand(&["-j", "1"], LostJob::Fails);
}

#[test]
fn gearmand_that_wakes_one_worker_for_a_job() {
    on_gearmand(&["-w", "1"], LostJob::Again);
}

#[test]
fn gearmand_that_serves_functions_in_turn() {
    on_gearmand(&["-R"], LostJob::Again);
}

#[test]
fn gearmand_with_a_queue_on_disk() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("queue.db");
    let help = Command::new("sh").args(["-c", "PATH=$PATH:/usr/sbin gearmand --help"]).output().unwrap();
    if !String::from_utf8_lossy(&help.stdout).contains("--libsqlite3-db") {
        eprintln!("skipped: this gearmand has no libsqlite3");
        return;
    }
    on_gearmand(&["-q", "libsqlite3", "--libsqlite3-db", database.to_str().unwrap()], LostJob::Again);
}

#[test]
fn gearman_server_of_perl() {
    if let Some(server) = OtherServer::Perl.start() {
        work(&server.server(), LostJob::Fails);
    }
}

#[test]
fn geard() {
    if let Some(server) = OtherServer::Geard.start() {
        work(&server.server(), LostJob::FailsInARequest);
    }
}

#[track_caller]
fn on_gearmand(args: &[&str], lost: LostJob) {
    let gearmand = Gearmand::with_args(args);
    work(&gearmand.server(), lost);
}

/// Serves, crashes, deploys, takes what is large, keeps to priorities, and drains.
#[track_caller]
fn work(server: &str, lost: LostJob) {
    let mut manager = Setup::new(&[server]).plugin("act", &library()).ini("settle_time = 10ms").start();
    wait_serving(&manager, "act");
    assert_eq!(done(server, "say hello"), b"hello");
    crash(server, &manager, lost);
    let large = format!("say {}", "x".repeat(5_000_000));
    assert!(done(server, &large).len() == 5_000_000);
    assert!(done(server, "size 5000000") == pattern(5_000_000));
    priorities(server, &manager);
    deploy(server, &mut manager);
    drain(server, &mut manager);
}

#[track_caller]
fn crash(server: &str, manager: &Manager, lost: LostJob) {
    let (mark, job) = (path(manager, "mark"), "abort\nsay again");
    let news = try_news(submit(server, Priority::Normal, &format!("first {mark} {job}")));
    match (lost, news.as_deref()) {
        (LostJob::Again, Ok([JobEvent::Complete(result)])) => assert_eq!(result, b"again"),
        (LostJob::Fails, Ok([.., JobEvent::Fail])) => {}
        (LostJob::FailsInARequest, Err(ServerError::Unreadable { .. })) => {}
        (_, other) => panic!("{lost:?}: {other:?}"),
    }
    // Either way the manager reports what happened to it, and there is a worker again.
    manager.wait_event("worker_died", |event| event["end"] == "killed by SIGABRT" && event["at"] == "job");
    assert_eq!(done(server, "say on"), b"on");
}

/// One worker is busy; what was submitted last is done first.
#[track_caller]
fn priorities(server: &str, manager: &Manager) {
    let open = path(manager, "open");
    let busy = submit(server, Priority::Normal, &format!("wait {open}"));
    manager.wait_status("a busy worker", |status| (status["workers"][0]["state"] == "busy").then_some(()));
    let [normal, high] = [Priority::Normal, Priority::High].map(|priority| submit(server, priority, "when"));
    touch(&open);
    news(busy);
    // The worker's process id, and when the job ran.
    let [normal, high] = [normal, high].map(|job| match news(job).as_slice() {
        [JobEvent::Complete(result)] => String::from_utf8(result.clone()).unwrap(),
        other => panic!("no plain result: {other:?}"),
    });
    assert!(high < normal, "{high} is later than {normal}");
}

#[track_caller]
fn deploy(server: &str, manager: &mut Manager) {
    let next = manager.dir().join("next");
    fs::write(&next, [fs::read(library()).unwrap(), b"!".to_vec()].concat()).unwrap();
    manager.mark();
    manager.install("act", &next);
    // A canary is promoted by jobs.
    wait_for("the rollout", DEADLINE, || {
        assert_eq!(done(server, "say on"), b"on");
        manager.events().iter().any(|event| event["event"] == "rollout_finished").then_some(())
    });
}

#[track_caller]
fn drain(server: &str, manager: &mut Manager) {
    let open = path(manager, "last");
    let job = submit(server, Priority::Normal, &format!("wait {open}\nsay whole"));
    manager.wait_status("the last job", |status| (status["workers"][0]["state"] == "busy").then_some(()));
    manager.signal(Signal::SIGTERM);
    manager.wait_event("draining", |_| true);
    touch(&open);
    assert!(matches!(news(job).as_slice(), [JobEvent::Complete(result)] if result == b"whole"));
    assert_eq!(manager.wait_exit().code(), Some(0));
}

#[track_caller]
fn done(server: &str, workload: &str) -> Vec<u8> {
    match news(submit(server, Priority::Normal, workload)).as_slice() {
        [JobEvent::Complete(result)] => result.clone(),
        other => panic!("no plain result: {other:?}"),
    }
}

#[track_caller]
fn submit(server: &str, priority: Priority, workload: &str) -> Client {
    let mut client = Client::connect(server, DEADLINE, 1 << 30).unwrap();
    client.submit(Submission::Foreground(priority), b"act", b"", workload.as_bytes()).unwrap();
    client
}

#[track_caller]
fn news(client: Client) -> Vec<JobEvent> {
    try_news(client).unwrap()
}

fn try_news(mut client: Client) -> Result<Vec<JobEvent>, ServerError> {
    let mut all = Vec::new();
    while !all.last().is_some_and(JobEvent::is_end) {
        let event = client.next_event(Instant::now() + DEADLINE)?;
        all.push(event.unwrap_or_else(|| panic!("nothing more became of a job: {all:?}")).event);
    }
    Ok(all)
}
