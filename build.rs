//! Tells the binaries what they are (the git revision, the target and the compiler, for `-V` and for messages; a number
//! for what they were built from, so that binaries of two builds never work together), and makes the man pages and the
//! shells' completions from the definition of the command line.
//!
//! They are written to `OUT_DIR`, and to `assets/` beside the program, in `target/release`: `make install` takes them
//! from there, since nobody outside cargo knows where `OUT_DIR` is.

use std::error::Error;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::CommandFactory;
use clap_complete::Shell;

#[path = "manager/cli/mod.rs"]
#[allow(dead_code, reason = "its options are described here, not read")]
mod cli;
#[path = "packaging/man.rs"]
mod man;

fn main() -> Result<(), Box<dyn Error>> {
    // In a worktree `.git` is a file: git knows where the files are.
    for file in ["HEAD", "refs/heads"] {
        if let Some(path) = output("git", &["rev-parse", "--git-path", file]).filter(|path| Path::new(path).exists()) {
            println!("cargo::rerun-if-changed={path}");
        }
    }
    println!("cargo::rerun-if-changed=packaging/man.rs");
    let revision = output("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| "unknown".into());
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let compiler = output(&rustc, &["--version"]).unwrap_or_else(|| "rustc unknown".into());
    let target = std::env::var("TARGET").unwrap_or_else(|_| "unknown".into());
    println!("cargo::rustc-env=GM_REVISION={revision}");
    println!("cargo::rustc-env=GM_COMPILER={compiler}");
    println!("cargo::rustc-env=GM_TARGET={target}");
    println!("cargo::rustc-env=GM_BUILD_ID={:016x}", build_id(&[&revision, &compiler, &target])?);
    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo has not set OUT_DIR")?);
    assets(&out)?;
    beside_the_program(&out).map_or(Ok(()), |dir| assets(&dir.join("assets")))
}

/// A number for what the binaries are built from: all sources of the program and of the plugin interface, the versions of
/// the libraries, the compiler, and how it is called.
fn build_id(facts: &[&str]) -> std::io::Result<u64> {
    let mut hasher = DefaultHasher::new();
    facts.hash(&mut hasher);
    for variable in ["PROFILE", "OPT_LEVEL", "DEBUG", "CARGO_ENCODED_RUSTFLAGS"] {
        std::env::var(variable).ok().hash(&mut hasher);
    }
    for source in ["Cargo.toml", "Cargo.lock", "manager", "plugin-api/src", "plugin-api/macros/src"] {
        println!("cargo::rerun-if-changed={source}");
        hash_files(Path::new(source), &mut hasher)?;
    }
    Ok(hasher.finish())
}

/// Hashes a file, or each file below a directory, with its path. One that is not there, as in a packaged crate, is none.
fn hash_files(path: &Path, hasher: &mut DefaultHasher) -> std::io::Result<()> {
    if path.is_dir() {
        let mut entries = std::fs::read_dir(path)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<Vec<PathBuf>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| hash_files(entry, hasher));
    }
    if path.exists() {
        path.hash(hasher);
        std::fs::read(path)?.hash(hasher);
    }
    Ok(())
}

/// The directory of the profile, where cargo lays its files out as it always has: `PROFILE/build/PACKAGE-HASH/out`.
fn beside_the_program(out: &Path) -> Option<&Path> {
    let build = out.parent()?.parent()?;
    (build.file_name()? == "build").then(|| build.parent()).flatten()
}

/// Writes man pages and completions to a directory.
fn assets(dir: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(dir)?;
    man::write(cli::Cli::command(), dir)?;
    for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
        clap_complete::generate_to(shell, &mut cli::Cli::command(), "gm-native", dir)?;
    }
    Ok(())
}

/// The first line a command prints, where it ran and succeeded.
fn output(program: &str, args: &[&str]) -> Option<String> {
    let out = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(out.stdout).ok()?;
    let line = text.lines().next()?.trim().to_owned();
    (out.status.success() && !line.is_empty()).then_some(line)
}
