//! What a newcomer types: `make demo`, and every command of README.md.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod dev;
mod readme;

use std::process::Command;
use std::time::Duration;

use support::build::{BUILD_DEADLINE, alone, build_dir, repository};
use support::program::run;
use support::watchdog::{MARK, Watchdog};

#[test]
fn the_demo_works() {
    let home = tempfile::tempdir().unwrap();
    let mark = home.path().display().to_string();
    let _watchdog = Watchdog::over(&mark);
    let mut make = Command::new("make");
    make.arg("demo").current_dir(repository()).env(MARK, &mark).env("TMPDIR", home.path());
    // A target directory of its own: the programs that other tests run must not be built anew under them.
    make.env("CARGO_TARGET_DIR", build_dir().join("demo")).env("CARGO_NET_OFFLINE", "true");
    make.env_remove("MAKEFLAGS").env_remove("MAKELEVEL").env_remove("DEMO_RECORD");
    let finished = alone(|| run(&mut make, b"", BUILD_DEADLINE + Duration::from_secs(60))).unwrap();
    let shown = finished.out();
    assert_eq!(finished.code(), Some(0), "{shown}{}", finished.err());
    for text in [
        "\nedoc evitan yb enod ,sboj namraeG\n",
        "\n6.5\n",
        "thumbnail: worker",
        "killed by SIGKILL",
        "\nthe same picture\n",
        "\n3 words\n",
        "cargo build failed",
        "is text, not a library",
        "\n42\n",
        "stopped after",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    assert_eq!(std::fs::read_dir(home.path()).unwrap().count(), 0, "nothing is left behind");
}
