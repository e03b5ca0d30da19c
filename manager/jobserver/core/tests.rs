//! What only the core can show; the tests of what peers see are in `tests/jobserver`, which also run against gearmand.

use std::net::Ipv4Addr;

use super::*;
use crate::gearman::packet::{Priority, Submission, SubmittedJob, encode};

const CLIENT: ConnectionId = ConnectionId(1);
const WORKER: ConnectionId = ConnectionId(2);
const FOREGROUND: Submission = Submission::Foreground(Priority::Normal);
const BACKGROUND: Submission = Submission::Background(Priority::Normal);

fn core(queued: usize, held: usize) -> ServerCore {
    let identity = ServerIdentity { host: "here".into(), version: "1.1.20+test".into(), pid: 7 };
    let mut core = ServerCore::new(identity, ServerLimits { queued, held });
    for id in [CLIENT, WORKER] {
        core.opened(id, Ipv4Addr::LOCALHOST.into());
    }
    core
}

/// The replies to one request, as text.
fn ask(core: &mut ServerCore, from: ConnectionId, request: Request<'_>) -> Vec<(u64, String)> {
    core.handle(from, request).into_iter().map(|(to, answer)| (to.0, shown(&answer))).collect()
}

/// The type's number and the arguments.
fn shown(answer: &ServerReply) -> String {
    let bytes = answer.to_bytes();
    format!("{} {}", bytes[7], bytes[12..].escape_ascii())
}

fn submit(core: &mut ServerCore, how: Submission, function: &[u8], unique: &[u8], workload: &[u8]) -> String {
    let job = SubmittedJob { function, unique, workload };
    let answers = ask(core, CLIENT, Request::Submit { how, job });
    answers.into_iter().find(|(to, _)| *to == CLIENT.0).unwrap().1
}

const FULL: &str = r"19 QUEUE_ERROR\x00Job queue is full";

#[test]
fn jobs_and_those_who_wait_are_counted_together() {
    let mut core = core(4, 1000);
    assert_eq!(submit(&mut core, FOREGROUND, b"f", b"u", b""), "8 H:here:1");
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"", b""), "8 H:here:2");
    // The same client waits twice.
    assert_eq!(submit(&mut core, FOREGROUND, b"f", b"u", b""), "8 H:here:1");
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"", b""), FULL);
    assert_eq!(submit(&mut core, FOREGROUND, b"f", b"u", b""), FULL);
    // An answer that the job exists already costs no capacity.
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"u", b""), "8 H:here:1");
    ask(&mut core, WORKER, Request::CanDo { function: b"f" });
    ask(&mut core, WORKER, Request::GrabJob);
    let packets = ask(&mut core, WORKER, Request::WorkComplete { handle: b"H:here:1", data: b"r" });
    assert_eq!(packets, [(1, r"13 H:here:1\x00r".to_owned()), (1, r"13 H:here:1\x00r".to_owned())]);
    assert_eq!(submit(&mut core, FOREGROUND, b"f", b"", b""), "8 H:here:3");
}

#[test]
fn what_jobs_hold_is_counted() {
    let mut core = core(100, 100);
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"u", &[b'x'; 60]), "8 H:here:1");
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"", &[b'x'; 40]), FULL);
    assert_eq!(submit(&mut core, FOREGROUND, b"f", b"", &[b'x'; 39]), "8 H:here:2");
    core.closed(CLIENT);
    core.opened(CLIENT, Ipv4Addr::LOCALHOST.into());
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"", &[b'x'; 39]), "8 H:here:3");
}

#[test]
fn a_job_that_was_also_left_in_the_background_outlives_its_client() {
    let mut core = core(100, 1000);
    for (unique, how) in [(b"alone", FOREGROUND), (b"joins", FOREGROUND), (b"joins", BACKGROUND)] {
        submit(&mut core, how, b"f", unique, b"");
    }
    core.closed(CLIENT);
    ask(&mut core, WORKER, Request::CanDo { function: b"f" });
    let assigned = [(2, r"31 H:here:2\x00f\x00joins\x00".to_owned())];
    assert_eq!(ask(&mut core, WORKER, Request::GrabJobUniq), assigned);
    assert_eq!(ask(&mut core, WORKER, Request::GrabJobUniq), [(2, "10 ".to_owned())]);
}

#[test]
fn names_are_kept_until_there_are_too_many() {
    let mut core = core(20_000, 1 << 20);
    let name = |number: usize| number.to_string().into_bytes();
    for number in 0..10_000 {
        assert_eq!(ask(&mut core, WORKER, Request::CanDo { function: &name(number) }), []);
    }
    let refused = [(2, r"19 QUEUE_ERROR\x00There are too many functions".to_owned())];
    assert_eq!(ask(&mut core, WORKER, Request::CanDo { function: b"0" }), refused);
    assert_eq!(submit(&mut core, BACKGROUND, b"new", b"", b""), refused[0].1);
    ask(&mut core, WORKER, Request::CantDo { function: b"7" });
    let listed = |core: &ServerCore| core.command(b"status").to_bytes().split(|byte| *byte == b'\n').count() - 2;
    assert_eq!(listed(&core), 10_000);
    assert_eq!(submit(&mut core, BACKGROUND, b"new", b"", b""), "8 H:here:1");
    assert_eq!(listed(&core), 10_000);
    let long = vec![b'f'; 2049];
    assert!(ask(&mut core, WORKER, Request::CanDo { function: &long })[0].1.starts_with("19 ARGUMENT_TOO_LARGE"));
    assert!(submit(&mut core, BACKGROUND, &long, b"", b"").starts_with("19 ARGUMENT_TOO_LARGE"));
}

#[test]
fn jobs_for_later_are_queued_when_released() {
    let mut core = core(100, 1000);
    assert_eq!(core.next_due(), None);
    ask(&mut core, WORKER, Request::CanDo { function: b"f" });
    ask(&mut core, WORKER, Request::PreSleep);
    for at in [50, 40, 60] {
        submit(&mut core, Submission::At(at), b"f", b"", b"");
    }
    assert_eq!(core.next_due(), Some(40));
    assert_eq!(core.release(39), []);
    assert_eq!(ask(&mut core, WORKER, Request::GrabJob), [(2, "10 ".to_owned())]);
    ask(&mut core, WORKER, Request::PreSleep);
    let woken: Vec<String> = core.release(55).iter().map(|(_, answer)| shown(answer)).collect();
    assert_eq!(woken, ["6 "]);
    assert_eq!(core.next_due(), Some(60));
    assert_eq!(ask(&mut core, WORKER, Request::GrabJob), [(2, r"11 H:here:2\x00f\x00".to_owned())]);
    assert_eq!(core.command(b"status").to_bytes(), b"f\t3\t1\t1\n.\n");
}

#[test]
fn handles_are_taken_literally() {
    let mut core = core(100, 1000);
    submit(&mut core, BACKGROUND, b"f", b"", b"");
    for (handle, known) in [
        (&b"H:here:1"[..], '1'),
        (b"H:here:1\0x", '1'),
        (b"H:here:01", '0'),
        (b"H:here:+1", '0'),
        (b"H:here:2", '0'),
        (b"H:here:", '0'),
        (b"H:there:1", '0'),
        (b"H:here:99999999999999999999", '0'),
        (b"\xff", '0'),
        (b"", '0'),
    ] {
        let answers = ask(&mut core, CLIENT, Request::GetStatus { handle });
        let (_, answer) = &answers[0];
        assert_eq!(answer.split(r"\x00").nth(1), Some(known.to_string().as_str()), "{answer}");
    }
}

#[test]
fn a_long_or_odd_host_name_keeps_handles_short() {
    let host = format!("a b\0{}", "h".repeat(100));
    let identity = ServerIdentity { host, version: String::new(), pid: 1 };
    let mut core = ServerCore::new(identity, ServerLimits { queued: 1, held: 1 });
    core.opened(CLIENT, Ipv4Addr::LOCALHOST.into());
    let handle = format!("8 H:ab{}:1", "h".repeat(38));
    assert_eq!(submit(&mut core, BACKGROUND, b"f", b"", b""), handle);
}

#[test]
fn a_listing_cannot_be_forged() {
    let mut core = core(100, 1000);
    ask(&mut core, WORKER, Request::SetClientId(b"a\n.\n\x1b"));
    ask(&mut core, WORKER, Request::CanDo { function: b"f\n.\n" });
    assert_eq!(core.command(b"WORKERS").to_bytes(), b"1 127.0.0.1 - :\n2 127.0.0.1 a?.?? : f?.?\n.\n");
    assert_eq!(core.command(b"status\r").to_bytes(), b"f?.?\t0\t0\t1\n.\n");
    assert_eq!(core.command(b"n\x1bope really").to_bytes(), b"ERR UNKNOWN_COMMAND Unknown+server+commandn?ope\r\n");
    assert_eq!(core.command(b"version").to_bytes(), b"OK 1.1.20+test\n");
    assert_eq!(core.command(b"getpid").to_bytes(), b"OK 7\n");
}

#[test]
fn what_was_never_connected_is_not_answered() {
    let mut core = core(100, 1000);
    assert_eq!(core.handle(ConnectionId(9), Request::EchoReq(b"")), []);
    assert_eq!(core.closed(ConnectionId(9)), []);
}

#[test]
fn an_echo_is_its_data() {
    let mut core = core(100, 1000);
    let mut wanted = Vec::new();
    encode::echo_req(&mut wanted, b"a\0b").unwrap();
    wanted[3] = b'S';
    wanted[7] = 17;
    assert_eq!(core.handle(CLIENT, Request::EchoReq(b"a\0b"))[0].1.to_bytes(), wanted);
}
