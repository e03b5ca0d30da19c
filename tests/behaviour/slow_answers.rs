//! An answer that its job server does not take at once: the worker goes on with the other servers meanwhile, nothing is
//! lost, and whoever dies is judged for what it was at.

use std::path::Path;
use std::time::{Duration, Instant};

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Request, answer};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::fixture::{Job, acting, library, lines, path, pid, touch, wait_busy, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::{Peer, ScriptedServer};
use crate::support::wait::{DEADLINE, wait_for};

/// More than the kernel holds.
const MUCH: usize = 30_000_000;

/// A worker whose answer to one server waits for room there, since that is stopped.
struct Held {
    stopped: Gearmand,
    other: Gearmand,
    manager: Manager,
    job: Job,
    worker: Pid,
    notes: String,
}

/// One worker, and a job whose answer is under way.
fn held(ini: &str) -> Held {
    let (stopped, other) = (Gearmand::start(), Gearmand::start());
    let manager = acting(&[&stopped, &other]).ini(ini).start();
    wait_serving(&manager, "act");
    [&stopped, &other].iter().for_each(|server| server.wait_workers("act", 1));
    let (notes, gate) = (path(&manager, "notes"), path(&manager, "gate"));
    let job = Job::act(&stopped, "u", &format!("note {notes}\nwait {gate}\nsize {MUCH}"));
    let worker = wait_busy(&manager, &job.handle);
    stopped.stop();
    touch(&gate);
    manager.wait_status("its function to return", |status| (status["workers"][0]["jobs"] == 1).then_some(()));
    Held { stopped, other, manager, job, worker, notes }
}

/// Whether this worker is in this state.
fn state(status: &Value, worker: Pid, state: &str) -> Option<()> {
    let workers = status["workers"].as_array()?;
    workers.iter().any(|found| pid(found) == worker && found["state"] == state).then_some(())
}

#[track_caller]
fn death(manager: &Manager, worker: Pid) -> Value {
    manager.wait_event("worker_died", |event| event["pid"] == worker.as_raw())
}

/// S2: a server that is stopped in the middle of an answer holds up no job of another; the answer arrives when it goes
/// on, over the same connection.
#[test]
fn a_server_stopped_during_an_answer_delays_nobody() {
    let Held { stopped, other, manager, job, worker, notes } = held("");
    for number in 0..5 {
        let number = number.to_string();
        assert_eq!(Job::act(&other, "", &format!("say {number}")).result(), number.into_bytes());
    }
    stopped.cont();
    assert_eq!(job.result().len(), MUCH);
    assert_eq!(lines(&notes), ["u"], "it was lost, and the job was done again");
    assert_eq!(Job::act(&stopped, "", "pid").result(), worker.to_string().into_bytes());
    let down: Vec<_> = manager.events().into_iter().filter(|event| event["event"] == "server_down").collect();
    assert!(down.is_empty(), "{down:?}");
}

/// S2, S13: half an answer on one connection forbids to write there, and nowhere else. The job of which it is was done,
/// and is given to another worker; the one in hand is an ordinary crash.
#[test]
fn a_crash_beside_an_answer_is_that_of_the_job_in_hand() {
    let Held { stopped, other, manager, job, worker, notes } = held("max_attempts = 1");
    let message = Job::act(&other, "", "segv").failure();
    assert!(message.starts_with("worker killed by SIGSEGV in this job"), "{message}");
    let died = death(&manager, worker);
    let death = json!([died["at"], died["sending"], died["disposition"], died["deaths"], died["cut_another"]]);
    assert_eq!(death, json!(["job", false, "failed", 1, true]));
    manager.wait_log("it was still sending an earlier answer to another job server");
    stopped.cont();
    assert_eq!(job.news().last().map(JobEvent::is_end), Some(true));
    assert_eq!(lines(&notes), ["u", "u"], "it was not done again");
}

/// S2, S13: nor is a job struck that was done, by a worker that dies between the jobs of others; nothing is said behind
/// half an answer.
#[test]
fn a_death_between_jobs_with_a_pending_answer_does_not_count() {
    let Held { stopped, other, manager, job, worker, notes } = held("max_attempts = 1");
    assert_eq!(Job::act(&other, "", "say hi").result(), b"hi");
    manager.wait_status("it to be idle", |status| (status["workers"][0]["state"] == "idle").then_some(()));
    kill(worker, Signal::SIGKILL).unwrap();
    let died = death(&manager, worker);
    assert_eq!(json!([died["at"], died["cut_another"]]), json!(["idle", true]));
    stopped.cont();
    assert_eq!(job.result().len(), MUCH);
    assert_eq!(lines(&notes), ["u", "u"]);
}

/// P6, S13: where a job may not run twice it does not for a lost answer either. Nobody can say so behind half of it, so
/// the next worker that gets the job does.
#[test]
fn an_answer_that_is_lost_is_no_second_run_where_there_may_be_none() {
    for in_job in [true, false] {
        let Held { stopped, other, manager, job, worker, notes } = held("on_crash = fail");
        if in_job {
            Job::act(&other, "", "segv").failure();
        } else {
            kill(worker, Signal::SIGKILL).unwrap();
        }
        death(&manager, worker);
        stopped.cont();
        let message = job.failure();
        assert!(message.contains("answer was sent"), "{message}");
        assert_eq!(lines(&notes), ["u"], "{message}");
    }
}

/// S2, S7: a job that is done is not late, however long its answer waits; one of another server is.
#[test]
fn a_timeout_beside_an_answer_is_that_of_the_job_in_hand() {
    let Held { stopped, other, manager, job, notes, .. } = held("timeout = 300ms\ntimeout_grace = 100ms");
    let never = path(&manager, "never");
    let late = Job::act(&other, "", &format!("wait {never}"));
    let handle = late.handle.clone();
    assert!(late.failure().starts_with("timed out"));
    let overdue = manager.wait_event("job_overdue", |_| true);
    assert_eq!(overdue["handle"], handle.as_str());
    stopped.cont();
    assert_eq!(job.result().len(), MUCH);
    assert_eq!(lines(&notes), ["u", "u"]);
}

fn registered(server: &ScriptedServer) -> Peer {
    let mut peer = server.accept();
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| matches!(packet, Request::CanDo { .. }));
    peer
}

fn played(servers: &[&ScriptedServer], ini: &str) -> Manager {
    let servers: Vec<String> = servers.iter().map(|server| server.server()).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    Setup::new(&servers).plugin("act", &library()).ini(ini).start()
}

/// S7: jobs of another server are asked for and done while an answer is taken slowly, which takes no job before its end.
#[test]
fn a_server_that_reads_an_answer_slowly_is_asked_for_no_job_and_delays_nobody() {
    let servers = [ScriptedServer::listen(), ScriptedServer::listen()];
    let _manager = played(&servers.each_ref(), "");
    let [mut slow, mut other] = servers.each_ref().map(registered);
    slow.assign(b"H:slow:1", b"act", format!("size {MUCH}").as_bytes());
    // Unasked: it waits for the end of the answer.
    slow.assign(b"H:slow:2", b"act", b"say second");
    for number in 0..5 {
        other.skip_to(|packet| packet == Request::GrabJobUniq);
        let handle = format!("H:other:{number}").into_bytes();
        other.assign(&handle, b"act", b"say hi");
        assert_eq!(other.next_end(), (handle, Some(b"hi".to_vec())));
    }
    other.skip_to(|packet| packet == Request::GrabJobUniq);
    other.send(&answer::NO_JOB);
    let mut seen = Vec::new();
    while seen.last() != Some(&"second") {
        let packet = slow.next(|packet| match packet {
            Request::WorkComplete { handle: b"H:slow:1", data } if data.len() == MUCH => Some("first"),
            Request::WorkComplete { handle: b"H:slow:2", data: b"second" } => Some("second"),
            // The one in answer to the registration.
            Request::GrabJobUniq => None,
            Request::EchoReq(_) => None,
            other => panic!("{other:?}"),
        });
        seen.extend(packet);
    }
    assert_eq!(seen, ["first", "second"]);
    slow.skip_to(|packet| packet == Request::GrabJobUniq);
}

/// S7, S18: a stop waits for an answer that is under way as for a job, though its server takes none of it for longer than
/// the last ECHO is waited for.
#[test]
fn a_stop_waits_for_an_answer_that_nobody_reads() {
    let (stopped, mute) = (Gearmand::start(), ScriptedServer::listen());
    let setup = Setup::new(&[&stopped.server(), &mute.server()]).plugin("act", &library());
    let mut manager = setup.ini("stop_timeout = 200ms").start();
    let mut peer = registered(&mute);
    stopped.wait_workers("act", 1);
    let (notes, gate) = (path(&manager, "notes"), path(&manager, "gate"));
    let job = Job::act(&stopped, "u", &format!("note {notes}\nwait {gate}\nsize {MUCH}"));
    wait_busy(&manager, &job.handle);
    stopped.stop();
    touch(&gate);
    manager.wait_status("its function to return", |status| (status["workers"][0]["jobs"] == 1).then_some(()));
    manager.signal(Signal::SIGTERM);
    // Its last ECHO, or a GRAB, has no answer, so this one is given up when stop_timeout is over.
    peer.wait_closed();
    stopped.cont();
    assert_eq!(job.result().len(), MUCH);
    assert_eq!(lines(&notes), ["u"]);
    assert!(manager.wait_exit().success());
    assert!(Path::new(&gate).exists());
}

/// M26, S7: a worker whose answer waits for its server is not silent, also while it drains.
#[test]
fn a_worker_that_waits_for_a_slow_server_is_not_unresponsive() {
    for drains in [false, true] {
        let Held { stopped, other: _other, manager, job, worker, notes } =
            held("echo_interval = 100ms\nresponse_timeout = 2");
        if drains {
            manager.signal(Signal::SIGHUP);
            manager.wait_status("it to drain", |status| state(status, worker, "draining"));
        }
        // Twice as long as it takes until a silent worker is killed.
        let began = Instant::now();
        wait_for("a while", DEADLINE, || (began.elapsed() > Duration::from_secs(6)).then_some(()));
        stopped.cont();
        assert_eq!(job.result().len(), MUCH);
        assert_eq!(lines(&notes), ["u"], "it was done again: {}", manager.log());
        assert_eq!(manager.events().into_iter().find(|event| event["event"] == "worker_unresponsive"), None);
    }
}

/// M26: one that hangs meanwhile is, and its job is done by another.
#[test]
fn a_worker_that_is_stopped_while_its_answer_waits_is_replaced() {
    for drains in [false, true] {
        let ini = "echo_interval = 100ms\nresponse_timeout = 500ms\nstop_timeout = 100ms";
        let Held { stopped, other: _other, manager, job, worker, notes } = held(ini);
        if drains {
            manager.signal(Signal::SIGHUP);
            manager.wait_status("it to drain", |status| state(status, worker, "draining"));
        }
        kill(worker, Signal::SIGSTOP).unwrap();
        stopped.cont();
        let died = death(&manager, worker);
        assert_eq!(
            json!([died["at"], died["sending"], died["disposition"]]),
            json!(["job", true, "unclear"]),
            "{died}"
        );
        assert_eq!(job.news().last().map(JobEvent::is_end), Some(true));
        assert_eq!(lines(&notes), ["u", "u"], "{}", manager.log());
    }
}

/// S7: the kernel's deadline, or the end of a connection, ends that one; its job is done again elsewhere.
#[test]
fn an_answer_is_lost_with_its_connection_and_with_nothing_else() {
    let Held { mut stopped, other, manager, worker, .. } = held("");
    assert_eq!(Job::act(&other, "", "say hi").result(), b"hi");
    stopped.kill();
    let server = stopped.server();
    manager.wait_event("server_down", |event| event["server"] == server.as_str());
    assert_eq!(Job::act(&other, "", "pid").result(), worker.to_string().into_bytes());
    stopped.restart_same_port();
    assert_eq!(Job::act(&stopped, "", "pid").result(), worker.to_string().into_bytes());
}
