//! A scripted job server: it can stall, and send what no real one would.

use std::net::TcpListener;
use std::ops::{Deref, DerefMut};

use gm_native::gearman::packet::{AssignedJob, Magic, Request, answer};
use nix::sys::socket::{setsockopt, sockopt};

use super::wait::{DEADLINE, wait_for};
use super::wire::Wire;

/// A listener on a loopback port of its own.
pub struct ScriptedServer {
    listener: TcpListener,
}

/// A connection from a worker or a client.
pub struct Peer {
    wire: Wire,
}

impl ScriptedServer {
    /// Listens; connections arrive even before they are accepted.
    #[track_caller]
    pub fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        Self { listener }
    }

    /// A server whose connections buffer little: what it does not read stays with the sender.
    pub fn with_little_room() -> Self {
        let server = Self::listen();
        setsockopt(&server.listener, sockopt::RcvBuf, &32_768).unwrap();
        server
    }

    /// HOST:PORT.
    pub fn server(&self) -> String {
        self.listener.local_addr().unwrap().to_string()
    }

    /// The next connection.
    #[track_caller]
    pub fn accept(&self) -> Peer {
        let stream = wait_for("a connection", DEADLINE, || self.listener.accept().ok()).0;
        stream.set_nonblocking(false).unwrap();
        Peer { wire: Wire::new(stream, Magic::Request) }
    }

    /// The next connection, a worker's: up to its first GRAB, which is not answered yet.
    #[track_caller]
    pub fn accept_worker(&self) -> Peer {
        let mut peer = self.accept();
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        peer.send(&answer::NO_JOB);
        peer.skip_to(|packet| matches!(packet, Request::CanDo { .. }));
        peer.skip_to(|packet| packet == Request::GrabJobUniq);
        peer
    }
}

impl Peer {
    /// The next packet, of any type, as `see` returns it.
    #[track_caller]
    pub fn next<T>(&mut self, see: impl FnOnce(Request<'_>) -> T) -> T {
        self.try_next(see).expect("no packet came: the peer closed the connection, or said nothing")
    }

    /// The next packet as `see` returns it; `None` if none arrives in time, or the connection ends.
    #[track_caller]
    pub fn try_next<T>(&mut self, see: impl FnOnce(Request<'_>) -> T) -> Option<T> {
        self.wire.try_packet(|packet| see(Request::parse(packet).unwrap()))
    }

    /// Skips packets until one is `wanted`. Answers echo requests on the way.
    #[track_caller]
    pub fn skip_to(&mut self, mut wanted: impl FnMut(Request<'_>) -> bool) {
        loop {
            let (found, echo) = self.next(|request| match request {
                Request::EchoReq(data) => (wanted(request), Some(data.to_vec())),
                other => (wanted(other), None),
            });
            if let Some(data) = echo {
                self.encode(|buf| answer::echo_res(buf, &data));
            }
            if found {
                return;
            }
        }
    }

    /// The end of the next job: skips packets until one ends it; returns its handle, and its result if it has one.
    #[track_caller]
    pub fn next_end(&mut self) -> (Vec<u8>, Option<Vec<u8>>) {
        loop {
            let end = self.next(|request| match request {
                Request::WorkComplete { handle, data } => Some((handle.to_vec(), Some(data.to_vec()))),
                Request::WorkFail { handle } => Some((handle.to_vec(), None)),
                _ => None,
            });
            if let Some(end) = end {
                return end;
            }
        }
    }

    /// Waits until the worker has closed the connection, whatever it sends before.
    #[track_caller]
    pub fn wait_closed(&mut self) {
        while self.try_next(|_| ()).is_some() {}
    }

    /// Assigns a job, whether or not the worker asked.
    #[track_caller]
    pub fn assign(&mut self, handle: &[u8], function: &[u8], workload: &[u8]) {
        let job = AssignedJob { handle, function, unique: b"", workload };
        self.encode(|buf| answer::job_assign_uniq(buf, &job));
    }
}

impl Deref for Peer {
    type Target = Wire;

    fn deref(&self) -> &Wire {
        &self.wire
    }
}

impl DerefMut for Peer {
    fn deref_mut(&mut self) -> &mut Wire {
        &mut self.wire
    }
}
