//! Makes names and bytes from outside safe for a log line.

use std::fmt::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// The bytes as text, with control characters and bytes that are not UTF-8 escaped (`
/// `, `\u{1b}`, `\xff`), so that nothing in a file's name or content can forge a line.
pub fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for c in chunk.valid().chars() {
            if c.is_control() { out.extend(c.escape_debug()) } else { out.push(c) }
        }
        for byte in chunk.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

/// As [`escaped`], but at most `max` bytes of the input, followed by `...` if there are more.
pub fn clipped(bytes: &[u8], max: usize) -> String {
    match bytes.get(..max) {
        Some(head) if bytes.len() > max => escaped(head) + "...",
        _ => escaped(bytes),
    }
}

/// A path in a message, escaped as by [`escaped`].
#[derive(Debug, Clone, Copy)]
pub struct DisplayPath<'a>(pub &'a Path);

impl fmt::Display for DisplayPath<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escaped(self.0.as_os_str().as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_its_line() {
        let cases: [(&[u8], &str); 6] = [
            (b"plain name.so", "plain name.so"),
            (b"two\nlines", "two\\nlines"),
            (b"esc\x1b[31m", "esc\\u{1b}[31m"),
            (b"\xff\xfe", "\\xff\\xfe"),
            ("gr\u{fc}n".as_bytes(), "gr\u{fc}n"),
            ("c1 \u{9b}".as_bytes(), "c1 \\u{9b}"),
        ];
        for (bytes, text) in cases {
            assert_eq!(escaped(bytes), text);
        }
        assert_eq!(clipped(b"abcdef", 3), "abc...");
        assert_eq!(clipped(b"abc", 3), "abc");
    }
}
