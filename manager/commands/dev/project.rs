//! A folder that `dev` builds and serves: a crate, a folder with a Makefile, or one with a build command of your own.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::build::{RunningBuild, cargo_libraries};
use crate::system::errors::reason;

/// The names of a Makefile, in the order in which GNU make looks for them.
const MAKEFILES: [&str; 3] = ["GNUmakefile", "makefile", "Makefile"];

/// A folder to build and serve.
#[derive(Debug)]
pub(super) struct Project {
    /// As the user wrote it.
    pub name: String,
    /// Its folder, canonical.
    pub dir: PathBuf,
    tool: BuildTool,
}

/// How a folder is built.
#[derive(Debug, Clone, PartialEq, Eq)]
enum BuildTool {
    Cargo,
    /// The first target of a Makefile.
    Make,
    /// A line for the shell.
    Shell(OsString),
}

impl Project {
    /// What is in a folder; `command` is a command to build it with, if the user gave one.
    ///
    /// # Errors
    /// Nothing that can be built; the error is a sentence.
    pub(super) fn find(dir: &Path, command: Option<&OsStr>) -> Result<Self, String> {
        let name = dir.display().to_string();
        let found = dir
            .canonicalize()
            .map_err(|error| format!("{name} cannot be built: {}; gm-native new NAME makes a crate", reason(&error)))?;
        match tool(&found, command) {
            Some(tool) => Ok(Self { name, dir: found, tool }),
            None => Err(format!(
                "{name} has no Cargo.toml and no Makefile: gm-native new NAME makes a crate, gm-native new --lang c NAME a \
                 folder with a Makefile, and --build names another command"
            )),
        }
    }

    /// What builds it, for messages.
    pub(super) fn tool(&self) -> String {
        match &self.tool {
            BuildTool::Cargo => "cargo build".into(),
            BuildTool::Make => "make".into(),
            BuildTool::Shell(line) => line.to_string_lossy().into_owned(),
        }
    }

    /// Whether cargo builds it.
    pub(super) fn is_crate(&self) -> bool {
        self.tool == BuildTool::Cargo
    }

    /// Starts a build. Its messages about the code go to standard error.
    ///
    /// # Errors
    /// The tool cannot be started; the error is a sentence.
    pub(super) fn build(&self, release: bool) -> Result<RunningBuild, String> {
        let program: OsString = match self.tool {
            BuildTool::Cargo => std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
            BuildTool::Make => "make".into(),
            BuildTool::Shell(_) => "sh".into(),
        };
        let hint = if self.is_crate() { "; is Rust installed?" } else { "" };
        let failed = |error: io::Error| {
            format!("{}: {} cannot be started: {}{hint}", self.name, program.display(), reason(&error))
        };
        // A file, since nothing reads the messages while cargo runs.
        let messages = tempfile::tempfile().map_err(failed)?;
        let mut command = Command::new(&program);
        let output = match &self.tool {
            BuildTool::Cargo => {
                command
                    .args(["build", "--message-format=json-render-diagnostics"])
                    .args(release.then_some("--release"));
                Stdio::from(messages.try_clone().map_err(failed)?)
            }
            // What they print is for people.
            BuildTool::Make => Stdio::from(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?),
            BuildTool::Shell(line) => {
                command.arg("-c").arg(line);
                Stdio::from(io::stderr().as_fd().try_clone_to_owned().map_err(failed)?)
            }
        };
        // A make that started us has a job server that is not for us.
        command.current_dir(&self.dir).env_remove("MAKEFLAGS").env_remove("CARGO_MAKEFLAGS").env_remove("MAKELEVEL");
        command.stdin(Stdio::null()).stdout(output);
        // A group of its own, so that the compilers end with it.
        command.process_group(0);
        Ok(RunningBuild::new(command.spawn().map_err(failed)?, messages))
    }

    /// The libraries that a build with these messages has made.
    ///
    /// # Errors
    /// There are none; the error is a sentence.
    pub(super) fn libraries(&self, messages: &str) -> Result<Vec<PathBuf>, String> {
        let (libraries, advice) = match &self.tool {
            BuildTool::Cargo => (
                cargo_libraries(messages, &self.dir),
                "put crate-type = [\"cdylib\", \"rlib\"] under [lib] in its Cargo.toml".to_owned(),
            ),
            tool => {
                let whose = if *tool == BuildTool::Make { "the first target of its Makefile" } else { "--build" };
                let advice = format!("{whose} has to make NAME.so in {}", self.dir.display());
                (libraries_in(&self.dir).map_err(|error| format!("it cannot be read: {}", reason(&error)))?, advice)
            }
        };
        if libraries.is_empty() { Err(format!("it builds no library to load: {advice}")) } else { Ok(libraries) }
    }
}

/// How to build what is in a folder.
fn tool(dir: &Path, command: Option<&OsStr>) -> Option<BuildTool> {
    let has = |name: &&str| dir.join(name).is_file();
    match command {
        Some(line) => Some(BuildTool::Shell(line.to_owned())),
        None if has(&"Cargo.toml") => Some(BuildTool::Cargo),
        None => MAKEFILES.iter().any(has).then_some(BuildTool::Make),
    }
}

/// Whether a folder can be built without a command.
pub(super) fn is_project(dir: &Path) -> bool {
    tool(dir, None).is_some()
}

/// The libraries in a folder, by name.
fn libraries_in(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let is_hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !is_hidden && path.extension().is_some_and(|extension| extension == "so") && path.is_file() {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn what_builds_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let find = |command: Option<&str>| Project::find(dir.path(), command.map(OsStr::new)).map(|found| found.tool());
        let error = find(None).unwrap_err();
        assert!(error.contains("has no Cargo.toml and no Makefile: gm-native new NAME makes a crate"), "{error}");
        assert_eq!(find(Some("ninja -C build")).as_deref(), Ok("ninja -C build"));
        fs::write(dir.path().join("makefile"), "").unwrap();
        assert_eq!(find(None).as_deref(), Ok("make"));
        fs::write(dir.path().join("Cargo.toml"), "").unwrap();
        assert_eq!(find(None).as_deref(), Ok("cargo build"));
        assert_eq!(find(Some("./build.sh")).as_deref(), Ok("./build.sh"));
        let error = Project::find(&dir.path().join("x"), None).unwrap_err();
        assert!(error.ends_with("No such file or directory; gm-native new NAME makes a crate"), "{error}");
    }

    #[test]
    fn the_libraries_of_a_folder_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let found = Project { name: "f".into(), dir: dir.path().into(), tool: BuildTool::Make };
        let error = found.libraries("").unwrap_err();
        assert!(error.starts_with("it builds no library to load: the first target of its Makefile has to"), "{error}");
        for name in ["f.so", "libpart.so", ".f.so", "f.so.1", "f.c"] {
            fs::write(dir.path().join(name), "").unwrap();
        }
        fs::create_dir(dir.path().join("d.so")).unwrap();
        let expected = ["f.so", "libpart.so"].map(|name| dir.path().join(name)).to_vec();
        assert_eq!(found.libraries(""), Ok(expected));
    }
}
