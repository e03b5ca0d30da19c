//! Which jobs a server gives to a worker, as its bytes pass by; with `LEDGER_WIRE=1`, every packet both ways.

use gm_native::gearman::packet::{HEADER_LEN, PacketType};

use crate::history::{Closer, History, Record};

/// Enough of a packet's body for the handle, the function and the unique of a job.
const HEAD: usize = 512;

/// Reads along what one end of a connection sends.
pub struct Tap<'a> {
    history: &'a History,
    connection: u64,
    from: Closer,
    /// Whether every packet is written down.
    all: bool,
    /// Header and beginning of the body of the packet that is under way.
    head: Vec<u8>,
    /// What is still to come of it and is not kept.
    skip: usize,
}

impl<'a> Tap<'a> {
    /// Writes what it sees into `history`.
    pub fn new(history: &'a History, connection: u64, from: Closer) -> Self {
        let all = std::env::var_os("LEDGER_WIRE").is_some();
        Self { history, connection, from, all, head: Vec::new(), skip: 0 }
    }

    /// What comes next.
    pub fn see(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let wanted = self.wanted().saturating_sub(self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..wanted]);
            bytes = &bytes[wanted..];
            if self.head.len() >= HEADER_LEN && self.head.len() == self.wanted() {
                self.skip = self.body() - (self.head.len() - HEADER_LEN);
                self.packet();
                self.head.clear();
            }
        }
    }

    /// Nothing comes any more.
    pub fn end(&self) {
        self.note("end of file".into());
    }

    fn note(&self, packet: String) {
        if self.all {
            self.history.write(Record::Passed { connection: self.connection, from: self.from, packet });
        }
    }

    /// How long the head of this packet is, as far as it is known.
    fn wanted(&self) -> usize {
        if self.head.len() < HEADER_LEN { HEADER_LEN } else { HEADER_LEN + self.body().min(HEAD) }
    }

    fn body(&self) -> usize {
        number(&self.head[8..HEADER_LEN]) as usize
    }

    fn packet(&self) {
        let Ok(kind) = PacketType::try_from(number(&self.head[4..8])) else { return };
        if self.all {
            let text = &self.head[HEADER_LEN..self.head.len().min(HEADER_LEN + 40)];
            self.note(format!("{} {:?}", kind.name(), String::from_utf8_lossy(text)));
        }
        if kind != PacketType::JobAssignUniq {
            return;
        }
        // Handle, function, unique, workload.
        let Some(unique) = self.head[HEADER_LEN..].split(|byte| *byte == 0).nth(2) else { return };
        let sub = String::from_utf8_lossy(unique).into_owned();
        self.history.write(Record::Assigned { sub, connection: self.connection });
    }
}

fn number(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0, |number, byte| number << 8 | u32::from(*byte))
}
