//! A table row for each packet type, and hostile or unlucky streams.

mod stream;
mod table;

use std::io::Read;

use super::{Decoder, Magic};

/// Feeds `bytes` into `decoder` in pieces of at most `piece` bytes, as a socket might.
fn feed(decoder: &mut Decoder, mut bytes: &[u8], piece: usize) {
    while !bytes.is_empty() {
        let mut some = &bytes[..bytes.len().min(piece)];
        let count = decoder.read_from(|space| some.read(space)).unwrap();
        bytes = &bytes[count..];
    }
}

/// A decoder for requests or responses that allows bodies of 1 MiB.
fn decoder(magic: Magic) -> Decoder {
    Decoder::new(magic, 1 << 20)
}
