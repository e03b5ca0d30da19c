//! Job servers that send nonsense, or valid packets at the wrong moment: the worker serves what it can read, closes the
//! connection for the rest with one log line, and lives on.

use gm_native::gearman::packet::{AssignedJob, Request, answer};

use crate::fixture::{Job, library, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::{Peer, ScriptedServer};

/// A manager with one worker for `act`, and the job server the test plays.
fn played(ini: &str) -> (ScriptedServer, Manager) {
    let server = ScriptedServer::listen();
    let manager = Setup::new(&[&server.server()]).plugin("act", &library()).ini(ini).start();
    (server, manager)
}

/// A header that may lie.
fn header(magic: &[u8; 4], kind: u32, length: u32) -> Vec<u8> {
    [&magic[..], &kind.to_be_bytes(), &length.to_be_bytes()].concat()
}

/// Assigns a job and expects its result, under its own handle.
#[track_caller]
fn serves(peer: &mut Peer, handle: &[u8], text: &str) {
    peer.assign(handle, b"act", format!("say {text}").as_bytes());
    assert_eq!(peer.next_end(), (handle.to_vec(), Some(text.as_bytes().to_vec())));
}

/// S5: nothing depends on where a stream of packets is cut.
#[test]
fn packets_in_pieces_and_together_are_understood() {
    let (server, _manager) = played("");
    let mut peer = server.accept();
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    let job = |handle: &'static [u8], workload: &'static [u8]| {
        let mut packet = Vec::new();
        let job = AssignedJob { handle, function: b"act", unique: b"u", workload };
        answer::job_assign_uniq(&mut packet, &job).unwrap();
        packet
    };
    answer::NO_JOB.iter().for_each(|byte| peer.send(&[*byte]));
    peer.skip_to(|packet| packet == Request::CanDo { function: b"act" });
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    job(b"H:slow:1", b"say by the byte").iter().for_each(|byte| peer.send(&[*byte]));
    assert_eq!(peer.next_end(), (b"H:slow:1".to_vec(), Some(b"by the byte".to_vec())));
    let together = [answer::NOOP.to_vec(), job(b"H:a", b"say 1"), job(b"H:b", b"say 2"), job(b"H:c", b"say 3")];
    let (all, cut) = (together.concat(), together[0].len() + together[1].len() + 5);
    peer.send(&all[..cut]);
    assert_eq!(peer.next_end(), (b"H:a".to_vec(), Some(b"1".to_vec())));
    peer.send(&all[cut..]);
    assert_eq!(peer.next_end(), (b"H:b".to_vec(), Some(b"2".to_vec())));
    assert_eq!(peer.next_end(), (b"H:c".to_vec(), Some(b"3".to_vec())));
}

/// S5: what cannot be read ends the connection with one sentence; the worker lives, comes back, and serves.
#[test]
fn what_is_no_packet_ends_the_connection_and_nothing_else() {
    let (server, manager) = played("");
    let mut peer = server.accept_worker();
    let before = workers(&manager);
    let request = header(b"\0REQ", 30, 0);
    let short = [header(b"\0RES", 31, 4), b"H:1\0".to_vec()].concat();
    for (bytes, sentence) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "a packet began with \"HTTP\" instead of"),
        (request, "REQ\" instead of"),
        (header(b"\0RES", 17, u32::MAX), "claims 4294967295 bytes, more than max_packet allows"),
        (header(b"\0RES", 4_000_000, 0), "is of type 4000000, which the Gearman protocol does not have"),
        (header(b"\0RES", 30, 0), "a GRAB_JOB_UNIQ packet came as a response"),
        (short, "a JOB_ASSIGN_UNIQ packet has 2 of its 4 arguments"),
    ] {
        peer.send(&bytes);
        peer.wait_closed();
        let down = manager.wait_event("server_down", |event| event["reason"].as_str().unwrap().contains(sentence));
        assert!(down["reason"].as_str().unwrap().starts_with("the job server sent nonsense: "), "{down}");
        manager.wait_log(sentence);
        let lines = manager.log().lines().filter(|line| line.contains(sentence)).count();
        assert_eq!(lines, 1, "of {sentence:?}:\n{}", manager.log());
        peer = server.accept_worker();
        serves(&mut peer, b"H:back:1", "back");
    }
    assert_eq!(workers(&manager), before, "no worker had a reason to end");
}

/// S5, in answer to the greeting already: others are served meanwhile, and it is logged once.
#[test]
fn a_server_of_another_protocol_delays_nobody() {
    let (other, gearmand) = (ScriptedServer::listen(), Gearmand::start());
    let setup = Setup::new(&[&other.server(), &gearmand.server()]).plugin("act", &library());
    let manager = setup.start();
    for number in 0..5 {
        let mut peer = other.accept();
        peer.send(b"220 mail.example.org ESMTP ready\r\n");
        peer.wait_closed();
        let number = number.to_string();
        assert_eq!(Job::act(&gearmand, "", &format!("say {number}")).result(), number.into_bytes());
    }
    manager.wait_event("server_down", |event| event["reason"].as_str().unwrap().contains("220 "));
    let downs = manager.events().iter().filter(|event| event["event"] == "server_down").count();
    assert_eq!(downs, 1, "{:?}", manager.events());
}

/// S6: each is run, or refused, under the handle it came with.
#[test]
fn jobs_that_were_not_asked_for_are_not_confused() {
    let (server, manager) = played("");
    let mut peer = server.accept_worker();
    let before = workers(&manager);
    // Asked for once.
    peer.assign(b"H:x:1", b"act", b"say one");
    peer.assign(b"H:x:1", b"act", b"say two");
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(b"one".to_vec())));
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(b"two".to_vec())));
    // Not at all: it is asleep.
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::PreSleep);
    serves(&mut peer, b"H:x:2", "unasked");
    // For a function that was never offered.
    peer.assign(b"H:x:3", b"other", b"say wrong");
    let failure_reason = |packet: Request<'_>| match packet {
        Request::WorkWarning { handle: b"H:x:3", data } => Some(String::from_utf8_lossy(data).into_owned()),
        _ => None,
    };
    let reason = loop {
        if let Some(reason) = peer.next(failure_reason) {
            break reason;
        }
    };
    assert_eq!(reason, "this worker does not serve the function other\n");
    assert_eq!(peer.next_end(), (b"H:x:3".to_vec(), None));
    serves(&mut peer, b"H:x:4", "after it");
    assert_eq!(workers(&manager), before);
}

/// S6: in answer to the greeting, before any function was offered: the server counts as one that answers.
#[test]
fn a_job_in_answer_to_the_greeting_is_run_too() {
    let (server, manager) = played("");
    let mut peer = server.accept();
    peer.skip_to(|packet| packet == Request::GrabJobUniq);
    serves(&mut peer, b"H:x:1", "early");
    peer.skip_to(|packet| packet == Request::CanDo { function: b"act" });
    manager.wait_event("server_up", |_| true);
    crate::fixture::wait_serving(&manager, "act");
}

/// S6: handles are bytes, and of any length; none forges a line of the log, and none stands for another's job.
#[test]
fn any_handle_is_used_as_the_server_sends_it() {
    let (server, mut manager) = played("");
    let mut peer = server.accept_worker();
    let long = [b'h'; 1024];
    let forged = b"H:x\n2026-01-01 00:00:00.000000 1 ERROR forged".as_slice();
    for handle in [&long[..], forged, b"\xff\xfe\x1b[2J", b" ", b""] {
        serves(&mut peer, handle, "same");
    }
    assert!(!manager.log().lines().any(|line| line.starts_with("2026-01-01")), "{}", manager.log());
    // It does not fit the page: nobody answers for a job that cannot be named, its server gives it to somebody else.
    for handle in [&long[..], b""] {
        manager.mark();
        peer.assign(handle, b"act", b"segv");
        let answered = |packet: Request<'_>| matches!(packet, Request::WorkFail { .. } | Request::WorkComplete { .. });
        while let Some(was) = peer.try_next(answered) {
            assert!(!was, "somebody answered");
        }
        manager.wait_event("worker_died", |event| event["disposition"] == "requeued");
        peer = server.accept_worker();
        serves(&mut peer, handle, "again");
    }
}

/// S10: of two servers each has its own `H:x:1`: what a worker's death costs one of the jobs is nothing to the other.
#[test]
fn the_same_handle_of_two_servers_is_two_jobs() {
    let servers = [ScriptedServer::listen(), ScriptedServer::listen()];
    let [first, second] = servers.each_ref().map(ScriptedServer::server);
    let setup = Setup::new(&[&first, &second]).plugin("act", &library());
    let manager = setup.ini("max_attempts = 2").start();
    let deaths = |count: usize| {
        crate::support::wait::wait_for("a death", crate::support::wait::DEADLINE, || {
            let died = manager.events().into_iter().filter(|event| event["event"] == "worker_died");
            let died: Vec<_> = died.map(|event| event["disposition"].as_str().unwrap().to_owned()).collect();
            (died.len() == count).then_some(died)
        })
    };
    let mut dispositions = Vec::new();
    for (number, turn) in [0, 1, 0].into_iter().enumerate() {
        // Whichever is asked first; the other answers that there is nothing.
        let mut peers = servers.each_ref().map(ScriptedServer::accept);
        for peer in &mut peers {
            peer.skip_to(|packet| packet == Request::GrabJobUniq);
            peer.send(&answer::NO_JOB);
            peer.skip_to(|packet| packet == Request::CanDo { function: b"act" });
        }
        // Jobs without a unique id are told apart by their workloads, too.
        let workload = format!("say {turn}\nsegv");
        peers[turn].assign(b"H:x:1", b"act", workload.as_bytes());
        dispositions = deaths(number + 1);
    }
    assert_eq!(dispositions, ["requeued", "requeued", "failed"]);
}
