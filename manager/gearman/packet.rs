//! The binary protocol without IO: bytes in, packets out, and the other way round.
//!
//! [`Decoder`] cuts a stream into packets, [`FromServer`] and [`Request`] give a packet's arguments their names, and
//! [`encode`] and [`answer`] append packets to a buffer. Nothing is copied on the way in: a view borrows from the
//! decoder's buffer. The format is that of gearmand's PROTOCOL file; where gearmand does otherwise, a comment says so.

pub mod answer;
mod arguments;
mod decoder;
pub mod encode;
mod error;
mod kind;
mod request;
mod response;
mod write;

#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Packet};
pub use error::{ArgumentError, PacketError};
pub use kind::{Kind, Magic};
pub use request::{Priority, Request, Submission, Submitted};
pub use response::{Assigned, FromServer, JobStatus};

/// Bytes before a packet's arguments: magic, type and length, four bytes each, the numbers big-endian.
pub const HEADER_LEN: usize = 12;
