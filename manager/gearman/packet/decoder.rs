//! Cuts what comes from a peer into packets.

use super::{HEADER_LEN, Magic, PacketError, PacketType};

/// The buffer's size, but for packets that do not fit.
const USUAL: usize = 16 * 1024;
/// With less room than this at its end the buffer is worth tidying before the next read.
const WORTH_READING: usize = 4 * 1024;
/// What is kept of a job that is too long: more than its handle, function and unique id take.
const KEPT: usize = 8 * 1024;

/// A whole packet, borrowed from its [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: PacketType,
    /// What follows the header.
    pub body: &'a [u8],
    /// How many bytes more it had, which were thrown away ([`Decoder::cutting_jobs`]).
    pub missing: usize,
}

/// A header that was found good.
#[derive(Clone, Copy)]
struct PacketHeader {
    kind: PacketType,
    /// Of the body, as far as it is kept.
    len: usize,
    /// What comes behind that and is not kept.
    missing: usize,
}

/// Turns bytes into packets, without reading them itself.
///
/// Fill it with [`read_from`](Self::read_from), then take packets with [`next`](Self::next) until there is none. A header
/// is checked as soon as its 12 bytes are there, and memory grows only as bytes arrive: a peer that claims a large packet
/// and sends nothing costs nothing.
pub struct Decoder {
    magic: Magic,
    max_packet: usize,
    cuts_jobs: bool,
    buffer: Vec<u8>,
    /// Where the first byte not yet handed out is.
    start: usize,
    /// Where the next byte read goes.
    end: usize,
    /// The header at `start`, once checked.
    header: Option<PacketHeader>,
    /// Bytes of the packet at `start` that came and were not kept.
    dropped: usize,
}

impl Decoder {
    /// A decoder for packets of one direction, whose bodies are at most `max_packet` bytes long.
    #[must_use]
    pub fn new(magic: Magic, max_packet: usize) -> Self {
        let (buffer, header) = (Vec::new(), None);
        Self { magic, max_packet, cuts_jobs: false, buffer, start: 0, end: 0, header, dropped: 0 }
    }

    /// A job beyond the limit is no error, and is handed out without the end of its workload: so the client that
    /// submitted it can be told. To end the connection would give it to the next worker, and so on.
    #[must_use]
    pub fn cutting_jobs(self) -> Self {
        Self { cuts_jobs: true, ..self }
    }

    /// Calls `read` once with room for bytes, which is never empty. Takes in as many as `read` says it has put there, and
    /// returns that number.
    ///
    /// Call [`next`](Self::next) until there is no packet first: what was not taken stays in memory.
    ///
    /// # Errors
    ///
    /// That of `read`; nothing was taken in then.
    pub fn read_from<E>(&mut self, read: impl FnOnce(&mut [u8]) -> Result<usize, E>) -> Result<usize, E> {
        let count = read(self.space())?;
        self.end = (self.end + count).min(self.buffer.len());
        self.drop_missing();
        Ok(count)
    }

    fn space(&mut self) -> &mut [u8] {
        if self.start > 0 && self.buffer.len() - self.end < WORTH_READING {
            self.buffer.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
        }
        if self.end == self.buffer.len() {
            let grown = (self.buffer.len() * 2).max(USUAL);
            // The last step is an exact one, so that a packet of 65 MiB does not hold 128.
            let needed = self.front().and_then(Result::ok).map_or(grown, |header| HEADER_LEN + header.len);
            let size = if needed > self.end { grown.min(needed.max(USUAL)) } else { grown };
            self.buffer.reserve_exact(size - self.buffer.len());
            self.buffer.resize(size, 0);
        }
        &mut self.buffer[self.end..]
    }

    /// Throws away what came of the packet at the front and is not kept.
    fn drop_missing(&mut self) {
        let Some(Ok(header)) = self.front().filter(|_| self.cuts_jobs) else { return };
        let kept = self.start + HEADER_LEN + header.len;
        let count = self.end.saturating_sub(kept).min(header.missing - self.dropped);
        if count > 0 {
            self.buffer.copy_within(kept + count..self.end, kept);
            self.end -= count;
            self.dropped += count;
        }
    }

    /// The next whole packet; `None` when more bytes are needed first.
    ///
    /// # Errors
    ///
    /// A header that is wrong in itself; every further call returns it again, since nothing after it can be parsed.
    #[expect(clippy::should_implement_trait, reason = "a packet borrows from the decoder, an iterator cannot say that")]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, PacketError> {
        if self.start == self.end {
            self.give_back();
        }
        let Some(front) = self.front() else { return Ok(None) };
        let header = *self.header.insert(front?);
        self.drop_missing();
        if self.lacks_some(header) {
            return Ok(None);
        }
        let whole = HEADER_LEN + header.len;
        let body = self.start + HEADER_LEN..self.start + whole;
        self.start += whole;
        (self.header, self.dropped) = (None, 0);
        Ok(Some(Packet { kind: header.kind, body: &self.buffer[body], missing: header.missing }))
    }

    /// Bytes that came and were not handed out: not zero at the end of a connection means that a packet was cut short.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Whether the packet at the front has not come in full: nothing can be taken until more is read.
    #[must_use]
    pub fn is_partial(&self) -> bool {
        match self.front() {
            None => true,
            Some(Ok(header)) => self.lacks_some(header),
            Some(Err(_)) => false,
        }
    }

    fn lacks_some(&self, header: PacketHeader) -> bool {
        self.pending() < HEADER_LEN + header.len || self.dropped < header.missing
    }

    /// The header at the front, once its bytes are there.
    fn front(&self) -> Option<Result<PacketHeader, PacketError>> {
        match self.header {
            Some(header) => Some(Ok(header)),
            None => self.buffer[self.start..self.end].first_chunk().map(|bytes| self.check(*bytes)),
        }
    }

    fn check(&self, bytes: [u8; HEADER_LEN]) -> Result<PacketHeader, PacketError> {
        let [m0, m1, m2, m3, k0, k1, k2, k3, l0, l1, l2, l3] = bytes;
        let (magic, max) = (self.magic, self.max_packet);
        let found = [m0, m1, m2, m3];
        if found != magic.bytes() {
            return Err(PacketError::Magic { expected: magic, found });
        }
        let kind = PacketType::try_from(u32::from_be_bytes([k0, k1, k2, k3])).map_err(PacketError::UnknownKind)?;
        if !kind.travels_as(magic) {
            return Err(PacketError::Direction { kind, magic });
        }
        let claimed = u32::from_be_bytes([l0, l1, l2, l3]);
        match usize::try_from(claimed) {
            Ok(len) if len <= max => Ok(PacketHeader { kind, len, missing: 0 }),
            Ok(len) if self.cuts_jobs && kind.is_job() => {
                let kept = len.min(KEPT);
                Ok(PacketHeader { kind, len: kept, missing: len - kept })
            }
            _ => Err(PacketError::TooLong { kind, claimed, max }),
        }
    }

    /// Begins at the front again, with a buffer of the usual size.
    fn give_back(&mut self) {
        (self.start, self.end) = (0, 0);
        if self.buffer.len() > USUAL {
            self.buffer = Vec::new();
        }
    }

    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.buffer.capacity()
    }
}
