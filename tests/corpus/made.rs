//! Cases that no compiler makes: other things under a library's name, and a good library cut or changed.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use super::{Case, place};

const TEXTS: &[(&str, &[u8], &str)] = &[
    ("empty", b"", "is empty; copy it again, ideally under another name, then rename it"),
    ("text", b"not a library\n", "is text, not a library; copy the library itself"),
    ("script", b"#!/bin/sh\nexec true\n", "is a script, not a library; gm-native serves native libraries"),
    (
        "page",
        b"<!DOCTYPE html><title>404</title>",
        "is an HTML page, not a library; a download that failed often leaves one: get the file itself",
    ),
    (
        "pointer",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "is a Git LFS pointer, not a library; fetch the library with git lfs pull",
    ),
    (
        "linker_script",
        b"/* GNU ld script */\nINPUT(libx.so.1)\n",
        "is a linker script, not a library; copy the library it names",
    ),
    (
        "zeros",
        &[0; 4096],
        "is zeros at least at its start, not a library; a copy broke off or the disk was full: copy it again",
    ),
    ("archive", b"\x1f\x8b\x08\0\0\0", "is a gzip archive, not a library; unpack it"),
    (
        "header_only",
        b"\x7fELF\x02\x01\x01",
        "was cut short: it ends after 7 bytes, before the end of its header; copy it again",
    ),
];

/// The cases; `whole` is a library that the pre-check accepts.
pub(super) fn cases(dir: &Path, whole: &Path) -> Vec<Case> {
    let mut cases: Vec<Case> = TEXTS.iter().map(|(name, content, expect)| file(dir, name, content, expect)).collect();
    cases.extend(changed(dir, &fs::read(whole).unwrap()));
    cases.extend(no_files(dir));
    cases
}

fn case(path: PathBuf, expect: &str) -> Case {
    let function = path.file_stem().unwrap().to_str().unwrap().to_owned();
    Case { function, path, expect: expect.to_owned() }
}

/// A file of this content, written at once and only where it is another: somebody may be reading it.
pub(super) fn file(dir: &Path, name: &str, content: &[u8], expect: &str) -> Case {
    let path = place(dir, name).join(format!("{name}.so"));
    if fs::read(&path).ok().as_deref() != Some(content) {
        let new = path.with_extension("new");
        fs::write(&new, content).unwrap();
        fs::rename(&new, &path).unwrap();
    }
    case(path, expect)
}

/// Name, the bytes that are changed and where, and the sentence.
type Change<'a> = (&'a str, &'a [(usize, &'a [u8])], &'a str);

/// A good library, cut short or with some bytes changed.
fn changed(dir: &Path, whole: &[u8]) -> Vec<Case> {
    let mut cases = Vec::new();
    for (part, of) in [(1, 8), (1, 4), (1, 2), (3, 4), (7, 8)] {
        let length = whole.len() * part / of;
        let expect = format!("was cut short: it ends after {length} bytes, before the end of …; copy it again");
        cases.push(file(dir, &format!("cut_to_{part}_of_{of}"), &whole[..length], &expect));
    }
    let last = whole.len() - 1;
    let expect =
        format!("was cut short: it ends after {last} bytes, before the end of its section table; copy it again");
    cases.push(file(dir, "cut_by_one_byte", &whole[..last], &expect));

    let changes: [Change; 5] = [
        // Byte order and e_machine.
        (
            "other_machine",
            &[(5, &[2]), (18, &[0, 22])],
            "is built for s390x, but this machine is …; build it with --target …",
        ),
        // Word size and e_machine.
        (
            "narrow_machine",
            &[(4, &[1]), (18, &[3, 0])],
            "is built for 32-bit x86, but this machine is …; build it with --target …",
        ),
        // EI_OSABI.
        ("other_system", &[(7, &[9])], "is built for … under FreeBSD, but this machine is …; build it with --target …"),
        // e_shoff, e_shnum, e_shstrndx: what sstrip does.
        (
            "stripped_bare",
            &[(40, &[0; 8]), (60, &[0; 4])],
            "has no section table, so nothing shows whether it is complete; use strip, not sstrip",
        ),
        // e_phentsize.
        ("damaged", &[(54, &[1, 0])], "is damaged: …; copy it again, or build it again"),
    ];
    for (name, changes, expect) in changes {
        let mut bytes = whole.to_vec();
        for (at, new) in changes {
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        cases.push(file(dir, name, &bytes, expect));
    }
    cases
}

/// What is no file at all.
fn no_files(dir: &Path) -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |name: &str, expect: &str, make: &dyn Fn(&Path)| {
        let path = place(dir, name).join(format!("{name}.so"));
        if path.symlink_metadata().is_err() {
            make(&path);
        }
        cases.push(case(path, expect));
    };
    add("directory", "is a directory, not a file", &|path| fs::create_dir(path).unwrap());
    add("fifo", "is a FIFO, not a file", &|path| {
        nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    });
    add("socket", "is a socket, not a file", &|path| {
        // Its path may be longer than a socket's may be: bound where it is short, then moved.
        let short = tempfile::tempdir().unwrap();
        drop(UnixListener::bind(short.path().join("s")).unwrap());
        if fs::rename(short.path().join("s"), path).is_err() {
            drop(UnixListener::bind(path).unwrap());
        }
    });
    add("device", "is a device, not a file", &|path| symlink("/dev/null", path).unwrap());
    add("dangling", "cannot be opened: it is a link to nowhere, which does not exist", &|path| {
        symlink("nowhere", path).unwrap();
    });
    add("loop", "cannot be opened: Too many levels of symbolic links", &|path| {
        symlink("loop.so", path).unwrap();
    });
    // Fills no disk here, and would fill one if it were copied.
    add(
        "sparse",
        "has 1099511627776 bytes, more than max_plugin_size allows (…); strip it, or raise max_plugin_size",
        &|path| {
            File::create(path).unwrap().set_len(1 << 40).unwrap();
        },
    );
    cases
}
