//! Libraries built otherwise than this program: another profile, another panic strategy, another version of the crate.
//!
//! cargo builds them into the target directory: a minute the first time, then only what changed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::tests::{make, run};
use super::*;

/// The version of `gm-plugin-api` they are built with: whatever it is, only the interface's own number matters.
const VERSION: &str = "9.9.9";

/// Builds the fixtures and returns the library.
fn build(profile: &str, panic: &str) -> PathBuf {
    let (home, _lock) = prepare();
    let output = Command::new(env!("CARGO"))
        .args(["build", "--offline", "--package", "gm-plugin-fixtures", "--profile", profile])
        .current_dir(&home)
        .env("CARGO_TARGET_DIR", home.join("target"))
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .env("CARGO_PROFILE_DEV_PANIC", panic)
        .env("CARGO_PROFILE_RELEASE_PANIC", panic)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let directory = if profile == "dev" { "debug" } else { profile };
    home.join("target").join(directory).join("libgm_plugin_fixtures.so")
}

/// A workspace of its own, of the same sources under another version, and its lock.
fn prepare() -> (PathBuf, File) {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = std::env::current_exe().unwrap().ancestors().nth(3).unwrap().to_owned();
    let home = target.join("tmp/plugin-matrix");
    fs::create_dir_all(&home).unwrap();
    // Without it two tests, or two runs of them, would read each other's half-written files.
    let lock = File::create(home.join("lock")).unwrap();
    lock.lock().unwrap();
    let manifest = fs::read_to_string(sources.join("Cargo.toml")).unwrap();
    let (workspace, _) = manifest.split_once("\n[package]\n").unwrap();
    let own = format!("version = {:?}", env!("CARGO_PKG_VERSION"));
    let lines = workspace.lines().filter(|line| !line.starts_with("members = "));
    let workspace = lines.collect::<Vec<_>>().join("\n").replace(&own, &format!("version = \"{VERSION}\""));
    let members = r#"members = ["plugin-api", "plugin-api/macros", "plugin-api/fixtures"]"#;
    let manifest = workspace.replacen("[workspace]", &format!("[workspace]\n{members}"), 1);
    fs::write(home.join("Cargo.toml"), manifest).unwrap();
    fs::copy(sources.join("Cargo.lock"), home.join("Cargo.lock")).unwrap();
    // A link: so cargo sees which files changed.
    let _ = std::os::unix::fs::symlink(sources.join("plugin-api"), home.join("plugin-api"));
    (home, lock)
}

#[test]
fn a_release_build_of_another_crate_version_works() {
    let library = build("release", "unwind");
    let loaded = load(&library, "write").unwrap();
    assert!(loaded.unwinds());
    assert_eq!(run(&mut make(&loaded, &[]).unwrap(), b"a").unwrap(), b"a");
    let mut panics = make(&load(&library, "panic").unwrap(), &[]).unwrap();
    let fail = run(&mut panics, b"").unwrap_err();
    assert_eq!((fail.kind, fail.message.as_str()), (RawFail::PANIC, "asked to"));
    let mut counter = make(&load(&library, "Counter").unwrap(), &[("step", "3")]).unwrap();
    assert_eq!(run(&mut counter, b"").unwrap(), b"3");
}

#[test]
fn a_build_that_aborts_works_with_a_warning() {
    let library = build("dev", "abort");
    let loaded = load(&library, "write").unwrap();
    assert!(!loaded.unwinds());
    assert_eq!(run(&mut make(&loaded, &[]).unwrap(), b"a").unwrap(), b"a");
}
