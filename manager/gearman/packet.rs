//! The binary protocol without IO: bytes to packets and packets to bytes.
//!
//! [`Decoder`] cuts a stream into packets, [`Response`] and [`Request`] name a packet's arguments, and [`encode`] and
//! [`answer`] append packets to a buffer. Decoding copies nothing: a packet borrows from the decoder's buffer. The
//! format is that of gearmand's PROTOCOL file; comments note where gearmand itself differs.

pub mod answer;
mod arguments;
mod decoder;
pub mod encode;
mod error;
mod packet_type;
mod request;
mod response;
mod write;

#[cfg(test)]
mod tests;

pub use decoder::{Decoder, Packet};
pub use error::{ArgumentError, PacketError};
pub use packet_type::{Magic, PacketType};
pub use request::{Priority, Request, Submission, SubmittedJob};
pub use response::{AssignedJob, JobStatus, Response};

/// Bytes before a packet's arguments: magic, type and length, four bytes each, the numbers big-endian.
pub const HEADER_LEN: usize = 12;
