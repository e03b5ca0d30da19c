//! What is to be written to one connection: bounded, and shared rather than copied.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;

use super::reply::ServerReply;

/// Small packets are joined into pieces of up to this size; larger data is not copied.
const PIECE: usize = 4096;

/// The most pieces in one write; the kernel's own limit is 1,024.
const PIECES_A_WRITE: usize = 64;

/// Bytes of one or more packets.
enum OutboxPart {
    Own(Vec<u8>),
    Shared(Rc<[u8]>),
}

impl OutboxPart {
    fn bytes(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The peer reads too slowly: nothing more is kept for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TooSlow;

/// Replies to a peer, in order.
pub(super) struct Outbox {
    pieces: VecDeque<OutboxPart>,
    /// How much of the first piece was written.
    written: usize,
    waiting: usize,
    max_backlog: usize,
    too_slow: bool,
}

impl Outbox {
    pub(super) fn new(max_backlog: usize) -> Self {
        Self { pieces: VecDeque::new(), written: 0, waiting: 0, max_backlog, too_slow: false }
    }

    /// Adds a reply, unless more than the limit is unwritten already: then drops everything, and the peer. So it holds
    /// at most the limit and one packet.
    pub(super) fn push(&mut self, answer: ServerReply) -> Result<(), TooSlow> {
        if self.too_slow || self.waiting > self.max_backlog {
            self.too_slow = true;
            self.clear();
            return Err(TooSlow);
        }
        self.waiting += answer.len();
        let (head, data) = answer.into_parts();
        self.append(head);
        match data {
            Some(data) if data.len() > PIECE => self.pieces.push_back(OutboxPart::Shared(data)),
            Some(data) => self.append(data.to_vec()),
            None => {}
        }
        Ok(())
    }

    fn append(&mut self, bytes: Vec<u8>) {
        match self.pieces.back_mut() {
            Some(OutboxPart::Own(last)) if last.len() + bytes.len() <= PIECE => last.extend(bytes),
            _ if bytes.is_empty() => {}
            _ => self.pieces.push_back(OutboxPart::Own(bytes)),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// The limit, if the peer has exceeded it and must be dropped.
    pub(super) fn too_slow(&self) -> Option<usize> {
        self.too_slow.then_some(self.max_backlog)
    }

    /// Drops everything: the peer will not read it.
    pub(super) fn clear(&mut self) {
        *self = Self { too_slow: self.too_slow, ..Self::new(self.max_backlog) };
    }

    /// Writes as much as `write` accepts, until it accepts nothing or nothing is left.
    pub(super) fn write_with(&mut self, mut write: impl FnMut(&[IoSlice<'_>]) -> io::Result<usize>) -> io::Result<()> {
        while !self.is_empty() {
            let slices: Vec<IoSlice<'_>> = self.slices().collect();
            match write(&slices) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn slices(&self) -> impl Iterator<Item = IoSlice<'_>> {
        let mut skip = self.written;
        self.pieces.iter().take(PIECES_A_WRITE).map(move |piece| {
            let bytes = &piece.bytes()[skip..];
            skip = 0;
            IoSlice::new(bytes)
        })
    }

    fn advance(&mut self, count: usize) {
        self.waiting -= count;
        self.written += count;
        while let Some(first) = self.pieces.front() {
            let len = first.bytes().len();
            if self.written < len {
                break;
            }
            self.written -= len;
            self.pieces.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> ServerReply {
        ServerReply::text(bytes.to_vec())
    }

    #[test]
    fn written_in_bites_of_every_size() {
        for bite in [1, 2, 3, 5, 4096, 1 << 20] {
            let mut outbox = Outbox::new(1 << 20);
            let mut wanted = Vec::new();
            for number in 0..20_u8 {
                let data: Rc<[u8]> = vec![number; usize::from(number) * 700 % 9000].into();
                let answer = ServerReply::with_data(&data, |buf, _| {
                    buf.extend([number; 90]);
                    Ok(())
                });
                wanted.extend(answer.to_bytes());
                outbox.push(answer).unwrap();
            }
            let (mut got, mut full) = (Vec::new(), false);
            while !outbox.is_empty() {
                let write = |slices: &[IoSlice<'_>]| {
                    full = !full;
                    if full {
                        return Err(io::ErrorKind::WouldBlock.into());
                    }
                    let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(bite).collect();
                    got.extend_from_slice(&bytes);
                    Ok(bytes.len())
                };
                outbox.write_with(write).unwrap();
            }
            assert_eq!(got, wanted, "in bites of {bite}");
            assert_eq!(outbox.waiting, 0);
        }
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut outbox = Outbox::new(100);
        assert_eq!(outbox.push(text(&[0; 100])), Ok(()));
        // The limit, and one packet.
        assert_eq!(outbox.push(text(&[0; 1000])), Ok(()));
        assert_eq!(outbox.push(text(&[0; 1])), Err(TooSlow));
        assert!(outbox.is_empty() && outbox.too_slow() == Some(100));
        assert_eq!(outbox.push(text(&[0; 1])), Err(TooSlow));
    }

    #[test]
    fn a_closed_connection_is_an_error() {
        let mut outbox = Outbox::new(100);
        outbox.push(text(b"x")).unwrap();
        let broken = |_: &[IoSlice<'_>]| Err(io::ErrorKind::BrokenPipe.into());
        assert_eq!(outbox.write_with(broken).unwrap_err().kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(outbox.write_with(|_| Ok(0)).unwrap_err().kind(), io::ErrorKind::WriteZero);
    }
}
