//! The author's side: the commands `call`, `check` and `new`, the examples, and what happens to what a plugin prints, to
//! a `new` that fails and to a panic. Tested rows of docs/reliability.md are named (P9, P10, P17, P18).

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../corpus/mod.rs"]
mod corpus;
#[path = "../support/mod.rs"]
mod support;

mod c_plugins;
mod call;
mod check;
mod cpp_plugins;
mod examples;
mod go_plugins;
mod make_examples;
mod matrix;
mod migrating;
mod new;
mod objects;
mod output;
mod starts;
mod zig_plugins;

use std::path::PathBuf;
use std::process::Command;

use support::plugins;
use support::program::{Finished, run};
use support::wait::DEADLINE;

/// The library with this test's functions.
fn library() -> PathBuf {
    plugins::example("gm_test_author")
}

/// gm-native, about to be run.
fn gm_native(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    // With it a caught panic is printed with its backtrace, as asked.
    command.env_remove("RUST_BACKTRACE");
    command.args(args);
    command
}

/// Runs gm-native to its end.
#[track_caller]
fn run_gm_native(args: &[&str], stdin: &[u8]) -> Finished {
    run(&mut gm_native(args), stdin, DEADLINE).unwrap_or_else(|hung| panic!("gm-native {args:?} hung: {hung:?}"))
}

/// `gm-native call` of a function of the test library.
#[track_caller]
fn call(function: &str, args: &[&str]) -> Finished {
    let library = library();
    let all: Vec<&str> =
        ["call", library.to_str().unwrap(), "--function", function].into_iter().chain(args.iter().copied()).collect();
    run_gm_native(&all, b"")
}
