//! Closes the manager's copy of a job-server connection: SHUT_WR, read to EOF, close.
//!
//! This makes gearmand requeue a dead worker's job at once, even if a plugin's child still holds the socket. A result
//! that the worker had written completely still arrives; a plain close would lose it.

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
        // An error means that the connection is already gone, which is the goal.
        let ends = if last.is_empty() { socket.shutdown(Shutdown::Write) } else { Ok(()) };
        if ends.is_ok() && socket.set_nonblocking(true).is_ok() {
            self.0.spawn(async move {
                let _ = tokio::time::timeout(DEADLINE, send_and_drain(socket, &last)).await;
            });
        }
    }

    /// Waits for copies that are still being closed.
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
