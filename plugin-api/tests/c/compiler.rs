//! The compilers for C and C++, as strict as they can be.
#![allow(dead_code, reason = "each test uses its part of it")]

use std::path::{Path, PathBuf};
use std::process::Command;

/// A file of these tests.
pub fn place(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("c_{name}"))
}

/// Compiles, without a warning.
#[track_caller]
pub fn compile(compiler: &str, args: &[&str], sources: &[&Path], out: &Path) {
    if let Err(words) = try_compile(compiler, args, sources, out) {
        panic!("{compiler} {args:?}:\n{words}");
    }
}

/// Compiles; the error is the compiler's words.
pub fn try_compile(compiler: &str, args: &[&str], sources: &[&Path], out: &Path) -> Result<(), String> {
    let include = Path::new(env!("CARGO_MANIFEST_DIR")).join("include");
    let warnings = ["-Wall", "-Wextra", "-Wpedantic", "-Wshadow", "-Werror", "-O1"];
    let mut command = Command::new(compiler);
    command.args(warnings).args(args).arg("-I").arg(include).arg("-o").arg(out).args(sources);
    let done = command.output().unwrap_or_else(|error| panic!("{compiler} cannot be run: {error}"));
    done.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

/// Whether there is such a compiler here.
pub fn is_installed(compiler: &str) -> bool {
    Command::new(compiler).arg("--version").output().is_ok()
}
