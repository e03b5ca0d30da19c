//! `make install`, with a program that is built already.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use crate::assets;
use crate::documents::commands;
use crate::support::build::repository;
use crate::support::program::{run, write_program};
use crate::support::wait::DEADLINE;

/// `make` with a target, and no cargo but one that is given: root may have none.
fn command(args: &[&str], dir: &Path) -> Command {
    let mut command = Command::new("make");
    command.arg("--no-print-directory").args(args).current_dir(repository());
    // Make's own variables, where this test is run by it, are not for this one.
    command.env_remove("MAKEFLAGS").env_remove("MFLAGS").env_remove("MAKELEVEL");
    command.env("PATH", "/usr/bin:/bin").env("HOME", "/nonexistent");
    command.arg(format!("DESTDIR={}", dir.display())).arg("PREFIX=/opt/gm");
    command
}

fn make(target: &str, dir: &Path) {
    let (bin, assets) = (format!("BIN={}", env!("CARGO_BIN_EXE_gm-native")), format!("ASSETS={}", assets().display()));
    run(&mut command(&[target, &bin, &assets, "CARGO=false"], dir), b"", DEADLINE).unwrap().success();
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
fn every_file_is_installed_and_uninstalled() {
    let dir = TempDir::new().unwrap();
    // The program is there, so nothing is built.
    make("install", dir.path());
    let mut expected: BTreeMap<String, u32> = [
        "share/bash-completion/completions/gm-native",
        "share/doc/gm-native/examples/advanced.ini",
        "share/doc/gm-native/examples/gm-native.logrotate",
        "share/doc/gm-native/examples/simple.ini",
        "share/fish/vendor_completions.d/gm-native.fish",
        "share/zsh/site-functions/_gm-native",
        "lib/systemd/system/gm-native.service",
        "lib/systemd/system/gm-native@.service",
        "lib/sysusers.d/gm-native.conf",
        "share/man/man5/gm-native.ini.5",
        "share/pkgconfig/gm-plugin.pc",
        "include/gm_plugin.h",
        "include/gm_plugin.hpp",
        "include/gm_testing.h",
        "share/doc/gm-native/README.md",
        "share/doc/gm-native/ARCHITECTURE.md",
        "share/doc/gm-native/CHANGELOG.md",
        "share/doc/gm-native/CONTRIBUTING.md",
        "share/doc/gm-native/LICENSE-APACHE",
        "share/doc/gm-native/LICENSE-MIT",
    ]
    .into_iter()
    .map(str::to_owned)
    .chain(documents().into_iter().map(|name| format!("share/doc/gm-native/docs/{name}")))
    .chain(commands().into_iter().map(|(name, _)| format!("share/man/man1/{name}.1")))
    .map(|path| (format!("opt/gm/{path}"), 0o644))
    .collect();
    expected.insert("opt/gm/bin/gm-native".into(), 0o755);
    expected.insert("opt/gm/bin/gm-native-worker".into(), 0o755);
    expected.insert("opt/gm/share/doc/gm-native/examples/gm-native.init".into(), 0o755);
    assert_eq!(files(dir.path()), expected);
    for unit in ["gm-native.service", "gm-native@.service"] {
        let unit = fs::read_to_string(dir.path().join("opt/gm/lib/systemd/system").join(unit)).unwrap();
        assert!(unit.contains("\nExecStart=/opt/gm/bin/gm-native "), "{unit}");
    }

    make("install-files", dir.path());
    assert_eq!(files(dir.path()), expected, "a second time changes nothing");
    make("uninstall", dir.path());
    assert_eq!(files(dir.path()), BTreeMap::new());
}

/// The files in docs/.
fn documents() -> Vec<String> {
    files(&repository().join("docs")).into_keys().collect()
}

/// What a page of the installed documentation links to is installed, except source code.
#[test]
fn links_between_installed_pages_lead_somewhere() {
    let dir = TempDir::new().unwrap();
    make("install-files", dir.path());
    let doc = dir.path().join("opt/gm/share/doc/gm-native");
    let mut dead = Vec::new();
    for page in files(&doc).into_keys().filter(|page| page.ends_with(".md")) {
        let text = fs::read_to_string(doc.join(&page)).unwrap();
        let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
        let is_page = |target: &&str| !target.contains("://") && (target.ends_with(".md") || target.ends_with(".txt"));
        let folder = doc.join(&page).parent().unwrap().to_owned();
        dead.extend(targets.filter(is_page).filter(|to| !folder.join(to).exists()).map(|to| format!("{page}: {to}")));
    }
    assert_eq!(dead, Vec::<String>::new());
}

/// What `cargo build --release` has made is what is installed; only where there is nothing, it is made.
#[test]
fn another_profile_is_built_only_where_that_is_asked_for() {
    let dir = TempDir::new().unwrap();
    let (cargo, called) = (dir.path().join("cargo"), dir.path().join("called"));
    let script = format!("#!/bin/sh\necho \"$@\" >> {}\nexit 1\n", called.display());
    write_program(&cargo, script.as_bytes());
    let target = format!("TARGET_DIR={}", dir.path().display());
    let with = |args: &[&str]| {
        let cargo = format!("CARGO={}", cargo.display());
        run(&mut command(&[args, &[&target, &cargo]].concat(), dir.path()), b"", DEADLINE).unwrap()
    };
    let refused = with(&["install-files"]);
    assert!(
        !refused.status.success() && refused.err().contains("build it first, with cargo build --release"),
        "{refused:?}"
    );
    assert!(!called.exists(), "install-files called cargo");
    for (args, profile) in [(&["install"][..], "release"), (&["install", "PROFILE=dist"], "dist")] {
        assert!(!with(args).status.success());
        let calls = fs::read_to_string(&called).unwrap();
        assert_eq!(calls, format!("build --profile {profile} --locked --bins\n"));
        fs::remove_file(&called).unwrap();
    }
    // Beside the program that this test runs are its pages.
    let built = Path::new(env!("CARGO_BIN_EXE_gm-native")).parent().unwrap();
    for page in ["gm-native.1", "gm-native-rollback.1"] {
        assert_eq!(fs::read(built.join("assets").join(page)).unwrap(), fs::read(assets().join(page)).unwrap());
    }
}

#[test]
fn help_lists_every_target() {
    let dir = TempDir::new().unwrap();
    let help = run(&mut command(&["help"], dir.path()), b"", DEADLINE).unwrap();
    let makefile = fs::read_to_string(repository().join("Makefile")).unwrap();
    let targets = makefile.lines().find_map(|line| line.strip_prefix(".PHONY: ")).unwrap();
    for target in targets.split_whitespace() {
        assert!(help.out().contains(&format!("  make {target} ")), "{target} is not in {}", help.out());
    }
}
