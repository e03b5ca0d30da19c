//! Appends packets to a buffer; what [`encode`](super::encode) and [`answer`](super::answer) share.

use super::{ArgumentError, HEADER_LEN, Magic, PacketType};

/// The header of a packet.
pub(super) const fn header(magic: Magic, kind: PacketType, len: u32) -> [u8; HEADER_LEN] {
    let [m0, m1, m2, m3] = magic.bytes();
    let [k0, k1, k2, k3] = (kind as u32).to_be_bytes();
    let [l0, l1, l2, l3] = len.to_be_bytes();
    [m0, m1, m2, m3, k0, k1, k2, k3, l0, l1, l2, l3]
}

/// An argument that ends at a NUL, with its name for the error's text.
pub(super) type NamedArgument<'a> = (&'static str, &'a [u8]);

/// A packet of arguments only: separated by a NUL, none after the last.
pub(super) fn arguments(
    buf: &mut Vec<u8>,
    magic: Magic,
    kind: PacketType,
    arguments: &[NamedArgument<'_>],
) -> Result<(), ArgumentError> {
    let separators = arguments.len().saturating_sub(1);
    let len = length(kind, arguments, separators)?;
    buf.extend_from_slice(&header(magic, kind, len));
    for (index, (_, value)) in arguments.iter().enumerate() {
        if index > 0 {
            buf.push(0);
        }
        buf.extend_from_slice(value);
    }
    Ok(())
}

/// The start of a packet that ends in data: header and arguments, each with its NUL. The length in the header includes
/// the `data_len` bytes that the caller sends next.
pub(super) fn head(
    buf: &mut Vec<u8>,
    magic: Magic,
    kind: PacketType,
    arguments: &[NamedArgument<'_>],
    data_len: usize,
) -> Result<(), ArgumentError> {
    let len = length(kind, arguments, arguments.len().saturating_add(data_len))?;
    buf.extend_from_slice(&header(magic, kind, len));
    for (_, value) in arguments {
        buf.extend_from_slice(value);
        buf.push(0);
    }
    Ok(())
}

/// A packet that ends in data, complete.
pub(super) fn with_data(
    buf: &mut Vec<u8>,
    magic: Magic,
    kind: PacketType,
    arguments: &[NamedArgument<'_>],
    data: &[u8],
) -> Result<(), ArgumentError> {
    head(buf, magic, kind, arguments, data.len())?;
    buf.extend_from_slice(data);
    Ok(())
}

/// Checks the arguments and sums up their lengths, plus `more` bytes.
fn length(kind: PacketType, arguments: &[NamedArgument<'_>], more: usize) -> Result<u32, ArgumentError> {
    let mut length = more;
    for (argument, value) in arguments {
        if value.contains(&0) {
            return Err(ArgumentError::Nul { kind, argument, value: value.to_vec() });
        }
        length = length.saturating_add(value.len());
    }
    u32::try_from(length).map_err(|_| ArgumentError::TooLong { kind, length })
}

/// Decimal digits in a buffer of their own, so that progress costs no allocation.
pub(super) struct Decimal {
    digits: [u8; 20],
    start: usize,
}

impl Decimal {
    pub(super) fn new(mut number: u64) -> Self {
        let mut digits = [b'0'; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            // A remainder of ten is one digit.
            digits[start] = b'0' + (number % 10) as u8;
            number /= 10;
            if number == 0 {
                return Self { digits, start };
            }
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.digits[self.start..]
    }
}
