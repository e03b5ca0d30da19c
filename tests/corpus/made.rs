//! Cases that no compiler makes: other things under a library's name, and a good library cut or changed.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;

use super::{Case, place};

const TEXTS: &[(&str, &[u8], &str)] = &[
    ("empty", b"", "is empty; copy it again, best to another name that is then renamed to this one"),
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
    let mut cases = Vec::new();
    let mut add = |name: &str, expect: &str, make: &dyn Fn(&Path)| {
        let path = place(dir, name).join(format!("{name}.so"));
        if path.symlink_metadata().is_err() {
            make(&path);
        }
        cases.push(Case { function: name.to_owned(), path, expect: expect.to_owned() });
    };
    for (name, content, expect) in TEXTS {
        add(name, expect, &|path| fs::write(path, content).unwrap());
    }

    let bytes = fs::read(whole).unwrap();
    for (part, of) in [(1, 8), (1, 4), (1, 2), (3, 4), (7, 8)] {
        let length = bytes.len() * part / of;
        let expect = format!("was cut short: it ends after {length} bytes, before the end of …; copy it again");
        add(&format!("cut_to_{part}_of_{of}"), &expect, &|path| fs::write(path, &bytes[..length]).unwrap());
    }
    let last = bytes.len() - 1;
    let expect =
        format!("was cut short: it ends after {last} bytes, before the end of its section table; copy it again");
    add("cut_by_one_byte", &expect, &|path| fs::write(path, &bytes[..last]).unwrap());

    let changed = |path: &Path, changes: &[(usize, &[u8])]| {
        let mut bytes = bytes.clone();
        for (at, new) in changes {
            bytes[*at..at + new.len()].copy_from_slice(new);
        }
        fs::write(path, bytes).unwrap();
    };
    // e_machine
    let expect = "is built for s390x, this machine is …; build it with --target …";
    add("other_machine", expect, &|path| changed(path, &[(5, &[2]), (18, &[0, 22])]));
    let expect = "is built for 32-bit x86, this machine is …; build it with --target …";
    add("narrow_machine", expect, &|path| changed(path, &[(4, &[1]), (18, &[3, 0])]));
    // e_shoff, e_shnum, e_shstrndx: what sstrip does.
    let expect =
        "has no section table, so that nobody can tell whether it is complete; strip it with strip, not with sstrip";
    add("stripped_bare", expect, &|path| changed(path, &[(40, &[0; 8]), (60, &[0; 4])]));
    let expect = "is damaged: …; copy it again, or build it again";
    add("damaged", expect, &|path| changed(path, &[(54, &[1, 0])]));

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
    add("dangling", "vanished before it could be read", &|path| symlink("nowhere", path).unwrap());
    add("loop", "cannot be opened: Too many levels of symbolic links (os error 40)", &|path| {
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
