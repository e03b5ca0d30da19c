//! Every packet in the log, at -vvvvv.

use crate::gearman::packet::{HEADER_LEN, Packet, PacketType};
use crate::worker::manager_link::ManagerLink;

/// The level of such a line, as [`crate::worker::messages::WorkerMessage::Log`] has it.
const EVERYTHING: u8 = 5;

/// Whether packets are logged; checked before one is formatted.
pub(super) fn is_wanted(manager_link: &ManagerLink) -> bool {
    manager_link.wants(EVERYTHING)
}

/// Logs what a server has sent.
pub(super) fn received(manager_link: &ManagerLink, server: &str, packet: &Packet<'_>) {
    let text = format!("job server {server} sent {}", described(packet.kind, packet.body.len()));
    manager_link.log(EVERYTHING, None, &text);
}

/// Logs what is sent to a server, if packets are logged. The end of the last packet may be missing, because a result is
/// sent without copying it.
pub(super) fn sent(manager_link: &ManagerLink, server: &str, bytes: &[u8]) {
    if is_wanted(manager_link) {
        for packet in packets(bytes) {
            manager_link.log(EVERYTHING, None, &format!("job server {server} is sent {packet}"));
        }
    }
}

fn described(kind: PacketType, length: usize) -> String {
    format!("{}, {length} bytes", kind.name())
}

/// The packets whose headers are in what we have encoded.
fn packets(mut bytes: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    while let Some((header, rest)) = bytes.split_at_checked(HEADER_LEN) {
        let message = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let Ok(kind) = PacketType::try_from(message(4)) else { break };
        let length = message(8) as usize;
        found.push(described(kind, length));
        bytes = rest.get(length..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gearman::packet::encode;

    #[test]
    fn packets_are_traced_one_by_one() {
        let mut bytes = Vec::new();
        encode::can_do(&mut bytes, b"reverse").unwrap();
        bytes.extend_from_slice(&encode::PRE_SLEEP);
        encode::work_complete_head(&mut bytes, b"H:a:1", 1000).unwrap();
        assert_eq!(packets(&bytes), ["CAN_DO, 7 bytes", "PRE_SLEEP, 0 bytes", "WORK_COMPLETE, 1006 bytes"]);
        assert_eq!(packets(b"short"), [""; 0]);
    }
}
