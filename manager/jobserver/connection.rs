//! One peer's connection, as a task.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::hub::{Hub, Mailbox};
use super::input_buffer::{InputBuffer, InputError, ReceivedInput};
use super::reply::ServerReply;
use crate::system::errors::reason;

/// How long a peer that broke the protocol may take to read the error.
const LINGER: Duration = Duration::from_secs(1);

/// Why the server ended a connection.
#[derive(Debug, thiserror::Error)]
pub(super) enum PeerFault {
    /// What came was no packet.
    #[error(transparent)]
    Input(#[from] InputError),
    /// The peer did not read what it was sent.
    #[error("it reads too slowly: more bytes than max_backlog allows ({0}) wait for it")]
    TooSlow(usize),
}

/// How a connection ended.
enum ConnectionEnd {
    /// The peer or the network closed it.
    Gone,
    Fault(PeerFault),
}

impl From<InputError> for ConnectionEnd {
    fn from(error: InputError) -> Self {
        Self::Fault(error.into())
    }
}

/// Serves a peer until it disconnects or is dropped. Its jobs are requeued before it gets the error.
pub(super) async fn serve(
    mut stream: TcpStream,
    peer: SocketAddr,
    hub: Rc<Hub>,
    max_packet: usize,
) -> Result<(), PeerFault> {
    let (id, mailbox) = hub.open(peer);
    let mut input = InputBuffer::new(max_packet);
    let end = loop {
        if let Err(end) = step(&stream, &mailbox, &mut input, |received| hub.receive(id, received)).await {
            break end;
        }
    };
    hub.close(id);
    match end {
        ConnectionEnd::Gone => Ok(()),
        ConnectionEnd::Fault(fault) => {
            if let PeerFault::Input(error) = &fault {
                let _ = timeout(LINGER, part(&mut stream, &mailbox, error)).await;
            }
            Err(fault)
        }
    }
}

/// Waits until there is something to read or to write, and does it once.
async fn step(
    stream: &TcpStream,
    mailbox: &Mailbox,
    input: &mut InputBuffer,
    receive: impl FnMut(ReceivedInput<'_>),
) -> Result<(), ConnectionEnd> {
    let interest = match mailbox.outbox.borrow().is_empty() {
        true => Interest::READABLE,
        false => Interest::READABLE | Interest::WRITABLE,
    };
    tokio::select! {
        ready = stream.ready(interest) => {
            if ready.map_err(|_| ConnectionEnd::Gone)?.is_readable() {
                read(stream, input, receive)?;
            }
        }
        () = mailbox.bell.notified() => {}
    }
    let mut outbox = mailbox.outbox.borrow_mut();
    if let Some(max_backlog) = outbox.too_slow() {
        return Err(ConnectionEnd::Fault(PeerFault::TooSlow(max_backlog)));
    }
    // A closed peer may have sent a result before: only reading finds the end.
    if outbox.write_with(|slices| stream.try_write_vectored(slices)).is_err() {
        outbox.clear();
    }
    Ok(())
}

/// Reads once, and handles what arrived.
fn read(
    stream: &TcpStream,
    input: &mut InputBuffer,
    mut receive: impl FnMut(ReceivedInput<'_>),
) -> Result<(), ConnectionEnd> {
    match input.read_from(|space| stream.try_read(space)) {
        Ok(0) => return Err(ConnectionEnd::Gone),
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(_) => return Err(ConnectionEnd::Gone),
    }
    while let Some(received) = input.next()? {
        receive(received);
    }
    Ok(())
}

/// Sends a peer the error in its packet, after everything sent before. Then reads until the peer is gone, so that it
/// can read the error: closing with unread bytes is a reset, which discards it.
async fn part(stream: &mut TcpStream, mailbox: &Mailbox, error: &InputError) -> io::Result<()> {
    let words = match error {
        InputError::Packet(error) => ServerReply::error("INVALID_PACKET", &error.to_string()),
        InputError::LineTooLong => ServerReply::text(format!("ERR LINE_TOO_LONG {}\r\n", reason(&error)).into_bytes()),
    };
    mailbox.put(words);
    while !mailbox.outbox.borrow().is_empty() {
        stream.writable().await?;
        mailbox.outbox.borrow_mut().write_with(|slices| stream.try_write_vectored(slices))?;
    }
    stream.shutdown().await?;
    while stream.read(&mut [0; 4096]).await? > 0 {}
    Ok(())
}
