//! What only the embedded server promises: limits, sentences, and that it stops when asked.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use fastrand::Rng;
use gm_native::gearman::packet::{PacketType, Submission, encode};
use gm_native::jobserver::{ListenScope, Server, ServerOptions};

use crate::peer::{BACKGROUND, FOREGROUND, Peer, packet};
use crate::server::{Embedded, JobServer};

fn peer(server: &Embedded) -> Peer {
    Peer::connect(server.address)
}

/// The sentence that ended the only faulty connection so far, without the peer's address.
fn why(server: &Embedded) -> String {
    let notice = server.notice();
    let (who, why) = notice.split_once(" was closed: ").unwrap();
    assert!(who.starts_with("the connection from 127.0.0.1:"), "{notice}");
    why.to_owned()
}

#[test]
fn loopback_only_by_default() {
    let at = |address: &str| {
        Server::bind(address.parse().unwrap(), ServerOptions::default()).map(|server| server.local_addr())
    };
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let error = at(address).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(error.to_string().contains(&format!("is not bound to {address}: anybody")), "{error}");
    }
    for address in ["127.0.0.1:0", "127.9.9.9:0"] {
        let bound = at(address).unwrap();
        assert_ne!(bound.port(), 0);
    }
    let anywhere = ServerOptions { reach: ListenScope::Anywhere, ..ServerOptions::default() };
    let server = Server::bind("0.0.0.0:0".parse().unwrap(), anywhere).unwrap();
    assert!(server.announcement().contains("for development"));
}

#[test]
fn an_address_in_use_is_named() {
    let server = Embedded::start(ServerOptions::default());
    let error = Server::bind(server.address, ServerOptions::default()).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    let sentence = format!("cannot bind the job server for development to {}: ", server.address);
    assert!(error.to_string().starts_with(&sentence), "{error}");
}

#[test]
fn a_stopped_server_ends_its_connections_and_forgets() {
    let server = Embedded::start(ServerOptions::default());
    let address = server.address;
    let (mut client, mut worker) = (peer(&server), peer(&server));
    worker.offer(&["f"]);
    client.submit(FOREGROUND, "f", "", b"");
    worker.grab();
    drop(server);
    assert_eq!((client.try_next(), worker.try_next()), (None, None));
    let again = Embedded::start_at(address, ServerOptions::default());
    assert_eq!(peer(&again).submit(BACKGROUND, "f", "", b""), "JOB_CREATED #1");
    assert_eq!(peer(&again).command("status"), "f\t1\t0\t0\n.\n");
}

#[test]
fn it_runs_beside_other_tasks_of_one_thread() {
    let server = Server::bind("127.0.0.1:0".parse().unwrap(), ServerOptions::default()).unwrap();
    let address = server.local_addr();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    local.block_on(&runtime, async {
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let serving = tokio::task::spawn_local(server.run(async {
            let _ = stopped.await;
        }));
        let test = tokio::task::spawn_blocking(move || {
            let mut peer = Peer::connect(address);
            peer.quiet();
            assert_eq!(peer.submit(BACKGROUND, "f", "", b""), "JOB_CREATED #1");
        });
        test.await.unwrap();
        drop(stop);
        serving.await.unwrap().unwrap();
    });
}

#[test]
fn a_packet_that_breaks_the_protocol_is_answered_and_logged() {
    let server = Embedded::start(ServerOptions { max_packet: 1000, ..ServerOptions::default() });
    for (bytes, sentence) in [
        (b"\0REX\0\0\0\x10\0\0\0\0".to_vec(), r#"a packet began with "\x00REX" instead of"#),
        (b"\0REQ\xff\xff\xff\xff\0\0\0\0".to_vec(), "a packet is of type 4294967295, which"),
        (
            b"\0REQ\0\0\0\x10\xff\xff\xff\xff".to_vec(),
            "a ECHO_REQ packet claims 4294967295 bytes, more than max_packet",
        ),
        (b"\0REQ\0\0\0\x10\0\0\x03\xe9".to_vec(), "a ECHO_REQ packet claims 1001 bytes, more than max_packet"),
        (packet(PacketType::Noop, &[]), "a NOOP packet came as a request, which it cannot be"),
        (packet(PacketType::SubmitJob, &[b"f", b"u"]), "a SUBMIT_JOB packet has 2 of its 3 arguments"),
        (packet(PacketType::WorkComplete, &[b"H:x:1"]), "a WORK_COMPLETE packet has 1 of its 2 arguments"),
    ] {
        let mut peer = peer(&server);
        peer.send(&[packet(PacketType::EchoReq, &[b"before"]), bytes].concat());
        assert_eq!(peer.next(), "ECHO_RES before");
        let packet = peer.next();
        assert!(packet.starts_with(r"ERROR INVALID_PACKET\x00"), "{packet}");
        assert_eq!(peer.try_next(), None);
        drop(peer);
        let logged = why(&server);
        assert!(logged.starts_with(sentence), "{logged}");
    }
    let mut peer = peer(&server);
    peer.send(&[b'x'; 5000]);
    peer.half_close();
    assert!(why(&server).starts_with("a line of more than 4096 bytes"));
}

#[test]
fn a_client_that_does_not_read_is_disconnected_and_its_worker_is_not() {
    let server = Embedded::start(ServerOptions { max_backlog: 1 << 20, ..ServerOptions::default() });
    let (mut client, mut worker) = (peer(&server), peer(&server));
    worker.offer(&["f"]);
    client.submit(FOREGROUND, "f", "", b"");
    client.submit(FOREGROUND, "f", "", b"");
    worker.grab();
    let data = vec![b'd'; 1 << 20];
    // What sockets take on their own is a few MiB.
    for _ in 0..100 {
        worker.work(PacketType::WorkData, "#1", &[&data]);
    }
    assert_eq!(why(&server), "it reads too slowly: more bytes than max_backlog allows (1048576) wait for it");
    worker.work(PacketType::WorkComplete, "#1", &[b"r"]);
    worker.quiet();
    assert_eq!(worker.grab(), "NO_JOB");
}

#[test]
fn a_peer_that_sends_requests_and_does_not_read_is_disconnected() {
    let server = Embedded::start(ServerOptions { max_backlog: 1 << 20, ..ServerOptions::default() });
    let mut rude = peer(&server);
    let echo = packet(PacketType::EchoReq, &[&[b'e'; 1 << 20]]);
    // It may be cut off while it still writes.
    while rude.stream.write_all(&echo).is_ok() {}
    assert!(why(&server).starts_with("it reads too slowly"));
    peer(&server).quiet();
}

#[test]
fn a_disconnected_worker_loses_its_jobs() {
    let server = Embedded::start(ServerOptions { max_backlog: 1 << 20, ..ServerOptions::default() });
    let (mut client, mut slow, mut other) = (peer(&server), peer(&server), peer(&server));
    slow.offer(&["f"]);
    other.offer(&["f"]);
    let workload = vec![b'w'; 1 << 20];
    for _ in 0..50 {
        client.submit(BACKGROUND, "f", "", &workload);
    }
    slow.send(&packet(PacketType::GrabJob, &[]).repeat(50));
    assert!(why(&server).starts_with("it reads too slowly"));
    for _ in 0..50 {
        assert!(other.grab().starts_with("JOB_ASSIGN_UNIQ #"));
    }
    assert_eq!(other.grab(), "NO_JOB");
}

#[test]
fn a_full_queue_refuses_until_there_is_room() {
    let server = Embedded::start(ServerOptions { max_queued: 3, max_held: 100, ..ServerOptions::default() });
    let full = r"ERROR QUEUE_ERROR\x00Job queue is full";
    let (mut client, mut worker) = (peer(&server), peer(&server));
    assert_eq!(client.submit(BACKGROUND, "f", "", &[b'w'; 101]), full);
    assert_eq!(client.submit(FOREGROUND, "f", "", b"w"), "JOB_CREATED #1");
    assert_eq!(client.submit(FOREGROUND, "f", "", b"w"), full);
    assert_eq!(client.submit(BACKGROUND, "f", "", b"w"), "JOB_CREATED #2");
    assert_eq!(client.submit(BACKGROUND, "f", "", b"w"), full);
    worker.offer(&["f"]);
    worker.grab();
    worker.work(PacketType::WorkComplete, "#1", &[b""]);
    assert_eq!(client.next(), r"WORK_COMPLETE #1\x00");
    assert_eq!(client.submit(BACKGROUND, "f", "", b"w"), "JOB_CREATED #3");
}

#[test]
fn too_many_connections_are_closed_and_logged() {
    let server = Embedded::start(ServerOptions { max_connections: 2, ..ServerOptions::default() });
    let mut peers = [peer(&server), peer(&server)];
    peers.iter_mut().for_each(Peer::quiet);
    assert_eq!(peer(&server).try_next(), None);
    assert_eq!(why(&server), "max_connections allows 2");
    let [first, mut second] = peers;
    drop(first);
    second.quiet();
    // A closed connection is counted until its task has ended.
    crate::support::wait::wait_for("room", crate::support::wait::DEADLINE, || {
        let mut peer = peer(&server);
        let _ = peer.stream.write_all(&packet(PacketType::EchoReq, &[b"in"]));
        (peer.try_next().as_deref() == Some("ECHO_RES in")).then_some(())
    });
}

#[test]
fn a_sleeper_is_woken_when_a_job_for_later_is_due() {
    let server = JobServer::embedded();
    let (mut client, mut worker) = (server.peer(), server.worker(&["f"]));
    worker.sleep();
    let soon = SystemTime::now() + Duration::from_secs(1);
    let seconds = soon.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    // One that is due much later does not stand in its way.
    client.submit(Submission::At(seconds + 100_000), "f", "", b"");
    assert_eq!(client.submit(Submission::At(seconds), "f", "u", b"w"), "JOB_CREATED #2");
    assert_eq!(worker.next(), "NOOP");
    assert!(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() >= seconds);
    assert_eq!(worker.grab(), r"JOB_ASSIGN_UNIQ #2\x00f\x00u\x00w");
}

/// Valid packets with bytes changed, left out and put in, and plain noise: whatever comes, others are served, and no
/// worker and no running job of it is left when it has gone.
#[test]
fn noise_leaves_nothing_behind() {
    let server = JobServer::embedded();
    let mut random = Rng::with_seed(7);
    for _ in 0..300 {
        let mut bytes = Vec::new();
        for _ in 0..random.usize(1..20) {
            let kind = PacketType::ALL[random.usize(..PacketType::ALL.len())];
            let pieces: [&[u8]; 6] = [b"f", b"", b"H:x:1", b"1", b"-", &[0xff; 70]];
            let arguments: Vec<&[u8]> = (0..random.usize(..9)).map(|_| pieces[random.usize(..6)]).collect();
            bytes.extend(packet(kind, &arguments));
        }
        for _ in 0..random.usize(..4) {
            let at = random.usize(..bytes.len());
            match random.u8(..3) {
                0 => bytes[at] = random.u8(..),
                1 => bytes.insert(at, random.u8(..)),
                _ => drop(bytes.drain(at..(at + random.usize(1..9)).min(bytes.len()))),
            }
            bytes.push(0);
        }
        let mut stream = std::net::TcpStream::connect(server.server().parse::<SocketAddr>().unwrap()).unwrap();
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    }
    server.wait_connections(0);
    let mut peer = server.peer();
    peer.quiet();
    let listing = peer.command("status");
    for line in listing.lines().filter(|line| *line != ".") {
        let fields: Vec<&str> = line.rsplit('\t').collect();
        assert_eq!(fields[..2], ["0", "0"], "{listing}");
    }
}

/// What a worker does that drains: it needs no more than its own connection.
#[test]
fn many_workers_at_once() {
    let server = Embedded::start(ServerOptions::default());
    let mut workers: Vec<Peer> = (0..500).map(|_| peer(&server)).collect();
    for worker in &mut workers {
        worker.encode(|buf| encode::can_do(buf, b"f"));
        worker.send(&encode::PRE_SLEEP);
    }
    workers.iter_mut().for_each(Peer::quiet);
    let mut client = peer(&server);
    for number in 1..=500 {
        assert_eq!(client.submit(FOREGROUND, "f", "", b""), format!("JOB_CREATED #{number}"));
    }
    for worker in &mut workers {
        assert_eq!(worker.next(), "NOOP");
        let assigned = worker.grab();
        let handle = assigned.split([' ', '\\']).nth(1).unwrap().to_owned();
        worker.work(PacketType::WorkComplete, &handle, &[b""]);
        assert_eq!(client.next(), format!(r"WORK_COMPLETE {handle}\x00"));
    }
}
