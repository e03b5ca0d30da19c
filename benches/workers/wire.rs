//! Packets, written and read with as little as possible: the load and the raw loops must not be what is measured.

use std::io::{self, Read};

pub const CAN_DO: u32 = 1;
pub const PRE_SLEEP: u32 = 4;
pub const NOOP: u32 = 6;
pub const JOB_CREATED: u32 = 8;
pub const GRAB_JOB: u32 = 9;
pub const NO_JOB: u32 = 10;
pub const JOB_ASSIGN: u32 = 11;
pub const SUBMIT_JOB: u32 = 7;
pub const WORK_COMPLETE: u32 = 13;
pub const SUBMIT_JOB_BG: u32 = 18;
pub const SUBMIT_JOB_HIGH: u32 = 21;
pub const SUBMIT_JOB_LOW: u32 = 33;

const HEADER: usize = 12;
/// Room for one read. A large job is read in a few.
const ROOM: usize = 256 * 1024;

/// Appends a packet to the server, its arguments with a NUL between them.
pub fn request(out: &mut Vec<u8>, kind: u32, args: &[&[u8]]) {
    let size = args.iter().map(|arg| arg.len()).sum::<usize>() + args.len().saturating_sub(1);
    header(out, kind, size);
    for (index, arg) in args.iter().enumerate() {
        if index > 0 {
            out.push(0);
        }
        out.extend_from_slice(arg);
    }
}

/// Appends the header of a packet with `size` bytes behind it.
pub fn header(out: &mut Vec<u8>, kind: u32, size: usize) {
    out.extend_from_slice(b"\0REQ");
    out.extend_from_slice(&kind.to_be_bytes());
    out.extend_from_slice(&u32::try_from(size).unwrap().to_be_bytes());
}

/// What has arrived.
pub struct Reader {
    buffer: Vec<u8>,
    start: usize,
    end: usize,
}

impl Default for Reader {
    fn default() -> Self {
        Self { buffer: vec![0; ROOM], start: 0, end: 0 }
    }
}

impl Reader {
    /// Reads once; 0 at the end of the connection.
    pub fn fill(&mut self, from: &mut impl Read) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let wanted = self.size_of_next().map_or(ROOM, |size| size.max(ROOM));
        if self.buffer.len() < wanted {
            self.buffer.resize(wanted, 0);
        }
        let count = from.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// The next packet that is whole: its kind and what is behind the header.
    pub fn next(&mut self) -> Option<(u32, &[u8])> {
        let size = self.size_of_next().filter(|size| self.start + size <= self.end)?;
        let packet = &self.buffer[self.start..self.start + size];
        self.start += size;
        Some((u32::from_be_bytes(packet[4..8].try_into().unwrap()), &packet[HEADER..]))
    }

    fn size_of_next(&self) -> Option<usize> {
        let header = self.buffer[self.start..self.end].get(..HEADER)?;
        Some(HEADER + u32::from_be_bytes(header[8..].try_into().unwrap()) as usize)
    }
}
