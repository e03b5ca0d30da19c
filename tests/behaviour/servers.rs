//! Job servers that start, end, stop, and were never there.

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};

use gm_native::gearman::packet::{Priority, Request, Submission, answer};
use nix::sys::signal::{Signal, kill};
use serde_json::Value;

use crate::fixture::{
    Job, acting, background, library, lines, make_script, may_mount, of, path, served, touch, wait_busy, wait_done,
    wait_serving, workers,
};
use crate::support::gearmand::{Gearmand, unused_server};
use crate::support::manager::{Manager, Setup};
use crate::support::plugins::example;
use crate::support::scripted_server::ScriptedServer;
use crate::support::wait::{DEADLINE, wait_for};

/// How often this was logged about a server.
fn count_events(manager: &Manager, event: &str, server: &str) -> usize {
    let about = |e: &&Value| e["event"] == event && e["server"] == server;
    manager.events().iter().filter(about).count()
}

/// Waits until it was logged this often.
#[track_caller]
fn wait_said(manager: &Manager, event: &str, server: &str, times: usize) {
    wait_for(&format!("{times} times {event}"), DEADLINE, || {
        (count_events(manager, event, server) == times).then_some(())
    });
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

/// A server that has job after job, short ones or long ones, does not keep its workers from noticing another's, nor
/// from noticing that another has come back.
#[test]
fn one_that_is_busy_all_the_time_does_not_hide_another() {
    const JOBS: usize = 3_000;
    for steps in ["take 3", "take 15"] {
        let (busy, mut other) = (Gearmand::start(), Gearmand::start());
        let manager = acting(&[&busy, &other]).start();
        wait_serving(&manager, "act");
        let mut client = busy.client();
        for _ in 0..JOBS {
            client.submit(Submission::Background(Priority::Normal), b"act", b"", steps.as_bytes()).unwrap();
        }
        assert_eq!(Job::act(&other, "", "say here").result(), b"here");
        other.kill();
        let server = other.server();
        wait_said(&manager, "server_down", &server, 1);
        other.restart_same_port();
        assert_eq!(Job::act(&other, "", "say again").result(), b"again");
        assert!(busy.status("act").unwrap().total > 0, "{steps}: it was not busy all the time");
    }
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
    assert_eq!([count_events(&manager, "server_down", &server), count_events(&manager, "server_up", &server)], [3, 4]);
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
    assert_eq!(again.handle, job.handle, "handles start over");
    assert_eq!(again.result(), worker.to_string().into_bytes());
}

/// S2.
#[test]
fn one_that_is_stopped_is_noticed_and_delays_nobody() {
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
    assert_eq!(event["reason"], "unresponsive: no answer to ECHO within 0.3 s");
    assert_eq!(Job::act(&other, "", "say still").result(), b"still");
    stopped.cont();
    wait_said(&manager, "server_up", &server, 2);
    assert_eq!(Job::act(&stopped, "", "say back").result(), b"back");
    assert_eq!(count_events(&manager, "server_down", &server), 1);
}

/// S2: that it takes connections and is mute holds up nobody either. No pause could be longer than that for a proof.
#[test]
fn one_stopped_before_a_worker_connects_delays_nobody() {
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

/// S15: the kernel takes connections that gearmand has no descriptor for. Those workers are not ready, the log says what
/// to raise, and once it is raised they come by themselves.
#[test]
fn one_that_is_out_of_descriptors_is_named_with_what_to_raise() {
    let gearmand = Gearmand::with_open_files(44);
    let manager = acting(&[&gearmand]).ini("count = 12\nconnect_timeout = 300ms").start();
    let event = manager.wait_event("server_unresponsive", |_| true);
    assert_eq!(event["server"], gearmand.server().as_str());
    let line = manager.wait_log("raise LimitNOFILE");
    assert!(line.contains(&gearmand.server()), "{line}");
    let status = manager.status();
    let server = of(&status, "job_servers", "address", &gearmand.server()).unwrap();
    let connected = server["workers_connected"].as_u64().unwrap();
    assert!((1..12).contains(&connected) && server["workers"] == 12, "{server}");
    assert_eq!(of(&status, "functions", "name", "act").unwrap()["workers_ready"], connected);
    gearmand.limit_open_files(1024);
    wait_serving(&manager, "act");
    gearmand.wait_workers("act", 12);
    assert_eq!(Job::act(&gearmand, "", "say all").result(), b"all");
    assert_eq!(
        [
            count_events(&manager, "server_unresponsive", &gearmand.server()),
            count_events(&manager, "server_down", &gearmand.server())
        ],
        [1, 0]
    );
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
    let manager = setup.plugin("act", &crate::fixture::library()).start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    for server in &missing {
        let event = manager.wait_event("server_down", |event| event["server"] == server.as_str());
        assert_eq!(event["reason"], "cannot connect: connection refused");
        let line = manager.wait_log(&format!("job server {server} does not answer"));
        assert!(line.contains("connection refused"), "{line}");
        let status = manager.status();
        let shown = of(&status, "job_servers", "address", server).unwrap();
        assert!(shown["workers_connected"] == 0 && shown["last_answer_seconds_ago"].is_null(), "{shown}");
        assert!(shown["state"]["kind"] == "down" && shown["state"]["why"] == event["reason"], "{shown}");
        let text = manager.command("status", &[]).out();
        assert!(text.contains("never") && text.contains("down since "), "{text}");
    }
    // One more worker adds no line about them.
    kill(workers(&manager)[0], Signal::SIGKILL).unwrap();
    manager.wait_event("worker_serving", |event| event["generation"] == 2);
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    assert_eq!(missing.map(|server| count_events(&manager, "server_down", &server)), [1, 1]);
}

/// S4.
#[test]
fn one_whose_name_does_not_resolve_is_named_and_does_no_harm() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&["nowhere.invalid:4730", &gearmand.server()]).ini("rescan_interval = 100ms");
    let manager = setup.plugin("act", &crate::fixture::library()).start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let event = manager.wait_event("server_down", |event| event["server"] == "nowhere.invalid:4730");
    let reason = event["reason"].as_str().unwrap();
    assert!(reason.contains("nowhere.invalid"), "{reason}");
    assert_eq!(count_events(&manager, "server_down", "nowhere.invalid:4730"), 1);
}

/// gm-native where names are looked up in this file of hosts, and then with this name server.
fn with_names(dir: &Path, hosts: &str, name_server: &str) -> PathBuf {
    let files = [
        ("hosts", format!("{hosts}\n")),
        ("resolv.conf", format!("nameserver {name_server}\n")),
        ("nsswitch.conf", "hosts: files dns\n".into()),
    ];
    let mut mounts = String::new();
    for (name, text) in files {
        let file = dir.join(name);
        fs::write(&file, text).unwrap();
        mounts += &format!("mount --bind {} /etc/{name} && ", file.display());
    }
    let program = dir.join("gm-native");
    let real = env!("CARGO_BIN_EXE_gm-native");
    let script = format!("#!/bin/sh\nexec unshare -m sh -c '{mounts}exec \"$0\" \"$@\"' {real} \"$@\"\n");
    make_script(&program, &script);
    program
}

/// M20: a name server that takes questions and answers none, at the start and later.
#[test]
fn one_whose_name_is_never_answered_for_is_named_and_does_no_harm() {
    let address = format!("127.53.{}.{}", std::process::id() >> 8 & 255, std::process::id() & 255);
    let Ok(name_server) = UdpSocket::bind((address.as_str(), 53)) else {
        eprintln!("skipped: needs the right to be a name server");
        return;
    };
    if !may_mount() {
        eprintln!("skipped: needs root and mount namespaces");
        return;
    }
    let gearmand = Gearmand::start();
    let known: SocketAddr = gearmand.server().parse().unwrap();
    let setup = Setup::new(&["unanswered.test:4730", &format!("known.test:{}", known.port())])
        .plugin("act", &crate::fixture::library());
    let program = with_names(setup.dir(), &format!("{} known.test", known.ip()), &address);
    let manager = setup.ini("connect_timeout = 250ms\nrescan_interval = 100ms").program(program).start();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let event = manager.wait_event("server_down", |event| event["server"] == "unanswered.test:4730");
    assert!(event["reason"].as_str().unwrap().contains("could not be looked up within 0.5 s"), "{event}");
    // It is asked again and again, each time by another process.
    let mut askers = BTreeSet::new();
    name_server.set_read_timeout(Some(DEADLINE)).unwrap();
    while askers.len() < 4 {
        askers.insert(name_server.recv_from(&mut [0; 512]).expect("nobody asks any more").1);
    }
    assert_eq!(Job::act(&gearmand, "", "say still here").result(), b"still here");
    assert_eq!(count_events(&manager, "server_down", "unanswered.test:4730"), 1);
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

/// Takes its packets to a real one, and calls itself gearmand 2: that one gives a worker its functions in turn.
fn of_version_2(gearmand: &Gearmand) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (server, behind) = (listener.local_addr().unwrap().to_string(), gearmand.server());
    std::thread::spawn(move || {
        for mut here in listener.incoming().map_while(Result::ok) {
            let mut first = [0];
            if here.peek(&mut first).is_ok_and(|count| count == 1) && first == *b"v" {
                let mut question = [0; 8];
                here.read_exact(&mut question).unwrap();
                assert_eq!(&question, b"version\n");
                here.write_all(b"OK 2.0.1\n").unwrap();
                continue;
            }
            let Ok(there) = TcpStream::connect(&behind) else { continue };
            for (mut from, mut to) in
                [(here.try_clone().unwrap(), there.try_clone().unwrap()), (there.try_clone().unwrap(), here)]
            {
                std::thread::spawn(move || {
                    let _ = std::io::copy(&mut from, &mut to);
                    let _ = to.shutdown(std::net::Shutdown::Both);
                });
            }
        }
    });
    server
}

/// Of two servers only the one that ignores priorities is named, once, with the functions that have one.
#[test]
fn one_that_ignores_priorities_is_named() {
    let gearmand = Gearmand::start();
    let server = of_version_2(&gearmand);
    let setup = Setup::new(&[&gearmand.server(), &server])
        .plugin("act", &library())
        .plugin("reverse_string", &example("reverse_string"));
    let mut manager = setup.ini("count = 2\n[act]\npriority = 5").start();
    let warning = manager.wait_event("config_warning", |_| true);
    let text = warning["text"].as_str().unwrap();
    assert!(["2.0.1", "act", "priority", server.as_str()].iter().all(|part| text.contains(part)), "{text}");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    let warnings = manager.events().iter().filter(|event| event["event"] == "config_warning").count();
    assert_eq!(warnings, 1, "{:?}", manager.events());
}

/// The end of an old worker's connection may be seen before what a new one has sent: so it serves, and the old one
/// leaves, only when the server has answered what came after its functions.
#[test]
fn one_has_to_know_the_functions_before_it_is_asked_for_a_job() {
    let server = ScriptedServer::listen();
    let _manager = Setup::new(&[&server.server()]).plugin("act", &library()).ini("count = 1").start();
    let mut peer = server.accept();
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::CanDo { function: b"act" });
    let asked = peer.next(|packet| match packet {
        Request::EchoReq(data) => Ok(data.to_vec()),
        other => Err(format!("{other:?}")),
    });
    peer.encode(|buf| answer::echo_res(buf, &asked.unwrap()));
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
}
