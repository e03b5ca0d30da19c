//! What a newcomer types: `make demo`, and every command of README.md.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod dev;
mod guide;
mod readme;
mod top;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::build::{alone, build_dir, repository};
use support::program::run;
use support::wait::{DEADLINE, wait_for};
use support::watchdog::{MARK, Watchdog};

/// It takes seconds, but for the crates that are compiled the first time: those of a new plugin, and of the picture.
const DEMO_DEADLINE: Duration = Duration::from_secs(300);

/// What it has to show, in this order.
const SHOWN: [&str; 12] = [
    "\nedoc evitan yb enod ,sboj namraeG\n",
    "\n6.5\n",
    "thumbnail: worker",
    "killed by SIGKILL",
    "\nthe same picture\n",
    "greet: serves the code of",
    "\n3 words\n",
    "cargo build failed",
    "is text, not a library",
    "\n2 words\n",
    "\n42\n",
    "stopped after",
];

#[test]
fn the_demo_works() {
    let home = tempfile::tempdir().unwrap();
    let mark = home.path().display().to_string();
    let watchdog = Watchdog::over(&mark);
    let mut make = Command::new("make");
    make.arg("demo").current_dir(repository()).env(MARK, &mark).env("TMPDIR", home.path());
    // What cargo has built for this test; what is compiled on the way lies where other tests' plugins do.
    make.env("DEMO_BUILT", Path::new(env!("CARGO_BIN_EXE_gm-native")).parent().unwrap());
    make.env("CARGO_TARGET_DIR", build_dir().join("cargo")).env("CARGO_NET_OFFLINE", "true");
    let recorded = tempfile::NamedTempFile::new().unwrap();
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env("DEMO_RECORD", recorded.path());
    let finished = alone(|| run(&mut make, b"", DEMO_DEADLINE)).unwrap();
    let shown = finished.out();
    assert_eq!(finished.code(), Some(0), "{shown}{}", finished.err());
    let mut rest = shown.as_str();
    for text in SHOWN {
        let at = rest.find(text).unwrap_or_else(|| panic!("{text:?} is not where it should be: {shown}"));
        // The line's end begins the next one.
        rest = &rest[at + text.len() - usize::from(text.ends_with('\n'))..];
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
    wait_for("the end of all its processes", DEADLINE, || watchdog.marked().is_empty().then_some(()));
    is_documented(&std::fs::read_to_string(recorded.path()).unwrap());
}

/// What README.md shows to whoever has not run the demo is what it prints now, apart from numbers and hashes. With
/// `GM_WRITE_DOCS`, writes it.
fn is_documented(shown: &str) {
    let path = repository().join("docs/demo.txt");
    if std::env::var_os("GM_WRITE_DOCS").is_some() {
        std::fs::write(&path, shown).unwrap();
    }
    let documented = std::fs::read_to_string(&path).unwrap();
    let behind = "docs/demo.txt is behind the demo; GM_WRITE_DOCS=1 cargo test --test demo the_demo_works";
    assert_eq!(lasting(&documented), lasting(shown), "{behind}");
}

/// The words of each line that are the same in each run.
fn lasting(text: &str) -> Vec<String> {
    let has_digit = |word: &str| word.contains(|c: char| c.is_ascii_digit());
    // Cargo colours, and says more on a slow machine.
    let lines = text.lines().filter(|line| !line.trim_start().starts_with("-->"));
    let words = |line: &str| line.split_whitespace().filter(|word| !has_digit(word)).collect::<Vec<_>>().join(" ");
    // A rate over less than a second has no number.
    lines.map(|line| words(line).replace("the last second, ", "the last ")).collect()
}
