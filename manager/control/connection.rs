//! One client's connection, as a task on the manager's runtime.

use std::io;

use nix::unistd::geteuid;
use serde_json::json;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::{ReadHalf, WriteHalf};
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::messages::{ControlRequest, ErrorCode, Reply, RequestError, ok_line};
use super::requester::Requester;
use super::{Access, DEADLINE, Feed, MAX_REQUEST, PendingRequest};

/// What a connection needs from the manager.
#[derive(Clone, Debug)]
pub(super) struct ControlService {
    pub(super) requests: mpsc::Sender<PendingRequest>,
    pub(super) feed: Feed,
    pub(super) access: Access,
}

/// What to do after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AfterRequest {
    NextRequest,
    Close,
}

/// Serves an admitted client until it disconnects, stops sending requests or stops reading.
pub(super) async fn serve(mut stream: UnixStream, uid: u32, service: ControlService) {
    let (reader, mut writer) = stream.split();
    let mut reader = BufReader::new(reader);
    // An error means that the client is gone or stuck, so there is nowhere to report it.
    while let Ok(AfterRequest::NextRequest) = exchange(&mut reader, &mut writer, uid, &service).await {
        // A client that keeps sending requests must not starve the manager's loop and other clients.
        yield_now().await;
    }
}

/// One request and its reply.
async fn exchange(
    reader: &mut BufReader<ReadHalf<'_>>,
    writer: &mut WriteHalf<'_>,
    uid: u32,
    service: &ControlService,
) -> io::Result<AfterRequest> {
    let request = match timeout(DEADLINE, read_line(reader)).await {
        Ok(line) => line?,
        Err(_) => {
            let text = format!("no request arrived within {} s", DEADLINE.as_secs());
            write(writer, &RequestError::new(ErrorCode::Deadline, text).to_line()).await?;
            return Ok(AfterRequest::Close);
        }
    };
    match request {
        RequestBuffer::End => Ok(AfterRequest::Close),
        RequestBuffer::TooLong => {
            let text = format!("the request is longer than {MAX_REQUEST} bytes");
            write(writer, &RequestError::new(ErrorCode::TooLong, text).to_line()).await?;
            Ok(AfterRequest::Close)
        }
        RequestBuffer::Line(line) => match ControlRequest::parse(&line) {
            Ok(ControlRequest::Events { follow: true }) => follow(reader, writer, &service.feed).await,
            Ok(ControlRequest::Events { follow: false }) => {
                write(writer, &ok_line(&json!({ "following": false }))).await?;
                for line in service.feed.latest() {
                    write(writer, &line).await?;
                }
                Ok(AfterRequest::Close)
            }
            Ok(request) => {
                let reply = match service.access.refusal(&request, geteuid().as_raw()) {
                    Some(refusal) => Reply::Refused(refusal),
                    None => ask(service, request, uid).await,
                };
                write(writer, &reply.to_line()).await?;
                Ok(AfterRequest::NextRequest)
            }
            Err(refusal) => {
                write(writer, &refusal.to_line()).await?;
                Ok(AfterRequest::NextRequest)
            }
        },
    }
}

/// A request, as far as it arrived.
#[derive(Debug, PartialEq, Eq)]
enum RequestBuffer {
    /// A line without its end, which a client that shut down its side may have omitted.
    Line(Vec<u8>),
    TooLong,
    End,
}

async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<RequestBuffer> {
    let mut line = Vec::new();
    // One more than allowed, to tell a line that is too long from one that just fits.
    reader.take(MAX_REQUEST as u64 + 1).read_until(b'\n', &mut line).await?;
    Ok(match line.last() {
        None => RequestBuffer::End,
        _ if line.len() > MAX_REQUEST => RequestBuffer::TooLong,
        _ => RequestBuffer::Line(line),
    })
}

/// Passes a request to the manager's loop and waits for the answer.
async fn ask(service: &ControlService, request: ControlRequest, uid: u32) -> Reply {
    let (reply, answer) = oneshot::channel();
    let asked = async {
        let requester = if request.only_reads() { Requester::unnamed(uid) } else { Requester::named(uid).await };
        service.requests.send(PendingRequest { request, requester, reply }).await.ok()?;
        answer.await.ok()
    };
    match timeout(DEADLINE, asked).await {
        Ok(Some(reply)) => reply,
        Ok(None) => Reply::Refused(RequestError::new(ErrorCode::Stopping, "the manager is just ending")),
        Err(_) => {
            let text = format!("the manager made no answer within {} s", DEADLINE.as_secs());
            Reply::Refused(RequestError::new(ErrorCode::Deadline, text))
        }
    }
}

/// Sends events until the feed ends, the client disconnects or sends anything more, or it reads too slowly.
async fn follow(
    reader: &mut BufReader<ReadHalf<'_>>,
    writer: &mut WriteHalf<'_>,
    feed: &Feed,
) -> io::Result<AfterRequest> {
    let Some(mut events) = feed.follow() else {
        write(writer, &RequestError::new(ErrorCode::Stopping, "the manager is just ending").to_line()).await?;
        return Ok(AfterRequest::Close);
    };
    write(writer, &ok_line(&json!({ "following": true }))).await?;
    loop {
        let event = tokio::select! {
            event = events.recv() => event,
            // All that can arrive here is the client's end, or a mistake of the client's.
            _ = reader.fill_buf() => return Ok(AfterRequest::Close),
        };
        match event {
            Ok(line) => write(writer, &line).await?,
            Err(RecvError::Closed) => return Ok(AfterRequest::Close),
            Err(RecvError::Lagged(lost)) => {
                let text = format!("events came faster than they were read and {lost} were lost; follow again");
                write(writer, &RequestError::new(ErrorCode::SlowReader, text).to_line()).await?;
                return Ok(AfterRequest::Close);
            }
        }
    }
}

/// Writes a line to a client, which has to read it within the deadline.
async fn write(writer: &mut (impl AsyncWrite + Unpin), line: &str) -> io::Result<()> {
    timeout(DEADLINE, writer.write_all(line.as_bytes())).await?
}
