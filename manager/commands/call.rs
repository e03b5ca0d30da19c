//! `gm-native call`: runs one job of a library in a child process, through the loader and the interface that a worker
//! uses; without a job server or a manager.
//!
//! The child itself writes the result to standard output and everything else to standard error, at once, so that
//! nothing is lost when it dies. This process only forwards Ctrl-C and reports how the child ended.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::ExitCode;

use super::check::file_problem;
use super::child::{HelperEvent, HelperProcess, runtime};
use super::configuration;
use super::output::fail;
use crate::cli::{CallArgs, Cli};
use crate::plugins::display_path::DisplayPath;
use crate::plugins::name::{self, FunctionName};
use crate::scoreboard::{self, ScoreboardView, WorkerActivity};
use crate::supervisor::event::LIBRARY_EXITED;
use crate::supervisor::exit_cause::{ExitCause, JobInHand, judge};
use crate::system::clock;
use crate::system::reap::ExitStatus;
use crate::system::spawn::{Program, file_holding};
use crate::worker::messages::{self, WorkerMessage};

mod host;
mod job;
mod latency;

pub use job::{ROLE, main};

use crate::logging::escape;
use crate::post_mortem;
use crate::system::errors::{reason, reason_at};
pub(super) use job::CallRequest;

/// Runs the command. The exit code is 0 if all jobs succeeded, 1 if one did not, 2 for invalid options.
pub fn call(cli: &Cli, args: &CallArgs) -> ExitCode {
    if let Some(reason) = file_problem(&args.file) {
        return fail(&format!("{} {reason}", DisplayPath(&args.file)), 1);
    }
    let order = match order(cli, args) {
        Ok(order) => order,
        Err(text) => return fail(&text, 2),
    };
    let workload = match workload(args.data.as_deref()) {
        Ok(workload) => workload,
        Err(text) => return fail(&text, 1),
    };
    run(&order, &workload)
}

/// Runs a job in a child. The exit code is 0 if it succeeded, else 1.
pub(super) fn run(order: &CallRequest, workload: &[u8]) -> ExitCode {
    let file = Path::new(&order.library);
    let ran = Program::open().and_then(|mut program| {
        let runtime = runtime()?;
        let (scoreboard_fd, scoreboard) = scoreboard::create(1, 0)?;
        let order = file_holding(&messages::encode(order))?;
        let extra = vec![scoreboard_fd, order, file_holding(workload)?, stdout()?];
        runtime.block_on(run_child(&mut program, extra)).map(|ended| (ended, scoreboard))
    });
    match ran {
        Ok((ended, scoreboard)) => exit_code(file, order.repeat, &ended, scoreboard),
        Err(error) => fail(&format!("{}: no job could be run: {}", DisplayPath(file), reason(&error)), 1),
    }
}

fn order(cli: &Cli, args: &CallArgs) -> Result<CallRequest, String> {
    let (config, warnings) = configuration::load(cli)?;
    warnings.iter().for_each(|warning| eprintln!("gm-native: warning: {warning}"));
    let function = match &args.function {
        Some(name) => FunctionName::new(name).map_err(|error| format!("--function {}", reason(&error)))?,
        None => {
            name::function_of(args.file.file_name().unwrap_or_default()).map(|(name, _)| name).map_err(|reason| {
                format!(
                    "{}: its name gives no function: it {reason}; name one with --function NAME",
                    DisplayPath(&args.file)
                )
            })?
        }
    };
    let mut settings =
        config.functions.get(function.as_str()).map(|function| function.settings.0.clone()).unwrap_or_default();
    for text in &args.settings {
        let (name, value) = setting(text)?;
        settings.insert(name, value);
    }
    Ok(CallRequest {
        function,
        prefix: args.prefix.clone().unwrap_or(config.prefix),
        library: args.file.clone().into(),
        settings,
        repeat: args.repeat,
        verbosity: 3 + args.verbose.min(2),
        max_packet: config.max_packet,
        stop_timeout: config.stop_timeout,
    })
}

/// `NAME=VALUE` or, as in an ini, `setting.NAME = VALUE`.
fn setting(text: &str) -> Result<(String, String), String> {
    let wrong = || format!("--setting {text}: write NAME=VALUE");
    let (name, value) = text.split_once('=').ok_or_else(wrong)?;
    let name = name.trim();
    let name = name.strip_prefix("setting.").unwrap_or(name);
    if name.is_empty() { Err(wrong()) } else { Ok((name.to_owned(), value.trim().to_owned())) }
}

/// The workload: the text itself, standard input, or a file's content.
fn workload(data: Option<&OsStr>) -> Result<Vec<u8>, String> {
    let data = data.map_or(&b""[..], OsStr::as_bytes);
    let mut bytes = Vec::new();
    match data {
        b"-" => {
            io::stdin()
                .lock()
                .read_to_end(&mut bytes)
                .map_err(|error| format!("standard input: {}", reason(&error)))?;
        }
        [b'@', path @ ..] => {
            let path = Path::new(OsStr::from_bytes(path));
            let read = File::open(path).and_then(|mut file| file.read_to_end(&mut bytes));
            read.map_err(|error| {
                format!("the workload {} cannot be read: {}", DisplayPath(path), reason_at(path, &error))
            })?;
        }
        text => bytes.extend_from_slice(text),
    }
    Ok(bytes)
}

fn stdout() -> io::Result<OwnedFd> {
    io::stdout().as_fd().try_clone_to_owned()
}

/// How the child ended, and how far it got.
struct CallExit {
    end: ExitStatus,
    /// Its last message.
    word: Option<WorkerMessage>,
    killed: bool,
}

/// Runs the child to its end. Ctrl-C asks it to stop; the second one kills it.
async fn run_child(program: &mut Program, extra: Vec<OwnedFd>) -> io::Result<CallExit> {
    let mut child = HelperProcess::start(program, ROLE, extra)?;
    let (mut word, mut asked) = (None, 0);
    loop {
        match child.next().await? {
            HelperEvent::Message(message) => word = messages::decode(&message).ok().or(word),
            HelperEvent::StopRequested if asked == 0 => {
                asked = 1;
                eprintln!("gm-native: the job is asked to stop; Ctrl-C again kills it");
                child.request_stop();
            }
            HelperEvent::StopRequested => {
                asked = 2;
                child.kill();
            }
            HelperEvent::Ended(reaped) => return Ok(CallExit { end: reaped.end, word, killed: asked == 2 }),
        }
    }
}

/// Reports how it ended, unless the child has done so itself.
fn exit_code(file: &Path, repeat: u64, ended: &CallExit, scoreboard: ScoreboardView) -> ExitCode {
    let seen = scoreboard.read();
    let exit_cause = judge(ended.end, &seen, clock::now());
    if let (WorkerActivity::Disconnected, ExitStatus::Exit(code @ (0 | 1))) = (seen.activity, ended.end) {
        return ExitCode::from(code as u8);
    }
    let number = seen.job.as_ref().filter(|_| repeat > 1).map(|job| job.number);
    let place = place(&exit_cause, seen.activity, ended.word.as_ref(), number);
    print_calls(file, scoreboard);
    let by_us = if ended.killed { ", as you asked" } else { "" };
    let called = matches!((ended.end, &exit_cause), (ExitStatus::Exit(_), ExitCause::InJob(_)));
    let called = if called { format!(" ({LIBRARY_EXITED})") } else { String::new() };
    fail(&format!("{}: {}{called} {place}{by_us}", DisplayPath(file), ended.end), 1)
}

/// Prints what the child was doing when it crashed, if it has saved that.
fn print_calls(file: &Path, scoreboard: ScoreboardView) {
    let Ok(Some(snapshot)) = scoreboard.copy_crash_area() else { return };
    for line in post_mortem::describe(&File::from(snapshot), file) {
        eprintln!("gm-native: {}", escape(&line));
    }
}

/// Where in its life the child was.
fn place(
    exit_cause: &ExitCause,
    activity: WorkerActivity,
    word: Option<&WorkerMessage>,
    number: Option<u64>,
) -> String {
    match (exit_cause, activity, word) {
        (ExitCause::InJob(JobInHand { ran, .. }), ..) => {
            let which = number.map_or("the job".to_owned(), |number| format!("job {number}"));
            format!("in {which}, after {}", latency::short(*ran))
        }
        (_, WorkerActivity::Running | WorkerActivity::Answering | WorkerActivity::AnswerPending, _) => {
            "in the job; its scoreboard was overwritten".into()
        }
        (_, WorkerActivity::Draining | WorkerActivity::Disconnected, _) => "in its destructors".into(),
        (_, WorkerActivity::Idle, _) => "between two jobs".into(),
        (_, WorkerActivity::Starting, Some(WorkerMessage::Making { .. })) => "in its new()".into(),
        (_, WorkerActivity::Starting, Some(WorkerMessage::Loading { .. })) => "while it was loaded".into(),
        (_, WorkerActivity::Starting, _) => "before it was loaded".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::time::Duration;

    use super::*;

    #[test]
    fn settings_as_options() {
        for (text, expected) in [
            ("a=b", Some(("a", "b"))),
            ("setting.a = b c ", Some(("a", "b c"))),
            ("url=http://x/?a=b", Some(("url", "http://x/?a=b"))),
            ("a=", Some(("a", ""))),
            ("a", None),
            ("=b", None),
            ("setting.=b", None),
        ] {
            let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
            assert_eq!(setting(text).ok(), expected, "{text}");
        }
    }

    #[test]
    fn workloads() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, b"a\0b").unwrap();
        let from_file = OsString::from(format!("@{}", file.path().display()));
        assert_eq!(workload(Some(&from_file)).unwrap(), b"a\0b");
        assert_eq!(workload(Some("text".as_ref())).unwrap(), b"text");
        assert_eq!(workload(None).unwrap(), b"");
        let missing = workload(Some("@/nowhere".as_ref())).unwrap_err();
        assert!(missing.starts_with("the workload /nowhere cannot be read: No such file"), "{missing}");
    }

    #[test]
    fn a_place_for_every_end() {
        let lost = JobInHand {
            function: 0,
            number: 1,
            connection: 0,
            handle: Vec::new(),
            unique: String::new(),
            ran: Duration::from_millis(12),
            half_sent: false,
        };
        let in_job = ExitCause::InJob(lost);
        let (loading, making) = (WorkerMessage::Loading { function: 0 }, WorkerMessage::Making { function: 0 });
        for (exit_cause, activity, word, number, expected) in [
            (&in_job, WorkerActivity::Running, Some(&making), None, "in the job, after 12.0 ms"),
            (&in_job, WorkerActivity::Running, Some(&making), Some(7), "in job 7, after 12.0 ms"),
            (&ExitCause::Unknown, WorkerActivity::Running, None, None, "in the job; its scoreboard was overwritten"),
            (&ExitCause::OutsideJob, WorkerActivity::Starting, None, None, "before it was loaded"),
            (&ExitCause::OutsideJob, WorkerActivity::Starting, Some(&loading), None, "while it was loaded"),
            (&ExitCause::OutsideJob, WorkerActivity::Starting, Some(&making), None, "in its new()"),
            (&ExitCause::OutsideJob, WorkerActivity::Idle, Some(&making), None, "between two jobs"),
            (&ExitCause::OutsideJob, WorkerActivity::Draining, Some(&making), None, "in its destructors"),
        ] {
            assert_eq!(place(exit_cause, activity, word, number), expected);
        }
    }
}
