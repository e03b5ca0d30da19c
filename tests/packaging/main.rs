//! What is installed with the program, what it sends to a service manager, and what the documents claim.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod booted;
mod containers;
mod debian;
mod debug_files;
mod documents;
mod faults;
#[path = "../behaviour/fixture.rs"]
#[allow(dead_code, reason = "the suite it is from uses more of it")]
mod fixture;
mod install;
mod machine;
mod migrating;
mod monitoring;
mod reference;
mod registry;
mod rotation;
mod running;
mod service;
mod service_managers;
mod unit;

use std::path::Path;

/// Where the build has put man pages and completions.
fn assets() -> &'static Path {
    Path::new(env!("OUT_DIR"))
}

/// Whether a program is there: what reads a format is not needed by who only builds.
fn is_there(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| dir.join(program).exists())
}
