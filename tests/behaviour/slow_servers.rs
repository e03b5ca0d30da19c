//! Job servers from which, or to which, bytes come slowly: nothing is lost for it, and nobody else waits.

use std::time::Duration;

use gm_native::gearman::packet::{AssignedJob, Request, answer};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::library;
use crate::support::manager::{Manager, Setup};
use crate::support::scripted_server::{Peer, ScriptedServer};

fn played(servers: &[&ScriptedServer], ini: &str) -> Manager {
    let servers: Vec<String> = servers.iter().map(|server| server.server()).collect();
    let servers: Vec<&str> = servers.iter().map(String::as_str).collect();
    Setup::new(&servers).plugin("act", &library()).ini(ini).start()
}

/// A packet with a job whose workload is so long, and which returns those bytes or a word.
fn job(handle: &[u8], length: usize, returned: bool) -> (Vec<u8>, Vec<u8>) {
    let mut text = b"abcdefghijklmnopqrstuvw".repeat(length.div_ceil(23));
    text.truncate(length);
    let (last, result) = if returned { (&b""[..], text.clone()) } else { (&b"\nsay done"[..], b"done".to_vec()) };
    let workload = [b"say ", text.as_slice(), last].concat();
    let mut packet = Vec::new();
    answer::job_assign_uniq(&mut packet, &AssignedJob { handle, function: b"act", unique: b"u", workload: &workload })
        .unwrap();
    (packet, result)
}

/// Sends in pieces with pauses between, as a network does.
fn send_slowly(peer: &mut Peer, bytes: &[u8], pieces: usize, pause: Duration) {
    for piece in bytes.chunks(bytes.len().div_ceil(pieces)) {
        peer.send(piece);
        std::thread::sleep(pause);
    }
}

/// Assigns the job so slowly, and expects its result over the same connection.
#[track_caller]
fn comes_slowly(peer: &mut Peer, length: usize, pieces: usize, pause: u64) {
    let (packet, result) = job(b"H:slow:1", length, length < 10_000_000);
    send_slowly(peer, &packet, pieces, Duration::from_millis(pause));
    let end = peer.next_end();
    assert!(end == (b"H:slow:1".to_vec(), Some(result)), "{length} bytes, pauses of {pause} ms");
}

/// S16: all over one connection.
#[test]
fn a_workload_that_arrives_with_pauses_is_received() {
    let server = ScriptedServer::listen();
    // Long enough for a test that has no processor for a while.
    let manager = played(&[&server], "echo_timeout = 60");
    let mut peer = server.accept_worker();
    for (length, pieces, pause) in
        [(100_000, 20, 12), (100_000, 2, 1_000), (70_000, 3, 25), (5_000_000, 10, 30), (100_000_000, 4, 30)]
    {
        comes_slowly(&mut peer, length, pieces, pause);
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}

/// S16: 64 KB/s, for several times as long as an ECHO is waited for: its answer comes behind all of that.
#[test]
fn bytes_that_come_are_a_sign_of_life() {
    let server = ScriptedServer::listen();
    let manager = played(&[&server], "echo_timeout = 1\necho_interval = 100ms");
    let mut peer = server.accept_worker();
    comes_slowly(&mut peer, 160_000, 50, 60);
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}

/// S16: the parts of several packets at a time, on several connections.
#[test]
fn parts_of_packets_of_many_servers_are_kept_apart() {
    let servers: [ScriptedServer; 4] = std::array::from_fn(|_| ScriptedServer::listen());
    let manager = played(&servers.each_ref(), "");
    let mut peers = servers.each_ref().map(ScriptedServer::accept);
    for peer in &mut peers {
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        peer.send(&answer::NO_JOB);
        peer.skip_to(|packet| matches!(packet, Request::CanDo { .. }));
    }
    let streams: Vec<_> = (0..peers.len())
        .map(|n| {
            let (first, one) = job(format!("H:{n}:1").as_bytes(), 100_000 + n, true);
            let (second, two) = job(format!("H:{n}:2").as_bytes(), 300_000 + n, true);
            ([first, answer::NOOP.to_vec(), second].concat(), [one, two])
        })
        .collect();
    let longest = streams.iter().map(|(stream, _)| stream.len()).max().unwrap();
    for at in (0..longest).step_by(65_000) {
        for (peer, (stream, _)) in peers.iter_mut().zip(&streams) {
            peer.send(&stream[at.min(stream.len())..(at + 65_000).min(stream.len())]);
        }
    }
    for (n, (peer, (_, results))) in peers.iter_mut().zip(streams).enumerate() {
        for (number, result) in (1..).zip(results) {
            assert!(peer.next_end() == (format!("H:{n}:{number}").into_bytes(), Some(result)), "job {number} of {n}");
        }
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "server_down"), "{:?}", manager.events());
}

/// S7, S16: what others send while a result is being sent is read, however long it is; so is what the very server sends,
/// which may wait with reading until it is.
#[test]
fn what_arrives_while_a_result_is_being_sent_is_read() {
    const SIZE: usize = 30_000_000;
    let servers = [ScriptedServer::listen(), ScriptedServer::listen()];
    let _manager = played(&servers.each_ref(), "");
    let mut peers = servers.each_ref().map(ScriptedServer::accept);
    for peer in &mut peers {
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        peer.send(&answer::NO_JOB);
        peer.skip_to(|packet| matches!(packet, Request::CanDo { .. }));
    }
    let [slow, other] = &mut peers;
    slow.assign(b"H:slow:1", b"act", format!("size {SIZE}").as_bytes());
    let (packet, _) = job(b"H:other:1", SIZE, false);
    other.send(&packet);
    slow.send(&packet);
    let (handle, result) = slow.next_end();
    assert_eq!((handle.as_slice(), result.map(|result| result.len())), (&b"H:slow:1"[..], Some(SIZE)));
    assert_eq!(other.next_end(), (b"H:other:1".to_vec(), Some(b"done".to_vec())));
    assert_eq!(slow.next_end(), (b"H:other:1".to_vec(), Some(b"done".to_vec())));
}

/// S18: over the same connection, although a GRAB comes behind it and nothing is heard for longer than an answer may
/// take. Nor does the time that sending takes count as the job's.
#[test]
fn a_result_read_slowly_is_no_silence() {
    let server = ScriptedServer::with_little_room();
    let manager =
        played(&[&server], "echo_timeout = 1500ms\necho_interval = 100ms\ntimeout = 2\ntimeout_grace = 100ms");
    let mut peer = server.accept_worker();
    // More than the kernel holds, and less.
    for (handle, size, pace) in [(&b"H:slow:1"[..], 12_000_000, 100_000), (b"H:slow:2", 2_000_000, 20_000)] {
        peer.assign(handle, b"act", format!("size {size}").as_bytes());
        peer.pace = Some((pace, Duration::from_millis(25)));
        peer.skip_to(|packet| matches!(packet, Request::WorkComplete { data, .. } if data.len() == size));
        peer.pace = None;
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
    }
    let is_wrong =
        |event: &Value| ["server_down", "job_overdue", "worker_died"].iter().any(|name| event["event"] == *name);
    assert!(!manager.events().iter().any(is_wrong), "{:?}", manager.events());
}

/// S18: nor does a stop cut it, however little time there is for the last ECHO.
#[test]
fn a_result_read_slowly_is_not_cut_by_a_stop() {
    const SIZE: usize = 3_000_000;
    let server = ScriptedServer::with_little_room();
    let mut manager = played(&[&server], "stop_timeout = 1");
    let mut peer = server.accept_worker();
    let gate = crate::fixture::path(&manager, "gate");
    peer.assign(b"H:slow:1", b"act", format!("wait {gate}\nsize {SIZE}").as_bytes());
    crate::fixture::wait_busy(&manager, "H:slow:1");
    manager.signal(nix::sys::signal::Signal::SIGTERM);
    manager.wait_event("worker_draining", |_| true);
    crate::fixture::touch(&gate);
    peer.pace = Some((32_000, Duration::from_millis(25)));
    peer.skip_to(|packet| matches!(packet, Request::WorkComplete { data, .. } if data.len() == SIZE));
    peer.pace = None;
    // The ECHO that proves it.
    peer.skip_to(|packet| packet == Request::EchoReq(b"draining"));
    assert!(manager.wait_exit().success());
    assert!(!manager.log().contains("no answer to the last ECHO"), "{}", manager.log());
}

/// S11, S16: a worker that has to drain meanwhile waits for it: a server would count it as one more attempt.
#[test]
fn a_workload_that_arrives_slowly_is_not_cut_by_a_deploy() {
    let server = ScriptedServer::listen();
    let manager = played(&[&server], "stop_timeout = 2");
    let mut peer = server.accept_worker();
    let (packet, result) = job(b"H:slow:1", 2_000_000, true);
    let (first, rest) = packet.split_at(1_000_000);
    peer.send(first);
    manager.signal(Signal::SIGHUP);
    let _heir = server.accept_worker();
    manager.wait_event("worker_draining", |_| true);
    // For longer than its last answers are waited for.
    send_slowly(&mut peer, rest, 10, Duration::from_millis(300));
    assert!(peer.next_end() == (b"H:slow:1".to_vec(), Some(result)));
}
