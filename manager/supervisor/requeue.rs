//! The end of the manager's copy of a job-server connection: SHUT_WR, read to the end, close.
//!
//! gearmand gives the job of a dead worker to another at once, also where a plugin's child still holds the socket; and
//! a result that the worker had written in full still arrives, which a bare close would destroy.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a job server may take to close its side.
const DEADLINE: Duration = Duration::from_secs(10);

/// Copies that are being closed.
#[derive(Default)]
pub(crate) struct Requeues(JoinSet<()>);

impl Requeues {
    /// Closes a copy in the background, after sending these packets if there are any.
    pub(crate) fn end(&mut self, copy: OwnedFd, last: Vec<u8>) {
        while self.0.try_join_next().is_some() {}
        let socket = std::net::TcpStream::from(copy);
        // An error means that the connection is gone already, which is what is wanted.
        let ends = if last.is_empty() { socket.shutdown(Shutdown::Write) } else { Ok(()) };
        if ends.is_ok() && socket.set_nonblocking(true).is_ok() {
            self.0.spawn(async move {
                let _ = tokio::time::timeout(DEADLINE, send_and_drain(socket, &last)).await;
            });
        }
    }

    /// Waits for those under way.
    pub(crate) async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

async fn send_and_drain(socket: std::net::TcpStream, last: &[u8]) -> std::io::Result<()> {
    let mut socket = TcpStream::from_std(socket)?;
    if !last.is_empty() {
        socket.write_all(last).await?;
        socket.shutdown().await?;
    }
    let mut buffer = [0; 4096];
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}
