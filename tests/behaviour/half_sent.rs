//! Half a packet on the wire means that nobody else may answer on that connection. Deaths still count, and the timeout
//! still applies.

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Request, answer};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::fixture::{Job, library, path, served, touch, wait_busy, wait_serving};
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::ScriptedServer;

/// More than a socket takes at once.
const MUCH: usize = 32_000_000;

/// The reason in a job's failure, after the data that it sent.
#[track_caller]
fn failure_text(job: Job) -> String {
    let mut news = job.news();
    news.retain(|news| !matches!(news, JobEvent::Data(data) if data.len() == MUCH));
    match news.as_slice() {
        [JobEvent::Warning(text), JobEvent::Fail] => String::from_utf8(text.clone()).unwrap(),
        other => panic!("its caller got no reason: {other:?}"),
    }
}

fn deaths(manager: &Manager) -> Vec<Value> {
    manager.events().into_iter().filter(|event| event["event"] == "worker_died").collect()
}

/// P20.
#[test]
fn a_job_that_sends_much_and_dies_fails_after_max_attempts() {
    let (gearmand, manager) = served("");
    let message = failure_text(Job::act(&gearmand, "", &format!("data {MUCH}\nabort")));
    assert!(message.ends_with("; 3 workers were lost in this job\n"), "{message}");
    let counts: Vec<_> = deaths(&manager).iter().map(|event| event["deaths"].as_u64()).collect();
    assert_eq!(counts, [Some(1), Some(2), Some(3)]);
    wait_serving(&manager, "act");
}

/// P20.
#[test]
fn a_job_that_sends_much_and_hangs_times_out() {
    let (gearmand, manager) = served("timeout = 2\ntimeout_grace = 100ms");
    let message = failure_text(Job::act(&gearmand, "", &format!("data {MUCH}\nwait {}", path(&manager, "never"))));
    assert!(message.starts_with("timed out"), "{message}");
}

/// P20: the worker dies in the middle of a packet, or may. Its deaths count; that its function backs off is a table's.
#[test]
fn deaths_in_the_middle_of_a_packet_count() {
    let (gearmand, manager) = served("max_attempts = 2");
    let _poison = Job::act(&gearmand, "poison", "flow 50000000\nabort");
    manager.wait_event("worker_died", |event| event["deaths"] == 2);
    let counted = deaths(&manager);
    assert!(counted.iter().all(|event| event["at"] == "job" && event["deaths"].as_u64() >= Some(1)), "{counted:?}");
}

/// P20: so does one that waits for room, and the server that lets it wait gets half a packet and the end of the connection.
#[test]
fn a_job_whose_data_nobody_reads_still_times_out() {
    let server = ScriptedServer::listen();
    let setup = Setup::new(&[&server.server()]).plugin("act", &library());
    let manager = setup.ini("timeout = 300ms\ntimeout_grace = 100ms").start();
    let mut peer = server.accept_worker();
    peer.assign(b"H:x:1", b"act", format!("data {MUCH}\nsay sent").as_bytes());
    let died = manager.wait_event("worker_died", |_| true);
    let death = json!([died["timed_out"], died["deaths"], died["disposition"]]);
    assert_eq!(death, json!([true, 1, "unanswerable"]));
    manager.wait_log("half of a packet may have been sent, so its caller cannot be told");
    assert_eq!(peer.try_next(|packet| matches!(packet, Request::WorkFail { .. })), None, "nobody wrote behind it");
}

/// S19: what cannot be sent is no excuse for the jobs that follow.
#[test]
fn a_send_that_fails_in_a_job_is_forgotten_with_it() {
    let (mut gearmand, manager) = served("timeout = 2\ntimeout_grace = 100ms\non_crash = fail");
    for (next, words) in [("wait /nowhere", "timed out"), ("segv", "worker killed by SIGSEGV")] {
        let gate = path(&manager, words);
        let sends = "data 1000000\nstatuses 10\n".repeat(3);
        let job = Job::act(&gearmand, "", &format!("wait {gate}\n{sends}say lost"));
        wait_busy(&manager, &job.handle);
        gearmand.restart_same_port();
        touch(&gate);
        let message = Job::act(&gearmand, "", next).failure();
        assert!(message.starts_with(words), "{message}");
    }
}

/// S10: a restarted server gives the handle of a denied job to another job. The worker knows that before the manager
/// does.
#[test]
fn a_job_of_a_restarted_server_is_not_mistaken_for_a_denied_one() {
    let (mut gearmand, manager) = served("timeout = 200ms\ntimeout_grace = 100ms");
    let denied = Job::act(&gearmand, "", "wait /nowhere");
    let handle = denied.handle.clone();
    assert!(denied.failure().starts_with("timed out"));
    wait_serving(&manager, "act");
    manager.signal(Signal::SIGSTOP);
    gearmand.restart_same_port();
    let next = Job::act(&gearmand, "", "say served");
    assert_eq!(next.handle, handle, "otherwise this shows nothing");
    assert_eq!(next.news(), [JobEvent::Complete(b"served".to_vec())]);
    manager.signal(Signal::SIGCONT);
}

/// A death while the answer is sent counts like any other, and nobody may write behind the half of it.
#[test]
fn a_death_while_the_answer_is_sent_counts_and_is_not_answered() {
    let server = ScriptedServer::listen();
    let setup = Setup::new(&[&server.server()]).plugin("act", &library());
    let manager = setup.ini("timeout = 30\non_crash = fail").start();
    let mut peer = server.accept_worker();
    peer.assign(b"H:x:1", b"act", format!("size {MUCH}").as_bytes());
    // Its first bytes: it has returned.
    let worker = wait_busy(&manager, "H:x:1");
    peer.stream.peek(&mut [0]).unwrap();
    nix::sys::signal::kill(worker, Signal::SIGKILL).unwrap();
    let died = manager.wait_event("worker_died", |_| true);
    let death = json!([died["sending"], died["deaths"], died["disposition"]]);
    assert_eq!(death, json!([true, 1, "unanswerable"]));
    assert!(peer.try_next(|_| ()).is_none(), "no whole packet came, and nobody wrote behind the half");
    peer = server.accept_worker();
    peer.send(&answer::NO_JOB);
}
