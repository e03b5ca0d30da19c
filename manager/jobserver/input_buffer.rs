//! A peer's input: packets, or lines of the administrative protocol, on one connection.

use std::convert::Infallible;

use crate::gearman::packet::{Decoder, Magic, PacketError, Request};

/// A longer line cannot be a command.
const LONGEST_LINE: usize = 4096;

/// A packet or a line.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ReceivedInput<'a> {
    Request(Request<'a>),
    /// A command without its line end.
    Line(Vec<u8>),
}

/// Bytes that are neither.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InputError {
    #[error(transparent)]
    Packet(#[from] PacketError),
    #[error("a line of more than {LONGEST_LINE} bytes is no administrative command")]
    LineTooLong,
}

/// Bytes in, packets and lines out. Every packet begins with a NUL, and no line does.
///
/// A line is recognised only at the start of a read. Every client waits for the answer to its previous command, so that
/// holds; one that does not gets the error of a packet with a wrong magic.
pub(super) struct InputBuffer {
    decoder: Decoder,
    /// The start of a line, or lines and what follows them.
    text: Vec<u8>,
}

impl InputBuffer {
    pub(super) fn new(max_packet: usize) -> Self {
        Self { decoder: Decoder::new(Magic::Request, max_packet), text: Vec::new() }
    }

    /// Calls `read` once with a buffer, and takes in as many bytes as it returns. First call [`next`](Self::next) until
    /// it returns nothing.
    pub(super) fn read_from<E>(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        let begins = self.decoder.pending() == 0;
        let text = &mut self.text;
        let mut count = 0;
        self.decoder.read_from(|space| {
            count = read(space)?;
            let fresh = &space[..count];
            let is_text = !text.is_empty() || begins && fresh.first().is_some_and(|byte| *byte != 0);
            if is_text {
                text.extend_from_slice(fresh);
            }
            Ok(if is_text { 0 } else { count })
        })?;
        Ok(count)
    }

    /// The next packet or line; `None` if it needs more bytes.
    pub(super) fn next(&mut self) -> Result<Option<ReceivedInput<'_>>, InputError> {
        if self.text.first() == Some(&0) {
            self.hand_over();
        }
        if !self.text.is_empty() {
            let Some(end) = self.text.iter().position(|byte| *byte == b'\n') else {
                return if self.text.len() > LONGEST_LINE { Err(InputError::LineTooLong) } else { Ok(None) };
            };
            let mut line: Vec<u8> = self.text.drain(..=end).collect();
            line.pop();
            return Ok(Some(ReceivedInput::Line(line)));
        }
        match self.decoder.next()? {
            Some(packet) => Ok(Some(ReceivedInput::Request(Request::parse(packet)?))),
            None => Ok(None),
        }
    }

    /// Passes what follows the lines to the decoder.
    fn hand_over(&mut self) {
        let mut rest = self.text.as_slice();
        while !rest.is_empty() {
            let Ok(_) = self.decoder.read_from(|space| Ok::<_, Infallible>(copy_some(&mut rest, space)));
        }
        self.text = Vec::new();
    }
}

/// Copies what fits into `space`, and removes it from the front of `rest`.
fn copy_some(rest: &mut &[u8], space: &mut [u8]) -> usize {
    let (now, later) = rest.split_at(space.len().min(rest.len()));
    space[..now.len()].copy_from_slice(now);
    *rest = later;
    now.len()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gearman::packet::encode;

    fn read(input: &mut InputBuffer, bytes: &[u8], piece: usize) -> Result<Vec<String>, InputError> {
        let mut seen = Vec::new();
        for piece in bytes.chunks(piece) {
            let mut rest = piece;
            while !rest.is_empty() {
                let Ok(_) = input.read_from(|space| Ok::<_, Infallible>(copy_some(&mut rest, space)));
                while let Some(received) = input.next()? {
                    seen.push(match received {
                        ReceivedInput::Request(request) => format!("{request:?}"),
                        ReceivedInput::Line(line) => String::from_utf8(line).unwrap(),
                    });
                }
            }
        }
        Ok(seen)
    }

    #[test]
    fn packets_and_lines_in_pieces_of_every_size() {
        let mut bytes = b"status\nversion\r\n\n".to_vec();
        encode::can_do(&mut bytes, b"f").unwrap();
        encode::echo_req(&mut bytes, &[b'x'; 40_000]).unwrap();
        bytes.extend(encode::PRE_SLEEP);
        for piece in [1, 2, 3, 7, 100, 30_000, bytes.len()] {
            let seen = read(&mut InputBuffer::new(1 << 20), &bytes, piece).unwrap();
            let short: Vec<&str> = seen.iter().map(|seen| &seen[..seen.len().min(20)]).collect();
            let wanted = ["status", "version\r", "", "CanDo { function: [1", "EchoReq([120, 120, 1", "PreSleep"];
            assert_eq!(short, wanted, "in pieces of {piece}");
        }
    }

    #[test]
    fn a_line_may_follow_packets_that_were_read() {
        let mut input = InputBuffer::new(1024);
        assert_eq!(read(&mut input, &encode::PRE_SLEEP, 5).unwrap(), ["PreSleep"]);
        assert_eq!(read(&mut input, b"workers\n", 3).unwrap(), ["workers"]);
        assert_eq!(read(&mut input, &encode::GRAB_JOB, 12).unwrap(), ["GrabJob"]);
    }

    #[test]
    fn what_is_neither() {
        for (bytes, sentence) in [
            (vec![b'x'; 5000], "a line of more than 4096 bytes is no administrative command"),
            (b"\0REX\0\0\0\x01\0\0\0\0".to_vec(), "does not speak the Gearman protocol"),
            (b"\0REQ\0\0\0\x4d\0\0\0\0".to_vec(), "type 77"),
            (b"\0REQ\0\0\0\x0b\0\0\0\0".to_vec(), "a JOB_ASSIGN packet came as a request"),
            (b"\0REQ\0\0\0\x01\xff\xff\xff\xff".to_vec(), "claims 4294967295 bytes"),
            (b"\0REQ\0\0\0\x07\0\0\0\x01f".to_vec(), "a SUBMIT_JOB packet has 1 of its 3 arguments"),
        ] {
            let error = read(&mut InputBuffer::new(1024), &bytes, 1000).unwrap_err().to_string();
            assert!(error.contains(sentence), "{error}");
        }
    }

    #[test]
    fn a_line_without_an_end_holds_little() {
        let mut input = InputBuffer::new(1024);
        assert_eq!(read(&mut input, &[b'x'; 1 << 20], 1 << 16), Err(InputError::LineTooLong));
        assert!(input.text.len() <= LONGEST_LINE + (1 << 16));
    }
}
