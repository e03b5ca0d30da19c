//! A job that costs workers is counted, wherever it makes them die: it is run as often as it may be, its caller is told
//! once, and the log names the cause.

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Request, answer};
use nix::sys::signal::{Signal, kill};

use crate::fixture::{Job, library, lines, path, served, touch, wait_busy, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::ScriptedServer;

/// What leaves a worker without the connection that its job came over.
const TAKING: [&str; 5] = ["closefds", "closesockets", "shutsockets", "coversockets /dev/null", "coversockets socket"];
/// Silence is borne for a second only: one of those above makes a job server mute.
const INI: &str = "echo_timeout = 1\nbackoff_max = 10ms\n";

fn unique(step: &str) -> String {
    step.replace([' ', '/'], "-")
}

/// Runs a job that may be run so often, to the word its caller gets.
fn failure(gearmand: &Gearmand, manager: &Manager, step: &str, runs: usize) -> String {
    let unique = unique(step);
    let notes = path(manager, &unique);
    let message = Job::act(gearmand, &unique, &format!("note {notes}\n{step}\nsay done")).failure();
    wait_serving(manager, "act");
    assert_eq!(Job::act(gearmand, "", "say next").result(), b"next", "{step}");
    assert_eq!(lines(&notes).len(), runs, "{step}: {message}");
    message
}

/// P6: with `on_crash = fail` it is never run twice.
#[test]
fn a_job_that_takes_its_workers_connection_fails_as_if_it_had_crashed() {
    let (gearmand, manager) = served(&format!("{INI}on_crash = fail"));
    for step in TAKING {
        let message = failure(&gearmand, &manager, step, 1);
        assert!(
            message.contains("closed, replaced or shut down its connection to the job server"),
            "{step}: {message}"
        );
        let unique = unique(step);
        let died = manager.wait_event("worker_died", |event| event["unique"] == unique.as_str());
        assert_eq!((died["disposition"].as_str(), died["deaths"].as_u64()), (Some("failed"), Some(1)), "{died}");
    }
}

/// P6: else as often as it may cost workers.
#[test]
fn a_job_that_takes_its_workers_connection_is_run_as_often_as_it_may_be() {
    let (gearmand, manager) = served(&format!("{INI}max_attempts = 2"));
    for step in TAKING {
        let message = failure(&gearmand, &manager, step, 2);
        assert!(message.ends_with("; 2 workers were lost in this job\n"), "{step}: {message}");
    }
}

/// S1: a job server may end a connection in such a way that the first send fails, as after a shutdown.
#[test]
fn a_connection_that_its_server_reset_during_a_job_is_just_lost() {
    let server = ScriptedServer::listen();
    let setup = Setup::new(&[&server.server()]).plugin("act", &library());
    let manager = setup.ini("on_crash = fail\nbackoff_max = 10ms").start();
    let gate = path(&manager, "gate");
    let mut peer = server.accept();
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.send(&answer::NO_JOB);
    // What the worker offers is never read, so that its connection ends with a reset behind the end of file.
    peer.stream.peek(&mut [0]).unwrap();
    peer.assign(b"H:x:1", b"act", format!("wait {gate}\ntake 150\nsay done").as_bytes());
    let worker = wait_busy(&manager, "H:x:1");
    peer.stream.shutdown(std::net::Shutdown::Write).unwrap();
    drop(peer);
    touch(&gate);
    let mut peer = server.accept_worker();
    peer.assign(b"H:x:1", b"act", b"pid");
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(worker.to_string().into_bytes())));
    peer.send(&answer::NO_JOB);
}

/// A worker that is cut off from its manager can say all the same what its job came to.
#[test]
fn a_job_that_closes_the_channel_to_the_manager_is_answered() {
    let (gearmand, manager) = served("on_crash = fail");
    let notes = path(&manager, "notes");
    assert_eq!(Job::act(&gearmand, "", &format!("note {notes}\nclosechannel\nsay done")).result(), b"done");
    wait_serving(&manager, "act");
    assert_eq!(lines(&notes).len(), 1);
}

/// P14: whether its answer was out or not, nobody runs it again, and its caller hears one thing.
#[test]
fn a_worker_that_dies_just_after_the_function_returned_costs_no_second_run() {
    let (gearmand, mut manager) = served(&format!("{INI}on_crash = fail"));
    for wait in [0, 0, 0, 1] {
        let notes = path(&manager, "notes");
        let job = Job::act(&gearmand, "", &format!("note {notes}\ndoomed {wait}\ntake 2\nsay done"));
        let news = job.news();
        assert!(
            matches!(news.as_slice(), [JobEvent::Complete(_)] | [JobEvent::Warning(_), JobEvent::Fail]),
            "{news:?}"
        );
        manager.wait_event("worker_died", |_| true);
        manager.mark();
        wait_serving(&manager, "act");
        assert_eq!(lines(&notes).len(), 1);
        std::fs::remove_file(notes).unwrap();
    }
}

/// P20: half a packet rules out an answer at once, so the next worker that gets the job fails it.
#[test]
fn a_job_that_always_dies_within_a_packet_is_failed_instead_of_run() {
    let (gearmand, manager) = served(&format!("{INI}max_attempts = 2"));
    for end in ["abort", "closesockets"] {
        let notes = path(&manager, end);
        let job = Job::act(&gearmand, end, &format!("note {notes}\nflow 50000000\n{end}"));
        let news = job.news();
        let ends: Vec<_> = news.iter().filter(|news| !matches!(news, JobEvent::Data(_))).collect();
        let [JobEvent::Warning(text), JobEvent::Fail] = ends[..] else { panic!("its caller got {ends:?}") };
        let message = String::from_utf8_lossy(text);
        assert!(message.ends_with("; 2 workers were lost in this job\n"), "{message}");
        assert_eq!(lines(&notes).len(), 2);
        manager.wait_event("worker_died", |event| event["unique"] == end && event["disposition"] == "unanswerable");
    }
}

/// P20, each point at which half a packet may be out: the same handle comes again, and is not run.
#[test]
fn half_a_packet_out_fails_the_job_at_its_next_run() {
    for (workload, disposition) in [("data 32000000", "in its function"), ("size 32000000", "while it is answered")] {
        let server = ScriptedServer::listen();
        let setup = Setup::new(&[&server.server()]).plugin("act", &library());
        let manager = setup.ini("on_crash = fail\nbackoff_max = 10ms").start();
        let notes = path(&manager, "notes");
        let workload = format!("note {notes}\n{workload}");
        let mut peer = server.accept_worker();
        peer.assign(b"H:x:1", b"act", workload.as_bytes());
        let worker = wait_busy(&manager, "H:x:1");
        peer.stream.peek(&mut [0]).unwrap();
        kill(worker, Signal::SIGKILL).unwrap();
        let died = manager.wait_event("worker_died", |_| true);
        assert_eq!(died["disposition"], "unanswerable", "{disposition}: {died}");
        assert!(peer.try_next(|_| ()).is_none(), "nobody wrote behind the half");
        let mut peer = server.accept_worker();
        peer.assign(b"H:x:1", b"act", workload.as_bytes());
        assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), None), "{disposition}");
        assert_eq!(lines(&notes).len(), 1, "{disposition}");
        manager.wait_log("act H:x:1: is not run again, but fails: worker killed by SIGKILL");
        peer.send(&answer::NO_JOB);
    }
}
