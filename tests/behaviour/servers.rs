//! Job servers that come, go, stop and were never there.

use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::scene::{
    Job, acting, background, lines, of, path, served, touch, wait_busy, wait_done, wait_serving, workers,
};
use crate::support::gearmand::{Gearmand, unused_server};
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};

/// How often this was said of a server.
fn said(manager: &Manager, event: &str, server: &str) -> usize {
    let about = |e: &&Value| e["event"] == event && e["server"] == server;
    manager.events().iter().filter(about).count()
}

/// Waits until it was said so often.
#[track_caller]
fn wait_said(manager: &Manager, event: &str, server: &str, times: usize) {
    wait_for(&format!("{times} times {event}"), DEADLINE, || (said(manager, event, server) == times).then_some(()));
}

#[test]
fn two_at_once_are_both_served() {
    let servers = [Gearmand::start(), Gearmand::start()];
    let manager = acting(&[&servers[0], &servers[1]]).ini("count = 2").start();
    wait_serving(&manager, "act");
    servers.iter().for_each(|server| server.wait_workers("act", 2));
    let notes = path(&manager, "notes");
    for number in 0..200 {
        background(&servers[number % 2], &number.to_string(), &format!("note {notes}"));
    }
    for server in &servers {
        assert_eq!(Job::act(server, "", "say here").result(), b"here");
    }
    servers.iter().for_each(wait_done);
    let mut done: Vec<usize> = lines(&notes).iter().map(|line| line.parse().unwrap()).collect();
    done.sort_unstable();
    assert_eq!(done, (0..200).collect::<Vec<_>>());
}

/// S1.
#[test]
fn one_that_is_killed_and_started_again_is_served_again() {
    let (mut gearmand, manager) = served("count = 5");
    let server = gearmand.server();
    let before = workers(&manager);
    wait_said(&manager, "server_up", &server, 1);
    for round in 1..=3 {
        gearmand.kill();
        wait_said(&manager, "server_down", &server, round);
        gearmand.restart_same_port();
        gearmand.wait_workers("act", 5);
        assert_eq!(Job::act(&gearmand, "", "say again").result(), b"again");
        wait_said(&manager, "server_up", &server, round + 1);
    }
    // Once for five workers, and not once for each try.
    assert_eq!([said(&manager, "server_down", &server), said(&manager, "server_up", &server)], [3, 4]);
    assert_eq!(workers(&manager), before, "no worker had a reason to end");
}

/// S1: the result has nobody to go to, and the worker none to answer for.
#[test]
fn one_that_is_restarted_while_a_job_runs_loses_only_that() {
    let (mut gearmand, manager) = served("");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}"));
    let worker = wait_busy(&manager, &job.handle);
    gearmand.restart_same_port();
    touch(&gate);
    let again = Job::act(&gearmand, "", "pid");
    assert_eq!(again.handle, job.handle, "handles begin anew");
    assert_eq!(again.result(), worker.to_string().into_bytes());
}

/// S2.
#[test]
fn one_that_is_stopped_is_noticed_and_holds_up_nobody() {
    let (stopped, other) = (Gearmand::start(), Gearmand::start());
    let setup = acting(&[&stopped, &other]).ini("echo_interval = 200ms\necho_timeout = 300ms\nconnect_timeout = 1h");
    let manager = setup.start();
    wait_serving(&manager, "act");
    stopped.wait_workers("act", 1);
    let server = stopped.server();
    stopped.stop();
    for number in 0..50 {
        let number = number.to_string();
        assert_eq!(Job::act(&other, "", &format!("say {number}")).result(), number.into_bytes());
    }
    let event = manager.wait_event("server_down", |event| event["server"] == server.as_str());
    assert_eq!(event["reason"], "mute: no answer to ECHO within 0.3 s");
    assert_eq!(Job::act(&other, "", "say still").result(), b"still");
    stopped.cont();
    wait_said(&manager, "server_up", &server, 2);
    assert_eq!(Job::act(&stopped, "", "say back").result(), b"back");
    assert_eq!(said(&manager, "server_down", &server), 1);
}

/// S2: that it takes connections and is mute holds up nobody either. No pause could be longer than that for a proof.
#[test]
fn one_that_is_stopped_before_a_worker_comes_holds_up_nobody() {
    let (stopped, other) = (Gearmand::start(), Gearmand::start());
    stopped.stop();
    let setup = acting(&[&stopped, &other]).ini("connect_timeout = 1h");
    let manager = setup.start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&other, "", "say here").result(), b"here");
    stopped.cont();
    assert_eq!(Job::act(&stopped, "", "say here").result(), b"here");
}

/// S2: a server that owes the answer to a GRAB stays behind after a second, although nothing proves it dead yet.
#[test]
fn one_that_is_stopped_while_it_owes_an_answer_stays_behind() {
    let (stopped, other) = (Gearmand::start(), Gearmand::start());
    let manager = acting(&[&stopped, &other]).ini("echo_interval = 1h\necho_timeout = 1h").start();
    wait_serving(&manager, "act");
    servers_ready(&[&stopped, &other]);
    let gate = path(&manager, "gate");
    let job = Job::act(&stopped, "", &format!("wait {gate}\nsay late"));
    wait_busy(&manager, &job.handle);
    let next = Job::act(&other, "", "say next");
    stopped.stop();
    touch(&gate);
    assert_eq!(next.result(), b"next");
    stopped.cont();
    assert_eq!(job.result(), b"late");
    assert_eq!(Job::act(&stopped, "", "say back").result(), b"back");
}

fn servers_ready(servers: &[&Gearmand]) {
    servers.iter().for_each(|server| server.wait_workers("act", 1));
}

/// S9.
#[test]
fn those_that_were_never_there_are_named_and_do_no_harm() {
    let gearmand = Gearmand::start();
    let missing = [unused_server(), unused_server()];
    let setup = Setup::new(&[&missing[0], &gearmand.server(), &missing[1]]);
    let manager = setup.plugin("act", &crate::scene::library()).start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    for server in &missing {
        let event = manager.wait_event("server_down", |event| event["server"] == server.as_str());
        assert_eq!(event["reason"], "cannot connect: connection refused");
        let line = manager.wait_log(&format!("job server {server} does not answer"));
        assert!(line.contains("connection refused"), "{line}");
        let status = manager.status();
        assert_eq!(of(&status, "job_servers", "address", server).unwrap()["workers_connected"], 0);
    }
    // One worker more says no more of them.
    kill(workers(&manager)[0], Signal::SIGKILL).unwrap();
    manager.wait_event("worker_serving", |event| event["generation"] == 2);
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    assert_eq!(missing.map(|server| said(&manager, "server_down", &server)), [1, 1]);
}

/// S4.
#[test]
fn one_whose_name_does_not_resolve_is_named_and_does_no_harm() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&["nowhere.invalid:4730", &gearmand.server()]).ini("rescan_interval = 100ms");
    let manager = setup.plugin("act", &crate::scene::library()).start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let event = manager.wait_event("server_down", |event| event["server"] == "nowhere.invalid:4730");
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.contains("nowhere.invalid"), "{reason}");
    assert_eq!(said(&manager, "server_down", "nowhere.invalid:4730"), 1);
}

/// A worker that finds no server at start is loaded all the same, and serves when one comes.
#[test]
fn none_at_all_is_waited_for() {
    let mut gearmand = Gearmand::start();
    gearmand.kill();
    let manager = acting(&[&gearmand]).start();
    manager.wait_event("started", |event| event["workers"] == 1);
    gearmand.restart_same_port();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
}
