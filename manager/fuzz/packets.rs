//! What a job server sends: packets to workers and clients, and the text of its admin protocol.

use std::time::Duration;

use super::is_one_line;
use crate::gearman::admin;
use crate::gearman::packet::{Decoder, Magic, Response};
use crate::worker::receive::server_message;
use crate::worker::server_connection::{DrainStep, Reaction, ServerConnection, ServerMessage, Timeout};

const MAX_PACKET: usize = 1 << 16;
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(10);

/// A stream of packets. The first byte says how it is cut into reads; what comes out must not depend on it.
pub fn server_packets(data: &[u8]) {
    let Some((first, stream)) = data.split_first() else { return };
    let cutting = first & 1 == 1;
    let whole = packets(stream, stream.len().max(1), cutting);
    let cut = packets(stream, usize::from(first >> 1) + 1, cutting);
    assert_eq!(whole, cut);
    worker_side(stream);
}

/// Each packet as text, and the error at the end, if there is one.
fn packets(stream: &[u8], piece: usize, cutting: bool) -> Vec<String> {
    let decoder = Decoder::new(Magic::Response, MAX_PACKET);
    let mut decoder = if cutting { decoder.cutting_jobs() } else { decoder };
    let mut found = Vec::new();
    for mut bytes in stream.chunks(piece) {
        while !bytes.is_empty() {
            let take = |space: &mut [u8]| -> Result<usize, ()> {
                let len = space.len().min(bytes.len());
                space[..len].copy_from_slice(&bytes[..len]);
                Ok(len)
            };
            let taken = decoder.read_from(take).unwrap();
            bytes = &bytes[taken..];
            loop {
                match decoder.next() {
                    Ok(Some(packet)) => found.push(format!("{packet:?} is {:?}", Response::parse(packet))),
                    Ok(None) => break,
                    Err(error) => {
                        is_one_line(&error.to_string());
                        found.push(error.to_string());
                        return found;
                    }
                }
            }
        }
    }
    found
}

/// The worker does what the protocol state says, a second for each packet. Then it drains, and the server, which has
/// become well-behaved, answers: that must come to an end.
fn worker_side(stream: &[u8]) {
    let mut decoder = Decoder::new(Magic::Response, MAX_PACKET).cutting_jobs();
    let mut now = Duration::from_secs(1);
    let mut connection = ServerConnection::greeting(now);
    let mut asked = 1_u32;
    for bytes in stream.chunks(4096) {
        let take = |space: &mut [u8]| -> Result<usize, ()> {
            space[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        };
        decoder.read_from(take).unwrap();
        while let Ok(Some(packet)) = decoder.next() {
            let Ok(response) = Response::parse(packet) else { return };
            now = now.saturating_add(Duration::from_secs(1));
            connection.bytes_received(now);
            let message = server_message(&response);
            asked -= u32::from(matches!(message, ServerMessage::NoJob | ServerMessage::Assigned)).min(asked);
            receive(&mut connection, message, now);
            if connection.check_timeouts(now, INTERVAL, TIMEOUT, true) == Timeout::Echo {
                connection.echo_sent(now);
            }
            if connection.may_grab(now) {
                let grabs = connection.window().min(8);
                connection.grabs_sent(grabs, now);
                asked += grabs;
            }
        }
    }
    connection.drain();
    for _ in 0..stream.len() + 100 {
        now = now.saturating_add(Duration::from_millis(1));
        let message = match connection.drain_step() {
            DrainStep::Done => return,
            DrainStep::Grab => {
                connection.grabs_sent(1, now);
                ServerMessage::NoJob
            }
            DrainStep::Echo => {
                connection.last_echo_sent(now);
                ServerMessage::Echo
            }
            DrainStep::Wait if asked > 0 => {
                asked -= 1;
                ServerMessage::NoJob
            }
            DrainStep::Wait => ServerMessage::Echo,
        };
        receive(&mut connection, message, now);
        if connection.check_timeouts(now, INTERVAL, TIMEOUT, false) == Timeout::Unresponsive {
            return;
        }
    }
    panic!("the drain does not end: {connection:?}");
}

fn receive(connection: &mut ServerConnection, message: ServerMessage<'_>, now: Duration) {
    match connection.receive(message, now) {
        Reaction::Run | Reaction::RunUnwoken => {
            assert_eq!(message, ServerMessage::Assigned);
            connection.answer_sent();
        }
        Reaction::Greeted => connection.functions_registered(now),
        _ => {}
    }
}

/// The answers to `status`, `workers` and `version`.
pub fn admin_replies(data: &[u8]) {
    let _ = admin::is_whole_listing(data);
    let text = String::from_utf8_lossy(data);
    for line in text.lines() {
        let _ = (admin::function_status(line), admin::connection(line));
    }
    let _ = admin::parse_version(&text);
}
