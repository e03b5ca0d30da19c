//! The end of the manager's copy of a job-server connection: SHUT_WR, read to the end, close.
//!
//! gearmand gives the job of a dead worker to another at once, also where a plugin's child still holds the socket; and a
//! result that the worker had written in full still arrives, which a bare close would destroy.

use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// How long a job server may take to close its side.
const DEADLINE: Duration = Duration::from_secs(10);

/// Copies whose end is under way.
#[derive(Default)]
pub struct HandBacks(JoinSet<()>);

impl HandBacks {
    /// Ends a copy, in the background.
    pub fn end(&mut self, copy: OwnedFd) {
        while self.0.try_join_next().is_some() {}
        let socket = std::net::TcpStream::from(copy);
        // An error means that the connection is gone already, which is what is wanted.
        if socket.shutdown(Shutdown::Write).is_ok() && socket.set_nonblocking(true).is_ok() {
            self.0.spawn(async move {
                let _ = tokio::time::timeout(DEADLINE, read_to_end(socket)).await;
            });
        }
    }

    /// Waits for those under way.
    pub async fn finish(mut self) {
        while self.0.join_next().await.is_some() {}
    }
}

async fn read_to_end(socket: std::net::TcpStream) -> std::io::Result<()> {
    let mut socket = TcpStream::from_std(socket)?;
    let mut buffer = [0; 4096];
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}
