//! A table row per packet type, and what a hostile or unlucky stream can look like.

mod stream;
mod table;

use super::{Decoder, Magic};

/// Feeds `bytes` into `decoder` in pieces of at most `piece` bytes, as a socket might.
fn feed(decoder: &mut Decoder, mut bytes: &[u8], piece: usize) {
    while !bytes.is_empty() {
        let space = decoder.space();
        let count = bytes.len().min(space.len()).min(piece);
        space[..count].copy_from_slice(&bytes[..count]);
        decoder.advance(count);
        bytes = &bytes[count..];
    }
}

/// A decoder for requests or responses that allows bodies of 1 MiB.
fn decoder(magic: Magic) -> Decoder {
    Decoder::new(magic, 1 << 20)
}
