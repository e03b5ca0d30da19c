//! A name server that knows where the job servers are, and can be made mute: then it takes questions and answers none.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// Answers until it is dropped. Whatever it is asked, it answers with the address of the test's job servers.
pub struct Resolver {
    address: IpAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct State {
    mute: AtomicBool,
    over: AtomicBool,
}

impl Resolver {
    /// At an address of this process's own; nothing where it may not serve port 53.
    pub fn start() -> Option<Self> {
        let [.., middle, low] = std::process::id().to_be_bytes();
        let address = IpAddr::V4(Ipv4Addr::new(127, 53, middle, low));
        let socket = UdpSocket::bind(SocketAddr::new(address, 53)).ok()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        let thread = std::thread::spawn(move || drop(serve(&socket, &shared)));
        Some(Self { address, state, thread: Some(thread) })
    }

    /// Where it is asked.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Whether it answers none from now on.
    pub fn set_mute(&self, mute: bool) {
        self.state.mute.store(mute, Ordering::Relaxed);
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::Relaxed);
        // Any packet has it look.
        let _ = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"?", (self.address, 53)));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn serve(socket: &UdpSocket, state: &State) -> io::Result<()> {
    let IpAddr::V4(known) = crate::support::gearmand::own_address() else { return Ok(()) };
    let mut question = [0; 512];
    loop {
        let (length, from) = socket.recv_from(&mut question)?;
        if state.over.load(Ordering::Relaxed) {
            return Ok(());
        }
        let answer = answer(&question[..length], known).filter(|_| !state.mute.load(Ordering::Relaxed));
        if let Some(answer) = answer {
            socket.send_to(&answer, from)?;
        }
    }
}

/// RFC 1035: the header and the question as they came, and an address where one of version 4 is asked for.
fn answer(question: &[u8], known: Ipv4Addr) -> Option<Vec<u8>> {
    /// Length of a header.
    const HEADER: usize = 12;
    const ADDRESS: [u8; 2] = [0, 1];
    let mut end = HEADER;
    while *question.get(end)? != 0 {
        end += usize::from(question[end]) + 1;
    }
    // The root's length, then type and class.
    let asked = question.get(end + 1..end + 5)?;
    let has_address = asked[..2] == ADDRESS;
    let mut answer = question[..2].to_vec();
    // A response to a standard query, recursion desired and available; one question, and one answer or none.
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(has_address), 0, 0, 0, 0]);
    answer.extend(&question[HEADER..end + 5]);
    if has_address {
        // The name is the one at the question; type, class, seconds to live, length, address.
        answer.extend([0xc0, HEADER as u8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(known.octets());
    }
    Some(answer)
}

#[test]
fn an_address_is_known_of_version_4_alone() {
    let ask = |kind: u8| [b"\x12\x34\x01\0\0\x01\0\0\0\0\0\0\x03js1\x04test\0\0".as_slice(), &[kind, 0, 1]].concat();
    let [v4, v6] = [1, 28].map(|kind| answer(&ask(kind), Ipv4Addr::new(127, 1, 2, 3)).unwrap());
    assert!(v4.starts_with(b"\x12\x34\x81\x80\0\x01\0\x01") && v4.ends_with(&[0, 4, 127, 1, 2, 3]));
    assert!(v6.starts_with(b"\x12\x34\x81\x80\0\x01\0\0") && v6.len() == ask(28).len());
    assert_eq!(answer(b"?", Ipv4Addr::LOCALHOST), None);
}
