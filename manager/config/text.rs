//! Bytes as text and back.
//!
//! An ini written for PHP may contain any bytes in comments and values (a latin-1 path, say); rust-ini requires UTF-8.
//! A byte that is not UTF-8 becomes one character at the very end of Unicode's last private plane, and is turned back
//! wherever a path or a plugin's setting is used.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// Byte `b` is the character `STAND_IN + b`.
const STAND_IN: u32 = 0x10_FF00;

/// The longest excerpt of a value in a message, in characters.
const EXCERPT: usize = 60;

/// The text of `bytes`; [`encode`] gives exactly the same bytes back.
pub fn decode(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            // A file that really contains a stand-in keeps its bytes, or decoding would not be reversible.
            if byte_of(c).is_some() {
                let mut buffer = [0; 4];
                text.extend(c.encode_utf8(&mut buffer).bytes().map(stand_in));
            } else {
                text.push(c);
            }
        }
        text.extend(chunk.invalid().iter().copied().map(stand_in));
    }
    text
}

/// The bytes that [`decode`] was given.
pub fn encode(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    for c in text.chars() {
        match byte_of(c) {
            Some(byte) => bytes.push(byte),
            None => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// Whether `text` stands for bytes that are not UTF-8.
pub(super) fn is_foreign(text: &str) -> bool {
    text.chars().any(|c| byte_of(c).is_some())
}

/// An argument or a path as text.
pub(super) fn from_os(text: &OsStr) -> String {
    decode(text.as_bytes())
}

/// The path that a text stands for.
pub(super) fn to_path(text: &str) -> PathBuf {
    PathBuf::from(OsString::from_vec(encode(text)))
}

/// A path as text.
pub(super) fn from_path(path: &Path) -> String {
    from_os(path.as_os_str())
}

/// A value for a message: quoted, cut, and unable to forge a line of a log.
pub(super) fn quoted(text: &str) -> String {
    let readable = String::from_utf8_lossy(&encode(text)).into_owned();
    let mut excerpt: String = readable.chars().take(EXCERPT).flat_map(printable).collect();
    if readable.chars().nth(EXCERPT).is_some() {
        excerpt.push_str("...");
    }
    format!("\"{excerpt}\"")
}

/// A character in printable form: control characters are escaped.
fn printable(c: char) -> impl Iterator<Item = char> {
    let escaped = c.is_control().then(|| c.escape_default());
    let plain = escaped.is_none().then_some(c);
    escaped.into_iter().flatten().chain(plain)
}

fn stand_in(byte: u8) -> char {
    char::from_u32(STAND_IN + u32::from(byte)).unwrap_or(char::REPLACEMENT_CHARACTER)
}

fn byte_of(c: char) -> Option<u8> {
    u32::from(c).checked_sub(STAND_IN).and_then(|byte| u8::try_from(byte).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_bytes_come_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in [&all[..], b"", b"plain", "caf\u{e9}".as_bytes(), b"caf\xe9", b"\xf0\x9f", "\u{10FFE9}".as_bytes()]
        {
            assert_eq!(encode(&decode(bytes)), bytes);
        }
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..500 {
            let bytes: Vec<u8> = (0..rng.usize(0..40)).map(|_| rng.u8(..)).collect();
            assert_eq!(encode(&decode(&bytes)), bytes);
        }
    }

    #[test]
    fn utf8_stays_as_it_is() {
        assert_eq!(decode("caf\u{e9}".as_bytes()), "caf\u{e9}");
        assert!(!is_foreign("caf\u{e9}"));
        assert!(is_foreign(&decode(b"caf\xe9")));
    }

    #[test]
    fn an_excerpt_cannot_forge_a_line() {
        assert_eq!(quoted("a\nb\u{1b}"), "\"a\\nb\\u{1b}\"");
        assert_eq!(quoted(&"x".repeat(70)), format!("\"{}...\"", "x".repeat(60)));
        assert_eq!(quoted(&decode(b"caf\xe9")), "\"caf\u{fffd}\"");
    }
}
