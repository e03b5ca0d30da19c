//! Makes text from outside safe to show: what a job, a client or a plugin sent may neither start a new line nor control
//! the terminal that shows it.

use std::borrow::Cow;
use std::fmt::Write;

/// Follows a text that was cut.
const CUT: &str = "...(truncated)";

/// The text with everything made visible that could forge a line or control a terminal: line ends, tabs, other control
/// characters, and the characters that reorder text, as `
/// `, `\t`, `\x1b`, `\u{202e}`; bytes that are not UTF-8 as `\xff`. Escaping twice changes nothing more. Backslashes
/// stay: JSON in a log should be readable as it is.
pub(crate) fn escape<T: AsRef<[u8]> + ?Sized>(text: &T) -> Cow<'_, str> {
    let bytes = text.as_ref();
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(is_unsafe) => Cow::Borrowed(text),
        _ => Cow::Owned(escaped(bytes)),
    }
}

/// At most the first `limit` bytes of a text, followed by `...(truncated)` if something is missing. Never cuts through
/// a character.
pub(crate) fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let end = text.floor_char_boundary(limit);
    Cow::Owned(format!("{}{CUT}", &text[..end]))
}

/// At most the first `limit` bytes of what a job, a client or a plugin sent, escaped, for a log line. The limit counts
/// the bytes sent, so the result may be up to four times as long.
pub(crate) fn excerpt<T: AsRef<[u8]> + ?Sized>(bytes: &T, limit: usize) -> Cow<'_, str> {
    let bytes = bytes.as_ref();
    if bytes.len() <= limit {
        return escape(bytes);
    }
    // A UTF-8 character has at most three continuation bytes: step back over them rather than show half of it.
    let is_start = |at: &usize| bytes[*at] & 0b1100_0000 != 0b1000_0000;
    let end = (limit.saturating_sub(3)..=limit).rev().find(is_start).unwrap_or(limit);
    let mut shown = escape(&bytes[..end]).into_owned();
    shown.push_str(CUT);
    Cow::Owned(shown)
}

fn escaped(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + bytes.len() / 4);
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            push(&mut out, character);
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

fn push(out: &mut String, character: char) {
    match character {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        character if !is_unsafe(character) => out.push(character),
        character if character.is_ascii() => {
            let _ = write!(out, "\\x{:02x}", u32::from(character));
        }
        character => {
            let _ = write!(out, "\\u{{{:x}}}", u32::from(character));
        }
    }
}

/// Control characters (C0, DEL and C1, which some terminals obey as well), Unicode's own line ends, and the characters
/// that change the order in which text is shown.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_could_forge_a_line() {
        let cases: [(&[u8], &str); 14] = [
            (b"", ""),
            (b"plain text, {\"json\": \"a\\\\b\"}", "plain text, {\"json\": \"a\\\\b\"}"),
            ("gr\u{fc}n \u{2713}".as_bytes(), "gr\u{fc}n \u{2713}"),
            (
                b"a\n[2026-11-24 12:00:00.000000]     1 INFO   forged",
                "a\\n[2026-11-24 12:00:00.000000]     1 INFO   forged",
            ),
            (b"over\rwritten", "over\\rwritten"),
            (b"a\tb", "a\\tb"),
            (b"nul\0", "nul\\x00"),
            (b"\x1b[2Jcleared", "\\x1b[2Jcleared"),
            (b"del\x7f", "del\\x7f"),
            (b"bad \xff\xfe utf-8", "bad \\xff\\xfe utf-8"),
            (b"half \xe2\x9c", "half \\xe2\\x9c"),
            ("next\u{85}line".as_bytes(), "next\\u{85}line"),
            ("line\u{2028}end".as_bytes(), "line\\u{2028}end"),
            ("order\u{202e}txet".as_bytes(), "order\\u{202e}txet"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(escape(bytes), expected);
            assert_eq!(escape(expected), expected, "escaping twice changes nothing");
        }
        assert!(matches!(escape("nothing to do"), Cow::Borrowed(_)));
    }

    #[test]
    fn no_byte_reaches_a_line_as_a_control_character() {
        for first in 0..=255u8 {
            for second in [0, b'\n', b'a', 0x85, 0xc2, 0xff] {
                let bytes = [first, second, b'\n'];
                assert!(!escape(&bytes).chars().any(char::is_control), "{bytes:?}");
            }
        }
    }

    #[test]
    fn cuts_at_a_character() {
        let cases = [
            ("", 0, ""),
            ("abc", 3, "abc"),
            ("abcd", 3, "abc...(truncated)"),
            ("a\u{fc}b", 2, "a...(truncated)"),
            ("a\u{fc}b", 3, "a\u{fc}...(truncated)"),
            ("\u{2713}", 1, "...(truncated)"),
        ];
        for (text, limit, expected) in cases {
            assert_eq!(cut(text, limit), expected);
            assert_eq!(excerpt(text, limit), expected);
        }
        assert_eq!(cut(&"x".repeat(257), 256).len(), 256 + CUT.len());
        assert_eq!(excerpt(b"\x80\x80\x80\x80\x80\x80", 4), "\\x80\\x80\\x80\\x80...(truncated)");
        assert_eq!(excerpt(b"\n\n\n", 2), "\\n\\n...(truncated)");
    }
}
