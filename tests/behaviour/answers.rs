//! Answers too large for a packet or a message, commands and errors that arrive at the wrong moment: a job is always
//! answered, with a sentence, and a worker never waits for what does not come.

use std::time::{Duration, Instant};

use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Request, Submission, answer};
use nix::sys::signal::Signal;

use crate::fixture::{
    Job, acting, background, library, lines, path, served, touch, wait_busy, wait_done, wait_serving,
};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::{Peer, ScriptedServer};
use crate::support::wait::{DEADLINE, wait_for};

fn played(ini: &str) -> (ScriptedServer, Manager) {
    let server = ScriptedServer::listen();
    // Without proofs now and then, which would keep a test in vain waiting for ever.
    let ini = format!("echo_interval = 0\n{ini}");
    let manager = Setup::new(&[&server.server()]).plugin("act", &library()).ini(&ini).start();
    (server, manager)
}

fn refuse(peer: &mut Peer) {
    peer.encode(|buf| answer::error(buf, b"server_error", b"not now"));
}

#[test]
fn what_is_larger_than_max_packet_is_reported_instead() {
    let (gearmand, manager) = served("max_packet = 64K");
    let too_large = |what, length| format!("its {what} of {length} bytes is larger than max_packet, 65536 bytes\n");
    assert_eq!(Job::act(&gearmand, "", "size 70000").failure(), too_large("result", 70_000));
    assert_eq!(Job::act(&gearmand, "", "huge exception 70000").failure(), too_large("exception", 70_000));
    for kind in ["fail", "panic"] {
        let reason = Job::act(&gearmand, "", &format!("huge {kind} 70000")).failure();
        assert!(reason.len() < 65_536 && reason.ends_with("xxx...(truncated)\n"), "{kind}: {} bytes", reason.len());
    }
    // Data and warnings are refused, and logged; the job goes on.
    for (step, what) in [("data", "data"), ("warn", "a warning")] {
        assert_eq!(Job::act(&gearmand, "", &format!("{step} 70000")).result(), b"false");
        let line = manager.wait_log(&format!("{what} of 70000 bytes is larger than max_packet, 65536 bytes"));
        assert!(line.contains("act H:"), "{line}");
    }
    assert_eq!(Job::act(&gearmand, "", "data 60000").news().len(), 2);
}

/// A reason that no message to the manager can carry.
#[test]
fn a_refusal_of_any_length_arrives() {
    let gearmand = Gearmand::start();
    let manager =
        acting(&[&gearmand]).plugin("parting", &library()).ini("[parting]\nsetting.how = refuse 200000").start();
    let refused = manager.wait_event("cannot_serve", |event| event["function"] == "parting");
    let reason = refused["reason"].as_str().unwrap();
    assert!(reason.contains("its new() failed: no no no") && reason.ends_with("...(truncated)"), "{reason}");
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
}

/// While one thread waits for a job server that does not read, others log, and report in vain.
#[test]
fn a_thread_that_waits_for_room_holds_up_no_other() {
    let (server, manager) = played("");
    let mut peer = server.accept_worker();
    let [begun, gate] = ["begun", "gate"].map(|name| path(&manager, name));
    let steps = format!("flow 30000000\nwait {begun}\nlog still here\nstatuses 3\nlog and here\nwait {gate}\nsay done");
    peer.assign(b"H:x:1", b"act", steps.as_bytes());
    peer.stream.peek(&mut [0]).unwrap();
    touch(&begun);
    manager.wait_log("H:x:1: still here");
    manager.wait_log("H:x:1: and here");
    touch(&gate);
    // What was begun comes whole, and the answer behind it.
    peer.skip_to(|packet| matches!(packet, Request::WorkData { data, .. } if data.len() == 30_000_000));
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(b"done".to_vec())));
}

/// S17.
#[test]
fn a_grab_that_is_refused_is_asked_again() {
    let (server, manager) = played("");
    let mut peer = server.accept_worker();
    for refusal in 0..6 {
        refuse(&mut peer);
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        if refusal == 2 {
            peer.assign(b"H:x:1", b"act", b"say between");
            assert_eq!(peer.next_end().0, b"H:x:1");
            peer.skip_to(|packet| packet == Request::GrabJobUniq);
        }
    }
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::PreSleep);
    // One that was sent after waking, too.
    peer.send(&answer::NOOP);
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    refuse(&mut peer);
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    manager.wait_log("answered with the error server_error: not now");
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}

/// S17: even if the server answers a result with that, or not at all.
#[test]
fn a_grab_that_is_not_answered_is_asked_again() {
    let (server, manager) = played("echo_interval = 0");
    let mut peer = server.accept_worker();
    for answer in [&b"JOB_NOT_FOUND\0no"[..], b""] {
        if !answer.is_empty() {
            let length = u32::try_from(answer.len()).unwrap().to_be_bytes();
            peer.send(&[b"\0RES\0\0\0\x13", &length[..], answer].concat());
        }
        // It is answered on the way.
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
    }
    peer.assign(b"H:x:1", b"act", b"say here");
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(b"here".to_vec())));
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}

/// S17: others are served meanwhile.
#[test]
fn a_server_that_refuses_every_grab_delays_nobody() {
    let (refusing, gearmand) = (ScriptedServer::listen(), Gearmand::start());
    let setup = Setup::new(&[&refusing.server(), &gearmand.server()]).plugin("act", &library());
    let manager = setup.ini("echo_interval = 0").start();
    let mut peer = refusing.accept_worker();
    for number in 0..10 {
        refuse(&mut peer);
        let number = number.to_string();
        assert_eq!(Job::act(&gearmand, "", &format!("say {number}")).result(), number.into_bytes());
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}

/// S17: in answer to the greeting, and then to either form of GRAB.
#[test]
fn a_greeting_that_is_refused_is_an_answer() {
    let (server, _manager) = played("");
    let mut peer = server.accept();
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    refuse(&mut peer);
    peer.skip_to(|packet| matches!(packet, Request::CanDo { .. }));
    for form in [Request::GrabJob, Request::GrabJobUniq, Request::GrabJob] {
        peer.skip_to(|packet| packet == form);
        refuse(&mut peer);
    }
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.assign(b"H:x:1", b"act", b"say here");
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(b"here".to_vec())));
}

/// S17: a stop, when the GRAB was refused before it, and when that is the answer to the last one.
#[test]
fn a_stop_does_not_wait_for_a_grab_that_is_refused() {
    for before in [true, false] {
        let (server, mut manager) = played("stop_timeout = 1h\ngraceful_shutdown_wait_time = 1h");
        let mut peer = server.accept_worker();
        if before {
            manager.signal(Signal::SIGTERM);
            manager.wait_event("worker_draining", |_| true);
            refuse(&mut peer);
        } else {
            peer.send(&answer::NO_JOB);
            peer.skip_to(|packet| packet == Request::PreSleep);
            manager.signal(Signal::SIGTERM);
            peer.skip_to(|packet| packet == Request::GrabJobUniq);
            refuse(&mut peer);
        }
        peer.skip_to(|packet| packet == Request::EchoReq(b"draining"));
        assert!(manager.wait_exit().success(), "refused before the stop: {before}");
    }
}

/// S20: a stream of short jobs wakes all, again and again, and most come too late; then there is work for all, and each
/// takes some. (The tables of `worker/server_connection/tests.rs` show that the worker never pauses before that.)
#[test]
fn many_workers_woken_for_every_job_do_not_pause() {
    const JOBS: usize = 600;
    let (gearmand, manager) = served("count = 16");
    gearmand.wait_workers("act", 16);
    let notes = path(&manager, "notes");
    for number in 0..JOBS {
        background(&gearmand, &number.to_string(), &format!("note {notes}"));
    }
    wait_done(&gearmand);
    assert_eq!(lines(&notes).len(), JOBS);
    // All of them at a time.
    let gate = path(&manager, "gate");
    for number in 0..16 {
        background(&gearmand, &number.to_string(), &format!("wait {gate}"));
    }
    let status = wait_for("all workers to be at work", Duration::from_secs(5), || {
        gearmand.status("act").filter(|status| status.running == 16)
    });
    assert_eq!(status.total, 16);
    touch(&gate);
    wait_done(&gearmand);
}

/// S20: with `-w 1` there is one wake-up for each job. None may go to a worker that runs a job, however regularly jobs came
/// before.
#[test]
fn no_wake_up_goes_to_a_worker_that_runs_a_long_job() {
    const ROUNDS: usize = 12;
    const BEFORE: usize = 150;
    let gearmand = Gearmand::with_args(&["-w", "1"]);
    // A worker that asks again now and then would make up for a wake-up that went astray.
    let manager = acting(&[&gearmand]).ini("count = 2\necho_interval = 0").verbosity("").start();
    wait_serving(&manager, "act");
    gearmand.wait_workers("act", 2);
    let mut client = gearmand.client();
    for round in 0..ROUNDS {
        for _ in 0..BEFORE {
            submit(&mut client, "say one at a time");
            wait_ends(&mut client, 1);
        }
        let (gate, runs) = (path(&manager, &format!("gate-{round}")), path(&manager, &format!("runs-{round}")));
        submit(&mut client, "say short");
        submit(&mut client, "say short");
        submit(&mut client, &format!("note {runs}\nwait {gate}"));
        wait_for("the long job to run", DEADLINE, || (!lines(&runs).is_empty()).then_some(()));
        wait_ends(&mut client, 2);
        // The other worker is idle.
        assert_eq!(Job::act(&gearmand, "", "say behind").result(), b"behind", "round {round}");
        touch(&gate);
        wait_ends(&mut client, 1);
    }
}

fn submit(client: &mut Client, workload: &str) {
    client.submit(Submission::Foreground(Priority::Normal), b"act", b"", workload.as_bytes()).unwrap();
}

#[track_caller]
fn wait_ends(client: &mut Client, jobs: usize) {
    for _ in 0..jobs {
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("a job to end").event;
        assert!(matches!(event, JobEvent::Complete(_)), "{event:?}");
    }
}

/// An order that was written before a job of more than a millisecond ended is obeyed: no other job is begun.
#[test]
fn a_command_that_arrives_at_the_end_of_a_job_is_carried_out() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).start();
    wait_serving(&manager, "act");
    let next = path(&manager, "next");
    let job = Job::act(&gearmand, "", "unheard\nsay done");
    wait_busy(&manager, &job.handle);
    background(&gearmand, "next", &format!("note {next}"));
    manager.signal(Signal::SIGTERM);
    assert_eq!(job.result(), b"done");
    assert!(manager.wait_exit().success());
    assert_eq!(lines(&next).len(), 0, "another job was begun");
}

/// P12: the other way round. It fails at once, and no worker loses its connection over it.
#[test]
fn a_workload_beyond_max_packet_fails_its_job() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("count = 2\nmax_packet = 1M").start();
    wait_serving(&manager, "act");
    let long = format!("say {}", "x".repeat(2_000_000));
    for _ in 0..3 {
        let message = Job::act(&gearmand, "", &long).failure();
        assert_eq!(message.trim_end(), "its workload of 2000004 bytes is larger than max_packet, 1048576 bytes");
        assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    }
    manager.wait_log("its workload of 2000004 bytes is larger than max_packet");
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}
