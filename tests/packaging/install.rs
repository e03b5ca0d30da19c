//! `make install`, with a program that is built already.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::assets;
use crate::support::build::repository;
use crate::support::program::run;
use crate::support::wait::DEADLINE;

fn make(target: &str, dir: &Path) {
    let mut command = Command::new("make");
    command.arg("--no-print-directory").arg(target).current_dir(repository());
    // Make's own variables, where this test is run by it, are not for this one.
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    command.arg(format!("DESTDIR={}", dir.display())).arg("PREFIX=/opt/gm");
    command.arg(format!("BIN={}", env!("CARGO_BIN_EXE_gm-native"))).arg(format!("ASSETS={}", assets().display()));
    run(&mut command, b"", DEADLINE).unwrap().success();
}

/// Path and mode of every file below a directory.
fn files(dir: &Path) -> BTreeMap<String, u32> {
    let mut all = BTreeMap::new();
    let mut left = vec![dir.to_owned()];
    while let Some(at) = left.pop() {
        for entry in fs::read_dir(at).unwrap().map(Result::unwrap) {
            let meta = entry.metadata().unwrap();
            if meta.is_dir() {
                assert_eq!(meta.permissions().mode() & 0o777, 0o755, "{}", entry.path().display());
                left.push(entry.path());
            } else {
                let path = entry.path().strip_prefix(dir).unwrap().display().to_string();
                all.insert(path, meta.permissions().mode() & 0o7777);
            }
        }
    }
    all
}

#[test]
fn every_file_is_where_it_belongs_and_goes_again() {
    let dir = TempDir::new().unwrap();
    make("install-files", dir.path());
    let verbs =
        ["", "-status", "-events", "-call", "-check", "-new", "-versions", "-rollback", "-retry", "-dev", "-submit"];
    let mut expected: BTreeMap<String, u32> = [
        "share/bash-completion/completions/gm-native",
        "share/doc/gm-native/examples/advanced.ini",
        "share/doc/gm-native/examples/gm-native.logrotate",
        "share/doc/gm-native/examples/simple.ini",
        "share/fish/vendor_completions.d/gm-native.fish",
        "share/zsh/site-functions/_gm-native",
        "lib/systemd/system/gm-native.service",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(verbs.iter().map(|verb| format!("share/man/man1/gm-native{verb}.1")))
    .map(|path| (format!("opt/gm/{path}"), 0o644))
    .collect();
    expected.insert("opt/gm/bin/gm-native".into(), 0o755);
    assert_eq!(files(dir.path()), expected);
    let unit = fs::read_to_string(dir.path().join("opt/gm/lib/systemd/system/gm-native.service")).unwrap();
    assert!(unit.contains("\nExecStart=/opt/gm/bin/gm-native "), "{unit}");

    make("install-files", dir.path());
    assert_eq!(files(dir.path()), expected, "a second time changes nothing");
    make("uninstall", dir.path());
    assert_eq!(files(dir.path()), BTreeMap::new());
}
