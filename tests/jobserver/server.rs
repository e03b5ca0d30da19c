//! Both servers behind one interface.

use std::net::SocketAddr;
use std::thread::JoinHandle;

use gm_native::gearman::client::Client;
use gm_native::jobserver::{Server, ServerOptions};
use tokio::sync::oneshot;

use crate::peer::Peer;
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

/// Defines tests that are run against both servers: `fn name(server) { ... }`.
macro_rules! on_both {
    ($($(#[$doc:meta])* fn $name:ident($server:ident) $body:block)*) => {
        $(
            $(#[$doc])*
            mod $name {
                #[allow(unused_imports, reason = "each test uses a part")]
                use super::*;

                fn on($server: &crate::server::JobServer) $body

                #[test]
                fn embedded() {
                    on(&crate::server::JobServer::embedded());
                }

                #[test]
                fn gearmand() {
                    on(&crate::server::JobServer::gearmand());
                }
            }
        )*
    };
}

/// A job server that ends with the test.
pub enum JobServer {
    Embedded(Embedded),
    Gearmand(Gearmand),
}

impl JobServer {
    pub fn embedded() -> Self {
        Self::Embedded(Embedded::start(ServerOptions::default()))
    }

    #[track_caller]
    pub fn gearmand() -> Self {
        Self::Gearmand(Gearmand::start())
    }

    /// HOST:PORT.
    pub fn server(&self) -> String {
        match self {
            Self::Embedded(server) => server.address.to_string(),
            Self::Gearmand(server) => server.server(),
        }
    }

    pub fn host(&self) -> String {
        self.address().ip().to_string()
    }

    pub fn port(&self) -> String {
        self.address().port().to_string()
    }

    fn address(&self) -> SocketAddr {
        self.server().parse().unwrap()
    }

    pub fn is_embedded(&self) -> bool {
        matches!(self, Self::Embedded(_))
    }

    /// A connection, packet by packet.
    #[track_caller]
    pub fn peer(&self) -> Peer {
        Peer::connect(self.address())
    }

    /// A connection that offers `functions`.
    #[track_caller]
    pub fn worker(&self, functions: &[&str]) -> Peer {
        let mut peer = self.peer();
        peer.offer(functions);
        peer
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(&self.server(), DEADLINE, 1 << 30).unwrap()
    }

    /// Waits until the server knows of no more than so many connections.
    #[track_caller]
    pub fn wait_connections(&self, count: usize) {
        wait_for(&format!("{count} connections"), DEADLINE, || {
            // The last line is a full stop, and who asks is listed too.
            (self.peer().command("workers").lines().count() <= count + 2).then_some(())
        });
        // gearmand's listing is ahead of the thread that ends what a connection had; that thread answers an ECHO in turn.
        self.peer().quiet();
    }

    /// The line of a function in the listing `status`, without its name.
    #[track_caller]
    pub fn status(&self, function: &str) -> Option<String> {
        let listing = self.peer().command("status");
        listing.lines().find_map(|line| Some(line.strip_prefix(function)?.strip_prefix('\t')?.replace('\t', " ")))
    }
}

/// The embedded server, on a thread and a runtime of its own.
pub struct Embedded {
    pub address: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    notices: std::sync::mpsc::Receiver<String>,
}

impl Embedded {
    #[track_caller]
    pub fn start(options: ServerOptions) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), options)
    }

    #[track_caller]
    pub fn start_at(address: SocketAddr, options: ServerOptions) -> Self {
        let (notice, notices) = std::sync::mpsc::channel();
        let server = Server::bind(address, options).unwrap().with_notices(move |sentence| {
            let _ = notice.send(sentence.to_owned());
        });
        let address = server.local_addr();
        assert!(server.announcement().contains(&address.to_string()));
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let stopped = async {
                let _ = stopped.await;
            };
            runtime.block_on(server.run(stopped)).unwrap();
        });
        Self { address, stop: Some(stop), thread: Some(thread), notices }
    }

    /// The next sentence for the log.
    #[track_caller]
    pub fn notice(&self) -> String {
        self.notices.recv_timeout(DEADLINE).unwrap()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking(), "the embedded server panicked");
        }
    }
}
