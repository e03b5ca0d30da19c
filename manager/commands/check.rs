//! `gm-native check`: prints what a library is, or one sentence on why it cannot be used. It runs the probe that a
//! manager runs on a file in worker_dir, so a library that passes here is served there.

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::child::{HelperEvent, HelperProcess, runtime};
use super::configuration;
use super::output::{OutputFormat, Printed, fail, print};
use crate::cli::{CheckArgs, Cli};
use crate::config::Config;
use crate::plugins::display_path::DisplayPath;
use crate::plugins::name::{self, FunctionName};
use crate::plugins::probe::ROLE;
use crate::plugins::probe_session::{ProbeSession, nonce};
use crate::plugins::rejection::Rejection;
use crate::plugins::report::{LoadableLibrary, ProbeRequest, encode};
use crate::system::clock;
use crate::system::errors::{reason, reason_at};
use crate::system::spawn::Program;

mod report;

/// Checks the files, and prints the result of each as soon as it is known. Exit code 0 if all can be used, else 1.
pub fn check(cli: &Cli, args: &CheckArgs, format: OutputFormat) -> ExitCode {
    let config = match configuration::load(cli) {
        Ok((config, _)) => config,
        Err(text) => return fail(&text, 2),
    };
    let function = args.function.as_deref().map(FunctionName::new).transpose();
    let function = match function {
        Ok(function) => function,
        Err(error) => return fail(&format!("--function {}", reason(&error)), 2),
    };
    let prefix = args.prefix.clone().unwrap_or_else(|| config.prefix.clone());
    let started = Program::open().and_then(|program| Ok((program, runtime()?, Scratch::make(&config)?)));
    let (mut program, runtime, scratch) = match started {
        Ok(all) => all,
        Err(error) => return fail(&format!("cannot start: {}", reason(&error)), 1),
    };
    let mut checker = Checker { config: &config, prefix: &prefix, program: &mut program, scratch: &scratch };
    let mut code = 0;
    for file in &args.files {
        let checked = match runtime.block_on(checker.check_file(file, function.as_ref())) {
            Ok(checked) => checked,
            Err(error) => return fail(&format!("{}: not looked at: {}", DisplayPath(file), reason(&error)), 1),
        };
        code |= u8::from(checked.is_err());
        match print(&report::render(file, &checked, format)) {
            Ok(Printed::Read) => {}
            Ok(Printed::NobodyReads) => break,
            Err(error) => return fail(&format!("cannot write to standard output: {}", reason(&error)), 1),
        }
    }
    ExitCode::from(code)
}

/// A usable library and the function it serves; or why it cannot be used.
type Checked = Result<(FunctionName, LoadableLibrary), UnusableFile>;

/// Why a file cannot be used.
struct UnusableFile {
    sentence: String,
    detail: Option<String>,
}

impl From<&Rejection> for UnusableFile {
    fn from(rejection: &Rejection) -> Self {
        Self {
            sentence: rejection.to_string() + rejection.command_advice(),
            detail: rejection.detail().map(Into::into),
        }
    }
}

/// What all files share.
struct Checker<'a> {
    config: &'a Config,
    prefix: &'a str,
    program: &'a mut Program,
    scratch: &'a Scratch,
}

impl Checker<'_> {
    /// Checks one file. An `Err` is not about the file.
    async fn check_file(&mut self, file: &Path, function: Option<&FunctionName>) -> io::Result<Checked> {
        let wrong = |sentence: String| Ok(Err(UnusableFile { sentence, detail: None }));
        if let Some(problem) = file_problem(file) {
            return wrong(problem);
        }
        let function = match function
            .cloned()
            .map_or_else(|| name::function_of(file.file_name().unwrap_or_default()).map(|(name, _)| name), Ok)
        {
            Ok(function) => function,
            Err(reason) => return wrong(reason.to_string()),
        };
        // A directory of its own: siblings of the library are copied beside the copy.
        let place = self.scratch.0.join("probe");
        std::fs::create_dir(&place)?;
        let copy = place.join("copy");
        let order = ProbeRequest {
            nonce: nonce(),
            candidate: file.into(),
            function: function.clone(),
            prefix: self.prefix.into(),
            copy_to: copy,
            max_size: self.config.max_plugin_size,
            // The owner of a build directory does not tell who will own worker_dir.
            file_policy: None,
        };
        let checked = probe(self.program, order, self.config.probe_timeout).await;
        // A rejection has removed the copy already, and the directory is removed in the end.
        let _ = std::fs::remove_dir_all(place);
        Ok(checked?.map(|found| (function, found)).map_err(|rejection| UnusableFile::from(&rejection)))
    }
}

/// Why a path cannot be a library's, whatever its name; checked before the name. The text follows the path.
pub(super) fn file_problem(file: &Path) -> Option<String> {
    match std::fs::metadata(file) {
        Err(error) => Some(format!("cannot be opened: {}", reason_at(file, &error))),
        Ok(found) if found.is_dir() => Some(match file.join("Cargo.toml").is_file() {
            true => "is the directory of a crate: name the library that cargo built, such as target/release/libNAME.so"
                .into(),
            false => "is a directory, not a file".into(),
        }),
        Ok(_) => None,
    }
}

/// Runs one probe to its end.
async fn probe(
    program: &mut Program,
    order: ProbeRequest,
    timeout: Duration,
) -> io::Result<Result<LoadableLibrary, Rejection>> {
    let order_bytes = encode(&order).map_err(io::Error::other)?;
    let mut probe_session = ProbeSession::new(order, timeout);
    let mut child = HelperProcess::start(program, ROLE, Vec::new())?;
    child.send(&order_bytes)?;
    let deadline = Instant::from(clock::after(timeout));
    loop {
        let enough = tokio::select! {
            seen = child.next() => match seen? {
                HelperEvent::Message(message) => probe_session.receive(&message),
                HelperEvent::StopRequested => {
                    child.kill();
                    return Err(io::Error::other("interrupted"));
                }
                HelperEvent::Ended(reaped) => return Ok(probe_session.judge(reaped.end)),
            },
            () = sleep_until(deadline), if !probe_session.is_over() => {
                probe_session.times_out();
                true
            }
        };
        if enough {
            child.kill();
        }
    }
}

/// A directory for the copies, removed in the end.
struct Scratch(PathBuf);

impl Scratch {
    /// Below state_dir if given, else where temporary files are: it must not be on a noexec mount.
    fn make(config: &Config) -> io::Result<Self> {
        let parent = config.state_dir.clone().unwrap_or_else(std::env::temp_dir);
        let made = nix::unistd::mkdtemp(&parent.join("gm-native-check-XXXXXX"));
        made.map(Self).map_err(|error| {
            io::Error::other(format!(
                "no directory can be made in {}: {}; name another with --state-dir DIR",
                parent.display(),
                reason(&error)
            ))
        })
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A temporary directory that cannot be removed is no reason to fail.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
