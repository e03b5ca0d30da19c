//! The manager's side of the control socket.

use std::io;
use std::time::Duration;

use nix::unistd::geteuid;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{ControlService, serve};
use super::messages::{ControlRequest, ErrorCode, Reply, RequestError};
use super::requester::Requester;
use super::socket::SocketFile;
use super::{Access, ControlListener, Feed};
use crate::system::errors::reason;

/// How long clients may take to read the rest when the manager exits.
const LINGER: Duration = Duration::from_secs(1);

/// How long to pause after a connection could not be accepted (no descriptors): trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A request on its way to the manager's loop. If it is dropped, the client learns that the manager is exiting.
#[derive(Debug)]
pub struct PendingRequest {
    /// What it asks for; never [`ControlRequest::Events`], which the [`Feed`] answers.
    pub request: ControlRequest,
    /// The user who asks.
    pub requester: Requester,
    /// Where to send the answer. The client may be gone by then.
    pub reply: oneshot::Sender<Reply>,
}

/// The control socket's tasks. Dropping it ends them at once and removes the socket; [`ControlServer::close`] lets
/// clients read the rest.
#[derive(Debug)]
pub struct ControlServer {
    file: SocketFile,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
    feed: Feed,
}

impl ControlServer {
    /// Starts to serve on this thread's runtime; needs a `LocalSet`. The loop that gets `requests` may be slow: a
    /// client waits at most [`super::DEADLINE`].
    ///
    /// # Errors
    ///
    /// The runtime does not accept the socket.
    pub fn start(listener: ControlListener, feed: Feed, requests: mpsc::Sender<PendingRequest>) -> io::Result<Self> {
        let ControlListener { listener, file, access } = listener;
        let listener = UnixListener::from_std(listener)?;
        let (stop, stopped) = oneshot::channel();
        let service = ControlService { requests, feed: feed.clone(), access };
        let task = tokio::task::spawn_local(accept(listener, service, stopped));
        Ok(Self { file, stop: Some(stop), task, feed })
    }

    /// Whether clients still find the socket: not once it or the state directory was removed. A new [`ControlListener`]
    /// at the same path replaces it.
    pub fn is_in_place(&self) -> bool {
        self.file.is_in_place()
    }

    /// Removes the socket, accepts no more connections, ends the feed, and gives clients a second to read what was sent
    /// to them.
    pub async fn close(mut self) {
        self.file.remove();
        self.feed.close();
        drop(self.stop.take());
        // The task may have panicked or be slow: neither may delay the manager's exit.
        let _ = timeout(LINGER, &mut self.task).await;
    }
}

impl Drop for ControlServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts connections until it is stopped, then waits for the open ones.
async fn accept(listener: UnixListener, service: ControlService, mut stopped: oneshot::Receiver<()>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            _ = &mut stopped => break,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => match admit(&stream, service.access, connections.len()) {
                    Ok(uid) => {
                        connections.spawn_local(serve(stream, uid, service.clone()));
                    }
                    Err(refusal) => refuse(&stream, &refusal),
                },
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
        }
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

/// Whether to accept one more connection, from this peer; returns its user.
fn admit(stream: &UnixStream, access: Access, connections: usize) -> Result<u32, RequestError> {
    let forbidden = |text: String| RequestError::new(ErrorCode::Forbidden, text);
    let own = geteuid().as_raw();
    let peer = stream
        .peer_cred()
        .map_err(|error| forbidden(format!("cannot find out which user asks: {}", reason(&error))))?
        .uid();
    if !access.admits(peer, own) {
        return Err(forbidden(format!("uid {peer} may not ask this manager, only root and uid {own} may")));
    }
    let most = access.most_connections();
    if connections >= most {
        return Err(RequestError::new(ErrorCode::Busy, format!("{most} connections are open; ask again later")));
    }
    Ok(peer)
}

/// Sends one line, if that is possible without waiting: a fresh socket has room for it.
fn refuse(stream: &UnixStream, refusal: &RequestError) {
    let _ = stream.try_write(refusal.to_line().as_bytes());
}

#[cfg(test)]
mod tests;
