//! What `cargo package` would make of the crates that are published.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::support::build::repository;
use crate::support::program::run;
use crate::support::wait::DEADLINE;

/// In the order in which they are published: each needs those before it.
const PUBLISHED: [(&str, &str); 3] =
    [("gm-plugin-macros", "plugin-api/macros"), ("gm-plugin-api", "plugin-api"), ("gm-native", "")];

fn cargo(args: &[&str]) -> String {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(args).args(["--locked", "--offline"]).current_dir(repository()).env_remove("MAKEFLAGS");
    String::from_utf8(run(&mut cargo, b"", DEADLINE).unwrap().success()).unwrap()
}

/// Which files a package has.
fn files(package: &str) -> BTreeSet<PathBuf> {
    let list = cargo(&["package", "--list", "--allow-dirty", "--package", package]);
    list.lines().map(PathBuf::from).collect()
}

/// Without `..`, as far as it can be: a path that leads out of the package keeps it.
fn normal(path: &Path) -> PathBuf {
    path.components().fold(PathBuf::new(), |mut done, part| match part {
        Component::ParentDir if done.file_name().is_some() => {
            done.pop();
            done
        }
        _ => done.join(part),
    })
}

/// The files that a source includes, but for tests and doc tests.
fn included(source: &str) -> Vec<&str> {
    let code = source.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let starts = ["include_str!(\"", "include_bytes!(\"", "#[path = \""];
    let is_built = |at: usize| {
        let before = code[..at].lines().rev().take(2);
        !before.into_iter().any(|line| line.contains("cfg(doctest)") || line.contains("cfg(test)"))
    };
    let found = starts.iter().flat_map(|start| code.match_indices(start).map(move |(at, _)| (at, start.len())));
    found.filter(|(at, _)| is_built(*at)).filter_map(|(at, length)| code[at + length..].split('"').next()).collect()
}

/// A package is built without the rest of the repository.
#[test]
fn what_a_package_includes_is_in_it() {
    for (package, directory) in PUBLISHED {
        let files = files(package);
        for file in ["README.md", "LICENSE-MIT", "LICENSE-APACHE", "Cargo.lock"] {
            assert!(files.contains(Path::new(file)), "{package} has no {file}");
        }
        let tests = |file: &Path| file.ends_with("tests.rs") || file.iter().any(|part| part == "tests");
        let sources = files.iter().filter(|file| file.extension().is_some_and(|is| is == "rs") && !tests(file));
        let mut missing = Vec::new();
        for source in sources {
            let text = fs::read_to_string(repository().join(directory).join(source)).unwrap();
            let paths = included(&text).into_iter().map(|path| normal(&source.with_file_name(path)));
            missing.extend(paths.filter(|path| !files.contains(path)).map(|path| (source.clone(), path)));
        }
        assert!(missing.is_empty(), "{package} includes what it has not: {missing:#?}");
    }
    assert_eq!(included("#[cfg(doctest)]\n#[doc = include_str!(\"a\")]\nlet b = include_str!(\"b\");\n"), ["b"]);
}

/// A registry takes no dependency that is a path, and needs some facts of each package.
#[test]
fn a_registry_would_take_the_packages() {
    let metadata: Value = serde_json::from_str(&cargo(&["metadata", "--no-deps", "--format-version=1"])).unwrap();
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        let is_published = PUBLISHED.iter().any(|(published, _)| *published == name);
        assert_eq!(package["publish"].is_null(), is_published, "{name}");
        if !is_published {
            continue;
        }
        for fact in ["description", "license", "repository", "readme", "rust_version"] {
            assert!(package[fact].is_string(), "{name} has no {fact}");
        }
        assert!(!package["keywords"].as_array().unwrap().is_empty(), "{name}");
        for dependency in package["dependencies"].as_array().unwrap() {
            let (of, requirement) = (&dependency["name"], dependency["req"].as_str().unwrap());
            let is_ours = dependency["path"].is_string();
            match dependency["kind"].as_str() {
                // Without a version, cargo leaves it out of the package. With one it could never be published first.
                Some("dev") if is_ours => assert_eq!(requirement, "*", "{name} needs {of} for its tests"),
                _ if is_ours => assert_eq!(requirement, format!("^{}", env!("CARGO_PKG_VERSION")), "{name} needs {of}"),
                _ => assert_ne!(requirement, "*", "{name} needs {of}"),
            }
        }
    }
}
