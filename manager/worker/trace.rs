//! Every packet in the log, at -vvvvv.

use crate::gearman::packet::{HEADER_LEN, Kind, Packet};
use crate::worker::line::Line;

/// The level of such a line, as [`crate::worker::orders::Word::Log`] has it.
const EVERYTHING: u8 = 5;

/// Whether packets are logged: asked before anything is made of one.
pub fn is_wanted(line: &Line) -> bool {
    line.wants(EVERYTHING)
}

/// Logs what a server has sent.
pub fn received(line: &Line, server: &str, packet: &Packet<'_>) {
    let text = format!("job server {server} sent {}", told(packet.kind, packet.body.len()));
    line.log(EVERYTHING, None, &text);
}

/// Logs what goes to a server, where that is wanted. The end of the last packet may be missing: a result is sent from
/// where it lies.
pub fn sent(line: &Line, server: &str, bytes: &[u8]) {
    if is_wanted(line) {
        for packet in packets(bytes) {
            line.log(EVERYTHING, None, &format!("job server {server} is sent {packet}"));
        }
    }
}

fn told(kind: Kind, length: usize) -> String {
    format!("{}, {length} bytes", kind.name())
}

/// The packets whose headers are in what we have encoded.
fn packets(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER_LEN) {
        let word = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let Ok(kind) = Kind::try_from(word(4)) else { break };
        let length = word(8) as usize;
        found.push(told(kind, length));
        bytes = rest.get(length..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gearman::packet::encode;

    #[test]
    fn packets_are_told_one_by_one() {
        let mut bytes = Vec::new();
        encode::can_do(&mut bytes, b"reverse").unwrap();
        bytes.extend_from_slice(&encode::PRE_SLEEP);
        encode::work_complete_head(&mut bytes, b"H:a:1", 1000).unwrap();
        assert_eq!(packets(&bytes), ["CAN_DO, 7 bytes", "PRE_SLEEP, 0 bytes", "WORK_COMPLETE, 1006 bytes"]);
        assert_eq!(packets(b"short"), [""; 0]);
    }
}
