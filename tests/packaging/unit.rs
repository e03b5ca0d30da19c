//! systemd-analyze checks our unit, where it is installed.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::is_there;
use crate::support::build::repository;
use crate::support::program::{Finished, run};
use crate::support::wait::DEADLINE;

/// What the exposure may be at most, times ten.
const EXPOSURE: &str = "--threshold=25";

fn analyze(args: &[&str]) -> Finished {
    // The installed path of the program is not there: another one stands in for it.
    let dir = TempDir::new().unwrap();
    let unit = dir.path().join("gm-native.service");
    let text = fs::read_to_string(repository().join("packaging/gm-native.service")).unwrap();
    fs::write(&unit, text.replace("/usr/local/bin/gm-native", env!("CARGO_BIN_EXE_gm-native"))).unwrap();
    run(Command::new("systemd-analyze").args(args).arg(&unit), b"", DEADLINE).unwrap()
}

#[test]
fn the_unit_is_right_and_hardened() {
    if !is_there("systemd-analyze") {
        return;
    }
    let verified = analyze(&["verify", "--man=no", "--recursive-errors=no"]);
    assert!(!verified.err().contains("gm-native.service"), "{verified:?}");
    let hardened = analyze(&["security", "--offline=yes", EXPOSURE]);
    assert!(hardened.status.success(), "{hardened:?}");
}
