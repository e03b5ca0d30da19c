//! A client or worker that the test scripts packet by packet, with packets shown as text.

use std::io::Read;
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::{Deref, DerefMut};

use gm_native::gearman::packet::{Magic, PacketType, Priority, Submission, encode};
use nix::unistd::gethostname;

use crate::support::wire::Wire;

pub const FOREGROUND: Submission = Submission::Foreground(Priority::Normal);
pub const BACKGROUND: Submission = Submission::Background(Priority::Normal);

/// A connection to the server.
pub struct Peer(Wire);

impl Peer {
    #[track_caller]
    pub fn connect(address: SocketAddr) -> Self {
        Self(Wire::new(TcpStream::connect(address).unwrap(), Magic::Response))
    }

    /// Sends a packet of any type, its arguments joined by NULs.
    #[track_caller]
    pub fn packet(&mut self, kind: PacketType, arguments: &[&[u8]]) {
        self.send(&packet(kind, arguments));
    }

    /// The next packet: its type, then its body escaped. `H:`, the host and a colon, which is how each handle begins,
    /// are shown as `#`.
    #[track_caller]
    pub fn next(&mut self) -> String {
        self.try_next().expect("no packet came: the server closed the connection, or sent nothing")
    }

    /// `None` at the end of the connection.
    pub fn try_next(&mut self) -> Option<String> {
        let (kind, body) = self.next_body()?;
        let handles = format!("H:{}:", gethostname().unwrap().to_str().unwrap());
        Some(format!("{} {}", kind.name(), body.escape_ascii()).replace(&handles, "#").trim_end().to_owned())
    }

    /// The next packet unchanged.
    pub fn next_body(&mut self) -> Option<(PacketType, Vec<u8>)> {
        self.try_packet(|packet| (packet.kind, packet.body.to_vec()))
    }

    /// Asserts that the server has sent nothing that was not read.
    #[track_caller]
    pub fn quiet(&mut self) {
        self.encode(|buf| encode::echo_req(buf, b"quiet?"));
        assert_eq!(self.next(), "ECHO_RES quiet?");
    }

    #[track_caller]
    pub fn offer(&mut self, functions: &[&str]) {
        for function in functions {
            self.encode(|buf| encode::can_do(buf, function.as_bytes()));
        }
        self.quiet();
    }

    /// Submits a job; returns the answer.
    #[track_caller]
    pub fn submit(&mut self, how: Submission, function: &str, unique: &str, workload: &[u8]) -> String {
        self.encode(|buf| encode::submit(buf, how, function.as_bytes(), unique.as_bytes(), workload));
        self.next()
    }

    /// Grabs a job; returns the answer.
    #[track_caller]
    pub fn grab(&mut self) -> String {
        self.send(&encode::GRAB_JOB_UNIQ);
        self.next()
    }

    /// Sends PRE_SLEEP, and waits until the server has read it.
    #[track_caller]
    pub fn sleep(&mut self) {
        self.send(&encode::PRE_SLEEP);
        self.quiet();
    }

    /// Sends a packet about the job of a handle as [`next`](Self::next) shows it.
    #[track_caller]
    pub fn work(&mut self, kind: PacketType, handle: &str, arguments: &[&[u8]]) {
        let handle = real(handle);
        let all: Vec<&[u8]> = std::iter::once(handle.as_bytes()).chain(arguments.iter().copied()).collect();
        self.packet(kind, &all);
    }

    /// Asks an administrative question.
    #[track_caller]
    pub fn command(&mut self, command: &str) -> String {
        self.send(format!("{command}\n").as_bytes());
        let listing = ["status", "workers"].iter().any(|word| command.starts_with(word));
        let mut text = Vec::new();
        while !(if listing { text.ends_with(b"\n.\n") || text == b".\n" } else { text.ends_with(b"\n") }) {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).unwrap();
            text.push(byte[0]);
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    /// Ends the sending side.
    pub fn half_close(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }
}

impl Deref for Peer {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.0
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.0
    }
}

/// A handle as the server knows it, from what [`Peer::next`] shows.
pub fn real(handle: &str) -> String {
    handle.replace('#', &format!("H:{}:", gethostname().unwrap().to_str().unwrap()))
}

/// A request of any type, its arguments joined by NULs.
pub fn packet(kind: PacketType, arguments: &[&[u8]]) -> Vec<u8> {
    let body = arguments.join(&0);
    let mut bytes = Magic::Request.bytes().to_vec();
    bytes.extend((kind as u32).to_be_bytes());
    bytes.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}
