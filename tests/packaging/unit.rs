//! systemd-analyze checks our units, where it is installed.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::is_there;
use crate::support::build::repository;
use crate::support::program::{Finished, run};
use crate::support::wait::DEADLINE;

/// What the exposure may be at most, times ten.
const EXPOSURE: &str = "--threshold=25";

fn text(unit: &str) -> String {
    fs::read_to_string(repository().join("packaging").join(unit)).unwrap()
}

fn analyze(unit: &str, args: &[&str]) -> Finished {
    // The installed path of the program is not there: another one stands in for it.
    let dir = TempDir::new().unwrap();
    let (text, unit) = (text(unit), dir.path().join(unit));
    fs::write(&unit, text.replace("/usr/local/bin/gm-native", env!("CARGO_BIN_EXE_gm-native"))).unwrap();
    run(Command::new("systemd-analyze").args(args).arg(&unit), b"", DEADLINE).unwrap()
}

#[test]
fn the_unit_is_right_and_hardened() {
    if !is_there("systemd-analyze") {
        return;
    }
    for unit in ["gm-native.service", "gm-native@.service"] {
        let verified = analyze(unit, &["verify", "--man=no", "--recursive-errors=no"]);
        assert!(!verified.err().contains(unit), "{verified:?}");
        let hardened = analyze(unit, &["security", "--offline=yes", EXPOSURE]);
        assert!(hardened.status.success(), "{hardened:?}");
    }
}

/// The template differs in what is one instance's own, and in nothing else.
#[test]
fn the_template_is_the_unit_of_another_instance() {
    let settings = |unit: &str| -> Vec<String> {
        text(unit).lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    };
    let (unit, template) = (settings("gm-native.service"), settings("gm-native@.service"));
    assert_eq!(unit.len(), template.len());
    let differing: Vec<&str> =
        unit.iter().zip(&template).filter(|(one, other)| one != other).map(|(_, other)| other.as_str()).collect();
    let expected = ["ExecStart=/usr/local/bin/gm-native -c /etc/gm-native/%i.ini -v", "RuntimeDirectory=gm-native-%i"];
    assert_eq!(differing, expected);
}
