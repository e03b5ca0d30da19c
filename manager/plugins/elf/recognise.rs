//! Recognises files that are not ELF: notes, error pages of a download, the wrong artefact.

use crate::plugins::display_path::clipped;
use crate::plugins::rejection::Rejection;

/// First bytes; what the file is; what to do.
const SIGNATURES: &[(&[u8], &str, &str)] = &[
    (b"#!", "a script", "gm-native serves native libraries"),
    (b"<?php", "a PHP file", "gm-native serves native libraries"),
    (b"<?xml", "an XML document", "copy the library itself"),
    (b"version https://git-lfs", "a Git LFS pointer", "fetch the library with git lfs pull"),
    (b"!<arch>\n", "a static library", "build a cdylib"),
    (b"!<thin>\n", "a static library", "build a cdylib"),
    (b"MZ", "a Windows file", "build it for Linux"),
    (b"\xcf\xfa\xed\xfe", "a macOS file", "build it for Linux"),
    (b"\xfe\xed\xfa\xcf", "a macOS file", "build it for Linux"),
    (b"\xce\xfa\xed\xfe", "a macOS file", "build it for Linux"),
    (b"\xca\xfe\xba\xbe", "a macOS universal file or a Java class", "build it for Linux"),
    (b"\0asm", "a WebAssembly module", "build it for this machine"),
    (b"BC\xc0\xde", "LLVM bitcode", "link it into a shared library"),
    (b"\x1f\x8b", "a gzip archive", "unpack it"),
    (b"PK\x03\x04", "a ZIP archive", "unpack it"),
    (b"\xfd7zXZ", "an xz archive", "unpack it"),
    (b"BZh", "a bzip2 archive", "unpack it"),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", "unpack it"),
    (b"rust\0\0\0", "Rust metadata", "build a cdylib"),
];

/// The rejection of a file that begins with these bytes (not empty, not ELF).
pub(super) fn foreign(head: &[u8]) -> Rejection {
    let (what, todo) = recognise(head);
    Rejection::NotALibrary { what, todo: todo.into() }
}

fn recognise(head: &[u8]) -> (String, &'static str) {
    if let Some((_, what, todo)) = SIGNATURES.iter().find(|(bytes, ..)| head.starts_with(bytes)) {
        return ((*what).into(), todo);
    }
    let trimmed = head.trim_ascii_start();
    let lower = |n: usize| trimmed[..trimmed.len().min(n)].to_ascii_lowercase();
    if lower(9) == b"<!doctype" || lower(5) == b"<html" {
        return ("an HTML page".into(), "a download that failed often leaves one: get the file itself");
    }
    if head.starts_with(b"/* GNU ld script") || trimmed.starts_with(b"INPUT") || trimmed.starts_with(b"GROUP") {
        return ("a linker script".into(), "copy the library it names");
    }
    if head.iter().all(|&b| b == 0) {
        return ("zeros at least at its start".into(), "a copy broke off or the disk was full: copy it again");
    }
    if is_text(head) {
        return ("text".into(), "copy the library itself");
    }
    (format!("a file that begins with {}", clipped(head, 8)), "copy the library itself")
}

/// Whether all of it is text; the last character may be cut.
fn is_text(head: &[u8]) -> bool {
    let (text, whole) = match str::from_utf8(head) {
        Ok(text) => (text, true),
        Err(e) => (str::from_utf8(&head[..e.valid_up_to()]).unwrap_or_default(), e.error_len().is_none()),
    };
    whole && !text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_by_their_first_bytes() {
        let cases: &[(&[u8], &str)] = &[
            (b"#!/bin/sh\n", "is a script, not a library; gm-native serves native libraries"),
            (b"hello\n", "is text, not a library; copy the library itself"),
            ("gr\u{fc}n".as_bytes().split_last().unwrap().1, "is text, not a library; copy the library itself"),
            (b"x", "is text, not a library; copy the library itself"),
            (
                b"\n <!DOCTYPE html>",
                "is an HTML page, not a library; a download that failed often leaves one: get the file itself",
            ),
            (
                b"version https://git-lfs.github.com/spec/v1\n",
                "is a Git LFS pointer, not a library; fetch the library with git lfs pull",
            ),
            (b"/* GNU ld script\n", "is a linker script, not a library; copy the library it names"),
            (b"!<arch>\nfoo", "is a static library, not a library; build a cdylib"),
            (b"\xcf\xfa\xed\xfe\x07\0\0\x01", "is a macOS file, not a library; build it for Linux"),
            (
                b"\0\0\0\0",
                "is zeros at least at its start, not a library; a copy broke off or the disk was full: copy it again",
            ),
            (
                b"\x01\x02\xff\n12345",
                "is a file that begins with \\u{1}\\u{2}\\xff\\n1234..., not a library; copy the library itself",
            ),
            (b"\x7fEL", "is a file that begins with \\u{7f}EL, not a library; copy the library itself"),
        ];
        for (head, text) in cases {
            assert_eq!(foreign(head).to_string(), *text);
        }
    }
}
