//! A connection on which the test sends and receives single packets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use gm_native::gearman::packet::{ArgumentError, Decoder, Magic, Packet};

use super::wait::DEADLINE;

/// A test's end of a connection. Nothing waits longer than the deadline.
pub struct Wire {
    /// For what the methods do not do.
    pub stream: TcpStream,
    /// Reads at most this many bytes at a time, and pauses before each read.
    pub pace: Option<(usize, Duration)>,
    decoder: Decoder,
}

impl Wire {
    /// Wraps a connection on which packets of one direction arrive.
    #[track_caller]
    pub fn new(stream: TcpStream, coming: Magic) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        Self { stream, pace: None, decoder: Decoder::new(coming, 1 << 30) }
    }

    /// Writes bytes unchanged.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Writes what an encoder makes.
    #[track_caller]
    pub fn encode(&mut self, encoder: impl FnOnce(&mut Vec<u8>) -> Result<(), ArgumentError>) {
        let mut buf = Vec::new();
        encoder(&mut buf).unwrap();
        self.send(&buf);
    }

    /// Writes a packet of a handle and data, with an encoder of its head.
    #[track_caller]
    pub fn send_data(
        &mut self,
        head: impl FnOnce(&mut Vec<u8>, &[u8], usize) -> Result<(), ArgumentError>,
        handle: &[u8],
        data: &[u8],
    ) {
        self.encode(|buf| head(buf, handle, data.len()));
        self.send(data);
    }

    /// The next packet as `see` returns it; `None` if none arrives in time, or the connection ends.
    #[track_caller]
    pub fn try_packet<T>(&mut self, see: impl FnOnce(Packet<'_>) -> T) -> Option<T> {
        loop {
            if let Some(packet) = self.decoder.next().unwrap() {
                return Some(see(packet));
            }
            let most = self.pace.map_or(usize::MAX, |(most, pause)| {
                std::thread::sleep(pause);
                most
            });
            let read = self.decoder.read_from(|space| {
                let most = most.min(space.len());
                self.stream.read(&mut space[..most])
            });
            read.ok().filter(|count| *count > 0)?;
        }
    }
}
