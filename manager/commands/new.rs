//! `gm-native new`: makes a crate, or a folder in another language, for a function that builds, has tests and can be served
//! as it is.

use std::fs;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use super::output::{fail, finish};
use crate::cli::NewArgs;
use crate::cli::command_args::Language;

mod files;
mod name;
mod native;

use crate::system::errors::reason;
use files::{ApiSource, CrateKind, CrateLocation, files};

/// Makes the function's files in a new directory of its name. Exit code 2 for an invalid name, 1 if the directory exists or cannot
/// be written.
pub fn new(args: &NewArgs) -> ExitCode {
    let name = &args.name;
    if let Err(text) = name::check(name, args.lang) {
        return fail(&text, 2);
    }
    let (files, test) = match args.lang {
        Language::Rust => {
            let kind = CrateKind { object: args.object, json: args.json };
            let here = std::env::current_dir().unwrap_or_default();
            (files(name, kind, &api(), place(&here)), "cargo test")
        }
        _ if args.json => return fail("--json is for functions in Rust: leave it out, or use --lang rust", 2),
        lang => (native::files(name, lang, args.object), "make test"),
    };
    match make(Path::new(name), &files) {
        Ok(()) => finish(&format!("made {name}: cd {name} && {test}; the rest is in its README.md\n"), 0),
        Err(text) => fail(&text, 1),
    }
}

/// The source tree this program was built from, if it still exists, since nothing fits better; else the repository.
fn api() -> ApiSource {
    let built_from = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugin-api");
    match built_from.to_str().filter(|_| built_from.join("Cargo.toml").is_file()) {
        Some(path) => ApiSource::Path(path.into()),
        None => ApiSource::Git(env!("CARGO_PKG_REPOSITORY")),
    }
}

/// Whether a directory is part of a workspace.
fn place(dir: &Path) -> CrateLocation {
    let is_workspace = |dir: &Path| {
        let manifest = fs::read_to_string(dir.join("Cargo.toml")).unwrap_or_default();
        manifest.lines().any(|line| line.trim_start().starts_with("[workspace"))
    };
    if dir.ancestors().any(is_workspace) { CrateLocation::BelowWorkspace } else { CrateLocation::Alone }
}

fn make(dir: &Path, files: &[(String, String)]) -> Result<(), String> {
    fs::create_dir(dir).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            format!("{} is there already: choose another name, or remove it", dir.display())
        }
        _ => format!("the directory {} cannot be made: {}", dir.display(), reason(&error)),
    })?;
    for (path, content) in files {
        let path = dir.join(path);
        let above = path.parent().map_or(Ok(()), fs::create_dir_all);
        let written = above.and_then(|()| fs::write(&path, content));
        written.map_err(|error| format!("{} cannot be written: {}", path.display(), reason(&error)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_existing_directory_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let error = make(dir.path(), &[("x".into(), "y".into())]).unwrap_err();
        assert!(error.ends_with("is there already: choose another name, or remove it"), "{error}");
        assert!(!dir.path().join("x").exists());
    }

    #[test]
    fn a_workspace_above_is_noticed() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        assert_eq!(place(&below), CrateLocation::Alone);
        fs::write(dir.path().join("a/Cargo.toml"), "[package]\n").unwrap();
        assert_eq!(place(&below), CrateLocation::Alone);
        fs::write(dir.path().join("Cargo.toml"), "[workspace]\nmembers = []\n").unwrap();
        assert_eq!(place(&below), CrateLocation::BelowWorkspace);
    }
}
