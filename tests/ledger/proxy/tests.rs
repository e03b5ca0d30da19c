//! The proxy does to connections what the test asks, and nothing else.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gm_native::gearman::packet::encode;
use tempfile::TempDir;

use super::{Condition, Cut, Network};
use crate::history::{self, Closer, History, Link, Party, Record};
use crate::support::gearmand::unused_server;
use crate::support::wait::{DEADLINE, wait_for};

const LINK: Link = Link { party: Party::Clients, server: 0 };

/// A network with one link, and both ends of a connection over it.
struct Pair {
    dir: TempDir,
    network: Network,
    address: String,
    server: TcpListener,
    near: TcpStream,
    far: TcpStream,
}

fn pair() -> Pair {
    let dir = TempDir::new().unwrap();
    let history = Arc::new(History::open(&dir.path().join("history")));
    let mut network = Network::start(history);
    let (address, upstream) = (unused_server(), unused_server());
    let server = TcpListener::bind(&upstream).unwrap();
    network.link(LINK, &address, &upstream);
    let near = connect(&address);
    let far = accept(&server);
    Pair { dir, network, address, server, near, far }
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

fn accept(server: &TcpListener) -> TcpStream {
    let stream = server.accept().unwrap().0;
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

impl Pair {
    /// Everything that is written from here on waits until this looks.
    fn closed(&self) -> Closer {
        wait_for("the record of a connection's end", DEADLINE, || {
            history::read(&self.dir.path().join("history")).into_iter().find_map(|entry| match entry.record {
                Record::Closed { by, .. } => Some(by),
                _ => None,
            })
        })
    }

    fn pass(&mut self, bytes: &[u8]) {
        self.near.write_all(bytes).unwrap();
        let mut got = vec![0; bytes.len()];
        self.far.read_exact(&mut got).unwrap();
        assert!(got == bytes, "what arrives is not what was sent");
    }
}

#[test]
fn bytes_pass_whole_in_every_condition() {
    let mut pair = pair();
    let bytes: Vec<u8> = (0..5000_u32).map(|place| (place % 251) as u8).collect();
    let conditions = [
        Condition::Pass,
        Condition::Delay(Duration::from_millis(1)),
        Condition::Throttle(1000),
        Condition::Split(7),
        Condition::Refuse,
    ];
    for condition in conditions {
        pair.network.set(LINK, condition);
        pair.pass(&bytes);
    }
}

#[test]
fn a_delay_and_a_throttle_take_their_time() {
    let mut pair = pair();
    pair.network.set(LINK, Condition::Delay(Duration::from_millis(30)));
    let begin = Instant::now();
    pair.pass(b"late");
    assert!(begin.elapsed() >= Duration::from_millis(30));
    pair.network.set(LINK, Condition::Throttle(100));
    let begin = Instant::now();
    pair.pass(&[0; 2000]);
    assert!(begin.elapsed() >= Duration::from_millis(18));
}

#[test]
fn nothing_passes_while_a_link_is_stalled() {
    let mut pair = pair();
    pair.network.set(LINK, Condition::Stall);
    pair.near.write_all(b"held").unwrap();
    pair.far.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let kind = pair.far.read(&mut [0; 4]).unwrap_err().kind();
    assert!([ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&kind), "{kind}");
    pair.far.set_read_timeout(Some(DEADLINE)).unwrap();
    pair.network.set(LINK, Condition::Pass);
    let mut got = [0; 4];
    pair.far.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"held");
}

#[test]
fn an_end_of_file_leaves_the_other_direction_open() {
    let mut pair = pair();
    pair.near.shutdown(Shutdown::Write).unwrap();
    assert_eq!(pair.far.read(&mut [0; 1]).unwrap(), 0);
    pair.far.write_all(b"still").unwrap();
    let mut got = [0; 5];
    pair.near.read_exact(&mut got).unwrap();
    assert_eq!(&got, b"still");
    pair.far.shutdown(Shutdown::Both).unwrap();
    assert_eq!(pair.near.read(&mut [0; 1]).unwrap(), 0);
    assert_eq!(pair.closed(), Closer::Party);
}

#[test]
fn a_server_that_goes_is_noticed_and_written_down() {
    let mut pair = pair();
    drop(pair.far);
    assert_eq!(pair.near.read(&mut [0; 1]).unwrap(), 0);
    drop(pair.near);
    pair.far = connect(&pair.address);
    pair.near = accept(&pair.server);
    assert_eq!(pair.closed(), Closer::Server);
}

#[test]
fn a_cut_is_a_close_or_a_reset_at_both_ends() {
    for cut in [Cut::Close, Cut::Reset] {
        let mut pair = pair();
        pair.pass(b"before");
        pair.network.cut(LINK, cut);
        let ends = [pair.near.read(&mut [0; 1]), pair.far.read(&mut [0; 1])];
        for end in ends {
            match cut {
                Cut::Close => assert_eq!(end.unwrap(), 0),
                Cut::Reset => assert_eq!(end.unwrap_err().kind(), ErrorKind::ConnectionReset),
            }
        }
        assert_eq!(pair.closed(), Closer::Cut);
    }
}

#[test]
fn a_link_that_refuses_ends_new_connections_only() {
    let mut pair = pair();
    pair.network.set(LINK, Condition::Refuse);
    let ended = connect(&pair.address).read(&mut [0; 1]);
    assert!(ended.is_err() || ended.is_ok_and(|count| count == 0));
    pair.pass(b"still here");
}

#[test]
fn assignments_are_seen_however_they_are_split() {
    let mut pair = pair();
    let assign = |unique: &str, workload: &[u8]| {
        let body = [b"H:h:1\0orders\0", unique.as_bytes(), b"\0", workload].concat();
        let length = u32::try_from(body.len()).unwrap().to_be_bytes();
        [b"\0RES".as_slice(), &31_u32.to_be_bytes(), &length, &body].concat()
    };
    let mut noise = Vec::new();
    encode::echo_req(&mut noise, b"no assignment").unwrap();
    let all = [assign("1.0", b""), noise, assign("2.0", &[b'x'; 3000]), assign("3.1", b"short")].concat();
    for size in [1, 13, 600, PIECES] {
        pair.network.set(LINK, Condition::Split(size));
        pair.far.write_all(&all).unwrap();
        pair.near.read_exact(&mut vec![0; all.len()]).unwrap();
    }
    let subs: Vec<String> = history::read(&pair.dir.path().join("history"))
        .into_iter()
        .filter_map(|entry| match entry.record {
            Record::Assigned { sub, .. } => Some(sub),
            _ => None,
        })
        .collect();
    assert_eq!(subs, ["1.0", "2.0", "3.1"].repeat(4));
}

/// As much as there is at once.
const PIECES: usize = super::PIECE;
