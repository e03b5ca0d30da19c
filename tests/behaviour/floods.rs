//! Job servers that send too much, or the same packet without end: a worker neither spins nor floods the log.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use gm_native::gearman::packet::{Priority, Request, Submission, answer};

use crate::fixture::{Job, acting, library, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::ScriptedServer;
use crate::support::wait::{DEADLINE, wait_for};

const FLOOD: usize = 100_000;

fn played(server: &ScriptedServer) -> Manager {
    Setup::new(&[&server.server()]).plugin("act", &library()).start()
}

/// S8: a NOOP means that there may be a job. A hundred thousand mean it once.
#[test]
fn a_flood_of_noops_makes_one_grab() {
    let server = ScriptedServer::listen();
    let manager = played(&server);
    let mut peer = server.accept_worker();
    peer.send(&answer::NO_JOB);
    peer.skip_to(|packet| packet == Request::PreSleep);
    peer.send(&answer::NOOP.repeat(FLOOD));
    peer.assign(b"H:x:1", b"act", b"say unasked");
    let mut asked = 0;
    loop {
        let (is_question, is_end) = peer.next(|packet| {
            (packet == Request::GrabJobUniq, matches!(packet, Request::WorkComplete { handle: b"H:x:1", .. }))
        });
        asked += usize::from(is_question);
        if is_end {
            break;
        }
    }
    assert_eq!(asked, 1);
    wait_serving(&manager, "act");
}

/// S8: the first errors are logged, the rest is counted; the worker goes on.
#[test]
fn a_flood_of_errors_is_a_few_lines() {
    let server = ScriptedServer::listen();
    let manager = played(&server);
    let mut peer = server.accept_worker();
    let mut error = Vec::new();
    answer::error(&mut error, b"flooded", b"I have\nmuch to say").unwrap();
    peer.send(&error.repeat(FLOOD));
    peer.assign(b"H:x:1", b"act", b"log after the flood\nsay served");
    assert_eq!(peer.next_end(), (b"H:x:1".to_vec(), Some(b"served".to_vec())));
    // Lines of a worker come in their order.
    manager.wait_log("after the flood");
    let log = manager.log();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("the error flooded")).collect();
    // A flood that takes longer than a period has a few lines more.
    assert!((10..=50).contains(&lines.len()), "{}", lines.len());
    assert!(lines[0].contains("I have\\nmuch to say"), "{}", lines[0]);
    assert!(lines[9].contains("no more of these for 10 s"), "{}", lines[9]);
    assert!(!log.contains("lines were lost") && !log.contains("lines lost"), "none got in the way of others");
}

/// S14: gearmand 1.1.20 answers such a pair with NO_JOB and NOOP without end. The worker waits between its questions, and
/// what can be done is done at once.
#[test]
fn a_job_for_later_beside_one_of_low_priority_is_not_asked_for_without_pause() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).verbosity("-vvvvv").start();
    wait_serving(&manager, "act");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let mut client = gearmand.client();
    for how in [Submission::At((now + Duration::from_secs(86_400)).as_secs()), Submission::Background(Priority::Low)] {
        client.submit(how, b"act", b"", b"say nothing").unwrap();
    }
    // By the clock of the lines themselves: without pauses a question follows the other within a millisecond.
    wait_for("pauses between two questions", DEADLINE, || {
        let times: Vec<f64> =
            manager.log().lines().filter(|line| line.contains(" is sent GRAB")).map(seconds).collect();
        (times.windows(2).filter(|pair| pair[1] - pair[0] > 0.045).count() >= 5).then_some(())
    });
    assert_eq!(Job::act(&gearmand, "", "say now").result(), b"now");
}

/// Since midnight, of a log line: `2026-11-24 12:00:00.123456`.
fn seconds(line: &str) -> f64 {
    let clock = line.split_whitespace().nth(1).unwrap().trim_end_matches(']');
    clock.split(':').fold(0.0, |sum, part| sum * 60.0 + part.parse::<f64>().unwrap())
}
