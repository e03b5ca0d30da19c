//! Cuts a peer's bytes into packets.

use super::{HEADER_LEN, Magic, PacketError, PacketType};

/// The buffer's size, unless a packet needs more.
const USUAL: usize = 16 * 1024;
/// If less room is left at its end, the buffer is compacted before the next read.
const WORTH_READING: usize = 4 * 1024;
/// How much is kept of a job that is too long: more than its handle, function and unique need.
const KEPT: usize = 8 * 1024;

/// A whole packet, borrowed from its [`Decoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    /// Its type.
    pub kind: PacketType,
    /// What follows the header.
    pub body: &'a [u8],
    /// How many further bytes it had, which were dropped ([`Decoder::cutting_jobs`]).
    pub missing: usize,
}

/// A checked header.
#[derive(Clone, Copy)]
struct PacketHeader {
    kind: PacketType,
    /// How much of the body is kept.
    len: usize,
    /// How much of the body follows that and is dropped.
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
    /// Where the first byte not yet returned is.
    start: usize,
    /// Where the next byte read goes.
    end: usize,
    /// The header at `start`, once checked.
    header: Option<PacketHeader>,
    /// How many bytes of the packet at `start` have arrived and were dropped.
    dropped: usize,
}

impl Decoder {
    /// A decoder for packets of one direction, whose bodies are at most `max_packet` bytes long.
    #[must_use]
    pub fn new(magic: Magic, max_packet: usize) -> Self {
        let (buffer, header) = (Vec::new(), None);
        Self { magic, max_packet, cuts_jobs: false, buffer, start: 0, end: 0, header, dropped: 0 }
    }

    /// Makes a job beyond the limit no error: it comes without the end of its workload, so that the worker can fail it
    /// and its client gets an answer. Closing the connection would pass the job to the next worker, and so on.
    #[must_use]
    pub fn cutting_jobs(self) -> Self {
        Self { cuts_jobs: true, ..self }
    }

    /// Calls `read` once with a buffer that is never empty. Takes in as many bytes as `read` says it has put there, and
    /// returns that number.
    ///
    /// First call [`next`](Self::next) until there is no packet left, or memory grows.
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
            // The last step is exact, so that a packet of 65 MiB does not occupy 128.
            let needed = self.front().and_then(Result::ok).map_or(grown, |header| HEADER_LEN + header.len);
            let size = if needed > self.end { grown.min(needed.max(USUAL)) } else { grown };
            if self.buffer.is_empty() {
                // Zeroed by the system, page by page as they are first used: most workers only ever use the first one.
                self.buffer = vec![0; size];
            } else {
                self.buffer.reserve_exact(size - self.buffer.len());
                self.buffer.resize(size, 0);
            }
        }
        &mut self.buffer[self.end..]
    }

    /// Drops what has arrived of the packet at the front and is not kept.
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

    /// The next complete packet; `None` if it needs more bytes.
    ///
    /// # Errors
    ///
    /// A header that is invalid; every further call returns the same error, since nothing after it can be parsed.
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

    /// Bytes that have arrived but were not returned: if not 0 at the end of a connection, a packet was cut short.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.end - self.start
    }

    /// Bytes that are here or will be: those that came and were not handed out, or the packet at the front as a whole.
    #[must_use]
    pub fn held(&self) -> usize {
        let front = self.front().and_then(Result::ok).map_or(0, |header| HEADER_LEN + header.len);
        self.pending().max(front)
    }

    /// Whether the packet at the front is incomplete, so that only reading more can produce one.
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

    /// The header at the front, once its bytes have arrived.
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

    /// Starts at the front again, with a buffer of the usual size.
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
