//! Hosts and libraries that were built otherwise: what crosses between them is the same.
//!
//! `plugins::loader::matrix` loads libraries of other builds into one host; here the host is another build too:
//! optimised, and one in which a panic aborts. That takes minutes the first time.
//!
//! Libraries of every interface version that was released are served too, also in the ordinary tests.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::build::{alone, build_dir, command, repository};
use crate::support::plugins::{of_interface, rust_with};
use crate::support::program::{Finished, run};
use crate::support::wait::DEADLINE;
use crate::{library, run_gm_native};

/// gm-native, optimised, in which a panic aborts.
fn other_host() -> PathBuf {
    let target = build_dir().join("host");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--offline", "--bin", "gm-native", "--target-dir"]).arg(&target);
    cargo.args(["--config", "profile.dev.panic='abort'", "--config", "profile.dev.debug=false"]);
    for package in ["gm-native", "gm-plugin-api", "abi_stable"] {
        cargo.args(["--config", &format!("profile.dev.package.{package}.opt-level=3")]);
    }
    cargo.current_dir(repository()).env_remove("MAKEFLAGS").env_remove("CARGO_MAKEFLAGS");
    alone(|| command(&mut cargo));
    target.join("debug/gm-native")
}

const SOURCE: &str = r#"
use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

struct Matrix(u64);

#[function(name = "matrix")]
impl Matrix {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self(cx.parse("start")?))
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        assert!(job.workload() != b"panic", "asked to");
        job.status(1, 2);
        log.push("counted");
        self.0 += 1;
        Ok(format!("{} {}", self.0, job.text()?).into())
    }
}
"#;

/// What a library of interface 1.0 does under one manager; the versions to come are added below, none is taken out.
#[track_caller]
fn a_library_of_1_0_is_served(library: &Path, call: impl Fn(&[&str]) -> Finished) {
    let path = library.to_str().unwrap();
    let checked = call(&["check", path]);
    let out = checked.out();
    assert_eq!(checked.code(), Some(0), "{out}{}", checked.err());
    for row in ["form       object: ", "interface  1.0\n", "compiler   rustc of that time\n"] {
        assert!(out.contains(row), "{row}: {out}");
    }
    for (workload, code, result, logged) in [
        ("good", 0, "7 good", "status  1 of 2\nINFO    counted\n"),
        ("tell", 0, "[true, true] false interface_1_0", "warning careful\n"),
        ("fail", 1, "", ": the job failed: asked to fail\n"),
        ("exception", 1, "", ": the job failed with an exception: a payload\n"),
        ("panic", 1, "", ": the job failed: panicked at old.rs:7: asked to\n"),
    ] {
        let done = call(&["call", path, workload, "--setting", "start=6"]);
        assert_eq!((done.code(), done.out().as_str()), (Some(code), result), "{workload}: {}", done.err());
        assert!(done.err().ends_with(logged), "{workload}: {}", done.err());
    }
    let unmade = call(&["call", path]).err();
    assert!(unmade.ends_with(": its new() failed: start is no number\n"), "{unmade}");
}

#[test]
fn a_library_of_the_first_interface_is_served() {
    a_library_of_1_0_is_served(&of_interface("1.0", ""), |args| run_gm_native(args, b""));
}

#[test]
#[ignore = "builds another gm-native: `make matrix` runs it"]
fn every_host_serves_every_library() {
    let hosts = [PathBuf::from(env!("CARGO_BIN_EXE_gm-native")), other_host()];
    let libraries = [
        ("as it comes", "", true),
        ("optimised", "[profile.dev]\nopt-level = 3\ndebug = false\noverflow-checks = false\n", true),
        ("aborting", "[profile.dev]\npanic = \"abort\"\n", false),
    ];
    for (build, profile, unwinds) in libraries {
        let library = rust_with("matrix", SOURCE, profile);
        for host in &hosts {
            let call = |workload: &str| -> Finished {
                let mut command = Command::new(host);
                command.arg("call").arg(&library).args([workload, "--setting", "start=6"]);
                run(&mut command, b"", DEADLINE).unwrap()
            };
            let what = format!("{build}, by {}", host.display());
            let done = call("good");
            assert_eq!((done.code(), done.out().as_str()), (Some(0), "7 good"), "{what}: {}", done.err());
            assert_eq!(done.err(), "status  1 of 2\nINFO    counted\n", "{what}");
            let failed = call("\u{ff}panic");
            assert_eq!(failed.code(), Some(0), "{what}: {}", failed.err());
            let panicked = call("panic").err();
            let expected = if unwinds {
                "the job failed: panicked at src/lib.rs:13: asked to"
            } else {
                "killed by SIGABRT in the job"
            };
            assert!(panicked.contains(expected), "{what}: {panicked}");
        }
    }
    for profile in ["", "[profile.dev]\nopt-level = 3\ndebug = false\n", "[profile.dev]\npanic = \"abort\"\n"] {
        let old = of_interface("1.0", profile);
        for host in &hosts {
            a_library_of_1_0_is_served(&old, |args| run(Command::new(host).args(args), b"", DEADLINE).unwrap());
        }
    }
    // And the most verbose one.
    let mut talk = Command::new(&hosts[1]);
    talk.arg("call").arg(library()).args(["--function", "talk"]);
    assert_eq!(run(&mut talk, b"", DEADLINE).unwrap().out(), "[true, true, true]");
}
