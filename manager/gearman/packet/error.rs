//! Errors in packets received, and in arguments of packets to send.

use super::{Magic, PacketType};

/// Bytes that are no packet. The rest of the stream cannot be read: close the connection.
///
/// The texts escape all bytes from the peer, so they can be logged as they are.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The first four bytes are not those of the expected direction.
    #[error("a packet began with \"{}\" instead of \"{}\": the peer does not speak the Gearman protocol, or lost its \
             place in it", .found.escape_ascii(), .expected.bytes().escape_ascii())]
    Magic {
        /// What was expected.
        expected: Magic,
        /// What came.
        found: [u8; 4],
    },
    /// A type the protocol does not have.
    #[error("a packet is of type {0}, which the Gearman protocol does not have")]
    UnknownKind(u32),
    /// A type that only travels in the other direction.
    #[error("a {kind} packet came as a {magic}, which it cannot be")]
    Direction {
        /// Its type.
        kind: PacketType,
        /// The direction it came in.
        magic: Magic,
    },
    /// The header claims more than is allowed.
    #[error("a {kind} packet claims {claimed} bytes, more than max_packet allows ({max})")]
    TooLong {
        /// Its type.
        kind: PacketType,
        /// The length in its header.
        claimed: u32,
        /// The limit.
        max: usize,
    },
    /// The body ends before its last argument begins.
    #[error("a {kind} packet has {found} of its {expected} arguments")]
    MissingArguments {
        /// Its type.
        kind: PacketType,
        /// How many there are.
        found: usize,
        /// How many it must have.
        expected: usize,
    },
}

/// Arguments that no packet can carry. Nothing was appended to the buffer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArgumentError {
    /// An argument that ends at a NUL on the wire contains one.
    #[error("the {argument} \"{}\" of a {kind} packet contains a NUL byte, where the protocol ends it", .value.escape_ascii())]
    Nul {
        /// The packet's type.
        kind: PacketType,
        /// What the argument is.
        argument: &'static str,
        /// The offending value.
        value: Vec<u8>,
    },
    /// The packet would be longer than its header can express.
    #[error("a {kind} packet of {length} bytes is longer than the protocol can say (4294967295)")]
    TooLong {
        /// The packet's type.
        kind: PacketType,
        /// The length it would have; `usize::MAX` if that overflows.
        length: usize,
    },
}
