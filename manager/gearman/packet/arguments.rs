//! Splits a packet's body into arguments: each ends at a NUL, the last one at the packet's end.

use super::{Packet, PacketError, PacketType};

/// The arguments of one packet, taken from front to back.
pub(super) struct Arguments<'a> {
    kind: PacketType,
    rest: &'a [u8],
    taken: usize,
    expected: usize,
}

impl<'a> Arguments<'a> {
    /// The arguments of `packet`, which must have `expected` of them.
    pub(super) fn of(packet: Packet<'a>, expected: usize) -> Self {
        Self { kind: packet.kind, rest: packet.body, taken: 0, expected }
    }

    /// The next argument, up to its NUL.
    pub(super) fn next(&mut self) -> Result<&'a [u8], PacketError> {
        let Some(end) = self.rest.iter().position(|byte| *byte == 0) else {
            // The remaining bytes are the last argument.
            return Err(PacketError::MissingArguments {
                kind: self.kind,
                found: self.taken + 1,
                expected: self.expected,
            });
        };
        let argument = &self.rest[..end];
        self.rest = &self.rest[end + 1..];
        self.taken += 1;
        Ok(argument)
    }

    /// The last argument, up to the packet's end.
    pub(super) fn last(self) -> &'a [u8] {
        self.rest
    }

    /// The next argument as a number.
    pub(super) fn number(&mut self) -> Result<u64, PacketError> {
        self.next().map(number)
    }

    /// The last argument as a number.
    pub(super) fn last_number(self) -> u64 {
        number(self.rest)
    }
}

/// A handle or name at the end of a packet. Some peers append a NUL that does not belong to it.
pub(super) fn name(body: &[u8]) -> &[u8] {
    body.strip_suffix(b"\0").unwrap_or(body)
}

/// The leading digits, as gearmand and libgearman read numbers (`atoi`): no digits mean 0, and a number that does not
/// fit becomes the largest one. A worker's odd progress must not end its client's connection.
fn number(text: &[u8]) -> u64 {
    text.iter()
        .take_while(|byte| byte.is_ascii_digit())
        .fold(0, |sum: u64, digit| sum.saturating_mul(10).saturating_add(u64::from(digit - b'0')))
}
