//! The libraries for a manager under test.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex, PoisonError};

use super::build::{self, alone, build_dir, fingerprint, repository};

/// The library of a package under `plugins-example/`. Cargo built it with the tests, as a dev-dependency.
#[track_caller]
pub fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let path = test.with_file_name(format!("lib{name}.so"));
    assert!(path.exists(), "{} is missing: is {name} a dev-dependency and a cdylib?", path.display());
    path
}

/// A plugin in Rust, from the text of its `lib.rs`, built against this repository's plugin-api.
#[track_caller]
pub fn rust(name: &str, source: &str) -> PathBuf {
    rust_with(name, source, "")
}

/// As [`rust`], with further lines at the end of its `Cargo.toml`, such as `[profile.dev]` and `panic = "abort"`.
///
/// All share a target directory and this repository's Cargo.lock, so that only the plugin itself is compiled and
/// nothing is downloaded.
#[track_caller]
pub fn rust_with(name: &str, source: &str, manifest_end: &str) -> PathBuf {
    let api = repository().join("plugin-api");
    rust_on(name, name, source, &format!("gm-plugin-api = {{ path = {api:?} }}"), manifest_end)
}

/// As [`rust`], linked to a library `libLINKED.so` that it expects beside itself.
#[track_caller]
pub fn rust_linked(name: &str, source: &str, linked: &str, library: &Path) -> PathBuf {
    let dir = library.parent().unwrap().display();
    let script = format!(
        "fn main() {{\n    println!(\"cargo::rustc-link-search={dir}\");\n    \
         println!(\"cargo::rustc-link-lib=dylib={linked}\");\n    \
         println!(\"cargo::rustc-link-arg=-Wl,-rpath,$ORIGIN\");\n}}\n"
    );
    let api = repository().join("plugin-api");
    rust_with_script(name, name, source, &format!("gm-plugin-api = {{ path = {api:?} }}"), "", Some(&script))
}

/// As [`rust`], with the feature `json`, and with serde_json for the plugin itself.
#[track_caller]
pub fn rust_with_json(name: &str, source: &str) -> PathBuf {
    let api = repository().join("plugin-api");
    let dependencies = format!("gm-plugin-api = {{ path = {api:?}, features = [\"json\"] }}\nserde_json = \"1.0\"");
    rust_on(name, name, source, &dependencies, "")
}

/// A library of an interface version as it was released, such as `1.0`: it contains nothing of today's gm-plugin-api.
///
/// Its function is `interface_1_0`. A new version is built beside it, from a file of its own.
#[track_caller]
pub fn of_interface(version: &str, manifest_end: &str) -> PathBuf {
    let source = repository().join(format!("plugin-api/tests/interface/{version}.rs"));
    let source = fs::read_to_string(&source).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
    let name = format!("interface_{}", version.replace('.', "_"));
    // A type's package is part of its layout, hence the package's name.
    let dependency = "abi_stable = { version = \"=0.11.3\", default-features = false }";
    rust_on(&name, "gm-plugin-api", &source, dependency, manifest_end)
}

/// A library called `name`, of a package with this line of dependencies.
#[track_caller]
fn rust_on(name: &str, package: &str, source: &str, dependency: &str, manifest_end: &str) -> PathBuf {
    rust_with_script(name, package, source, dependency, manifest_end, None)
}

#[track_caller]
fn rust_with_script(
    name: &str,
    package: &str,
    source: &str,
    dependency: &str,
    manifest_end: &str,
    script: Option<&str>,
) -> PathBuf {
    /// What this process has built. Other processes ask cargo again, since plugin-api may have changed.
    static BUILT: LazyLock<Mutex<HashMap<String, PathBuf>>> = LazyLock::new(Mutex::default);
    let manifest = format!(
        "[package]\nname = \"{package}\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [lib]\nname = \"{name}\"\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\n{dependency}\n\n[workspace]\n\n{manifest_end}\n"
    );
    let key = fingerprint((name, source, &manifest, script));
    let mut built = BUILT.lock().unwrap_or_else(PoisonError::into_inner);
    built.entry(key.clone()).or_insert_with(|| alone(|| cargo_build(name, source, script, &manifest, &key))).clone()
}

/// A plugin in C, from the text of its one file.
#[track_caller]
pub fn c(name: &str, source: &str) -> PathBuf {
    build::c(&format!("{name}.so"), source, &["-shared", "-fPIC"])
}

#[track_caller]
fn cargo_build(name: &str, source: &str, script: Option<&str>, manifest: &str, key: &str) -> PathBuf {
    let dir = build_dir().join(format!("{name}-{key}"));
    fs::create_dir_all(dir.join("src")).unwrap();
    write_if_new(&dir.join("src/lib.rs"), source);
    write_if_new(&dir.join("Cargo.toml"), manifest);
    if let Some(script) = script {
        write_if_new(&dir.join("build.rs"), script);
    }
    // Cargo removes from the copy what is not needed, and needs no network for what is in it.
    fs::copy(repository().join("Cargo.lock"), dir.join("Cargo.lock")).unwrap();
    let target = build_dir().join("cargo");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--offline", "--target-dir"]).arg(&target).current_dir(&dir);
    // Make's job server is not for us.
    command.env_remove("MAKEFLAGS").env_remove("CARGO_MAKEFLAGS").env_remove("MFLAGS");
    build::command(&mut command);
    // Two plugins of one name share a file there.
    let (part, done) = (dir.join("part"), dir.join(format!("{name}.so")));
    fs::copy(target.join(format!("debug/lib{name}.so")), &part).unwrap();
    fs::rename(part, &done).unwrap();
    done
}

/// Leaves the file's time unchanged if its content is, so that cargo has nothing to do.
fn write_if_new(path: &Path, text: &str) {
    if fs::read_to_string(path).ok().as_deref() != Some(text) {
        fs::write(path, text).unwrap();
    }
}
