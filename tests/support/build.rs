//! Builds something once for all tests, even if several processes need it at once.

use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::Duration;

use super::program::run;

/// For compilers on a loaded machine.
pub const BUILD_DEADLINE: Duration = Duration::from_secs(600);

/// The repository.
pub fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Where tests keep what they build.
pub fn build_dir() -> PathBuf {
    PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("built")
}

/// A short name for some content.
pub fn fingerprint(content: impl Hash) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}

/// Runs `build` while no other process builds.
pub fn alone<T>(build: impl FnOnce() -> T) -> T {
    fs::create_dir_all(build_dir()).unwrap();
    let lock = File::create(build_dir().join("lock")).unwrap();
    lock.lock().unwrap();
    build()
}

/// What plugins include, so that they are built again when it changes.
static HEADERS: LazyLock<String> = LazyLock::new(|| {
    let mut files: Vec<PathBuf> =
        fs::read_dir(repository().join("plugin-api/include")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    fingerprint(files.iter().map(|file| fs::read(file).unwrap()).collect::<Vec<_>>())
});

/// Compiles one C file, unless that was done before. The result is named `output`, in a directory of its own.
#[track_caller]
pub fn c(output: &str, source: &str, args: &[&str]) -> PathBuf {
    compile("cc", "source.c", output, source, args)
}

/// The same in C++.
#[track_caller]
pub fn cpp(output: &str, source: &str, args: &[&str]) -> PathBuf {
    compile("c++", "source.cc", output, source, args)
}

#[track_caller]
fn compile(compiler: &str, name: &str, output: &str, source: &str, args: &[&str]) -> PathBuf {
    let dir = build_dir().join(fingerprint((compiler, output, source, args, &*HEADERS)));
    let done = dir.join(output);
    if done.exists() {
        return done;
    }
    alone(|| {
        if done.exists() {
            return;
        }
        fs::create_dir_all(&dir).unwrap();
        let (file, part) = (dir.join(name), dir.join("part"));
        fs::write(&file, source).unwrap();
        let mut cc = Command::new(compiler);
        cc.args(["-Wall", "-Wextra", "-O1", "-g", "-o"]).args([&part, &file]).args(args);
        command(&mut cc);
        // A rename: whoever finds the file under its name finds all of it.
        fs::rename(part, &done).unwrap();
    });
    done
}

/// The command that runs Zig: of the system, or what scripts/install-test-deps has installed. `None` if there is none.
pub fn zig() -> Option<String> {
    let runs =
        |line: &str| Command::new("sh").arg("-c").arg(format!("{line} version")).output().unwrap().status.success();
    let python = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("test-servers").join("zig/bin/python");
    let installed = format!("{} -m ziglang", python.display());
    ["zig".to_owned(), installed].into_iter().find(|line| runs(line))
}

/// Runs make in a folder, for a target, with what the languages need to build nothing twice.
#[track_caller]
pub fn make(dir: &Path, args: &[&str]) {
    let mut make = Command::new("make");
    make.arg("--silent").args(args).current_dir(dir).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    make.env("GOCACHE", build_dir().join("go-cache")).env("GOFLAGS", "-mod=mod");
    make.env("ZIG_GLOBAL_CACHE_DIR", build_dir().join("zig-cache"))
        .env("ZIG_LOCAL_CACHE_DIR", build_dir().join("zig-cache"));
    if let Some(zig) = zig() {
        make.env("ZIG", zig);
    }
    command(&mut make);
}

/// Builds a C library `libNAME.so` of one file in Go; `None` if there is no Go.
#[track_caller]
pub fn go(name: &str, source: &str) -> Option<PathBuf> {
    Command::new("go").arg("version").output().ok()?;
    let dir = build_dir().join(fingerprint((name, source, "go")));
    let done = dir.join(format!("lib{name}.so"));
    alone(|| {
        if done.exists() {
            return;
        }
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("go.mod"), format!("module {name}\n\ngo 1.19\n")).unwrap();
        fs::write(dir.join("main.go"), source).unwrap();
        let mut go = Command::new("go");
        go.args(["build", "-buildmode=c-shared", "-o", "part"]).current_dir(&dir);
        go.arg(format!("-ldflags=-extldflags=-Wl,-soname,lib{name}.so"));
        go.env("GOCACHE", dir.join("cache")).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "1");
        command(&mut go);
        fs::rename(dir.join("part"), &done).unwrap();
    });
    Some(done)
}

/// Runs a compiler, which has to succeed.
#[track_caller]
pub fn command(compiler: &mut Command) {
    match run(compiler, b"", BUILD_DEADLINE) {
        Ok(finished) => {
            finished.success();
        }
        Err(hung) => panic!("{compiler:?} hung: {}", String::from_utf8_lossy(&hung.stderr)),
    }
}
