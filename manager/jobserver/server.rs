//! The job server on TCP.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use nix::unistd::gethostname;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use super::connection::{PeerFault, serve};
use super::core::{ServerCore, ServerIdentity, ServerLimits};
use super::hub::Hub;
use super::options::{ListenScope, ServerOptions};
use crate::system::errors::reason;

/// How many connections may wait to be accepted. A fleet of workers connects at once, and one that finds no room tries
/// again only after a second.
const BACKLOG: i32 = 4096;

/// How long to pause after a connection could not be accepted (no descriptors): trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A job server for development, bound to its address and not yet running.
pub struct Server {
    listener: std::net::TcpListener,
    address: SocketAddr,
    options: ServerOptions,
    notices: Box<dyn Fn(&str) + Send>,
}

impl Server {
    /// Binds to an address; port 0 means any free one. From here on connections queue up, and are served once it runs.
    ///
    /// # Errors
    ///
    /// The address is not loopback and `options` do not allow that, or the system refuses it, mostly because another
    /// server uses it. The text names the address.
    pub fn bind(address: SocketAddr, options: ServerOptions) -> io::Result<Self> {
        if options.reach == ListenScope::Loopback && !address.ip().to_canonical().is_loopback() {
            let text = format!(
                "the job server for development is not bound to {address}: anybody who reaches it can run any function, \
                 so without Reach::Anywhere it takes loopback addresses only"
            );
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("cannot bind the job server for development to {address}: {}", reason(&error)),
            )
        };
        let listener = listen(address).map_err(named)?;
        let address = listener.local_addr().map_err(named)?;
        Ok(Self { listener, address, options, notices: Box::new(|_| {}) })
    }

    /// Calls `notice` with a sentence for the log whenever the server ends a connection or cannot accept one.
    #[must_use]
    pub fn with_notices(self, notice: impl Fn(&str) + Send + 'static) -> Self {
        Self { notices: Box::new(notice), ..self }
    }

    /// Where it listens.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// The line it prints when it starts.
    #[must_use]
    pub fn announcement(&self) -> String {
        format!(
            "embedded job server on {}, for development: it keeps jobs in memory and forgets them when it ends; \
             use gearmand in production",
            self.address
        )
    }

    /// Serves until `shutdown` is ready, then ends every connection at once and forgets all jobs, as gearmand does when
    /// terminated. Dropping the future does the same.
    ///
    /// Runs on a current-thread runtime with IO and time enabled, beside whatever else runs there; it never blocks.
    ///
    /// # Errors
    ///
    /// The runtime does not accept the socket.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        self.listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(self.listener)?;
        let core = ServerCore::new(identity(&self.options), limits(&self.options));
        let hub = Rc::new(Hub::new(core, self.options.max_backlog));
        let serving = async {
            tokio::select! {
                () = accept(&listener, &hub, &self.options, &self.notices) => {}
                () = hub.release_in_time() => {}
                () = shutdown => {}
            }
        };
        LocalSet::new().run_until(serving).await;
        Ok(())
    }
}

fn listen(address: SocketAddr) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A server that just ended has left connections in TIME_WAIT.
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn identity(options: &ServerOptions) -> ServerIdentity {
    let host = gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    ServerIdentity { host, version: options.version.clone(), pid: std::process::id() }
}

fn limits(options: &ServerOptions) -> ServerLimits {
    ServerLimits { queued: options.max_queued, held: options.max_held }
}

/// Accepts connections, and ends them all when dropped.
async fn accept(listener: &TcpListener, hub: &Rc<Hub>, options: &ServerOptions, notice: &dyn Fn(&str)) {
    let mut connections: JoinSet<Option<String>> = JoinSet::new();
    loop {
        tokio::select! {
            Some(ended) = connections.join_next() => {
                if let Ok(Some(sentence)) = ended {
                    notice(&sentence);
                }
            }
            accepted = listener.accept() => match accepted {
                Ok((_, peer)) if connections.len() >= options.max_connections => {
                    let most = options.max_connections;
                    notice(&format!("the connection from {peer} was closed: max_connections allows {most}"));
                }
                Ok((stream, peer)) => {
                    connections.spawn_local(serve_connection(stream, peer, Rc::clone(hub), options.max_packet));
                }
                Err(error) => {
                    notice(&format!("cannot take a connection, trying again: {}", reason(&error)));
                    sleep(ACCEPT_PAUSE).await;
                }
            },
        }
    }
}

/// Serves a connection to its end; returns a sentence if the server ended it.
async fn serve_connection(stream: TcpStream, peer: SocketAddr, hub: Rc<Hub>, max_packet: usize) -> Option<String> {
    // Without it a small packet waits up to 40 ms for the acknowledgement of the previous one.
    let _ = stream.set_nodelay(true);
    let fault: PeerFault = serve(stream, peer, hub, max_packet).await.err()?;
    Some(format!("the connection from {peer} was closed: {fault}"))
}
