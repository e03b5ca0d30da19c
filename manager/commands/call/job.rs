//! The child of `gm-native call`: loads the library, makes its object, runs the job.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use gm_plugin_api::abi::RawFail;
use serde::{Deserialize, Serialize};

use super::{host, latency};
use crate::gearman::packet::AssignedJob;
use crate::logging::excerpt;
use crate::plugins::display_path::DisplayPath;
use crate::plugins::name::FunctionName;
use crate::plugins::probe::load_in_place;
use crate::scoreboard::{self, ScoreboardWriter, WorkerActivity};
use crate::system::channel::Channel;
use crate::system::errors::reason;
use crate::system::proctitle;
use crate::system::spawn::{CHANNEL_FD, EXTRA_FD, inherited};
use crate::system::stop_signal::{self, StopSignal};
use crate::system::{child_exit, crash_handler, fork, handlers};
use crate::worker::job::{self, Assignment, within};
use crate::worker::messages::{WorkerMessage, decode, encode};
use crate::worker::plugin::{LoadedFunction, explain};

/// The hidden argument that selects this role.
pub const ROLE: &str = "--gm-native-call";

/// The handle of every job here, which no job server uses.
const HANDLE: &[u8] = b"H:call:1";

/// How much of an exception's payload is shown.
const SHOWN: usize = 1024;

/// What the command sends to the child.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::commands) struct CallRequest {
    /// The function.
    pub function: FunctionName,
    /// What precedes the function's name in its symbol.
    pub prefix: String,
    /// The library's file.
    pub library: OsString,
    /// Its settings.
    pub settings: BTreeMap<String, String>,
    /// How many times the job is run.
    pub repeat: u64,
    /// Which log records to show, as for a manager.
    pub verbosity: u8,
    /// The longest answer, in bytes.
    pub max_packet: u64,
    /// For destructors.
    pub stop_timeout: Duration,
}

/// What the command left on the inherited descriptors.
struct Inheritance {
    channel: Channel,
    scoreboard: OwnedFd,
    order: CallRequest,
    workload: Vec<u8>,
    result: File,
}

/// The child's main function. Ends without running destructors of the process, as a worker does.
pub fn main() -> ! {
    let Some(inheritance) = inherit() else {
        eprintln!("gm-native: {ROLE} is how `gm-native call` runs a job; it does nothing by hand");
        child_exit::now(2);
    };
    proctitle::set_short(&format!("gm:{}", inheritance.order.function));
    let file = DisplayPath(Path::new(&inheritance.order.library)).to_string();
    let code = match serve(inheritance) {
        Ok(()) => 0,
        Err(text) => {
            let _ = writeln!(io::stderr(), "gm-native: {file}{text}");
            1
        }
    };
    child_exit::flushed(code)
}

fn inherit() -> Option<Inheritance> {
    let channel = Channel::from_fd(inherited(CHANNEL_FD)?);
    let scoreboard = inherited(EXTRA_FD)?;
    let order = read(inherited(EXTRA_FD + 1)?)?;
    let workload = read(inherited(EXTRA_FD + 2)?)?;
    let result = File::from(inherited(EXTRA_FD + 3)?);
    Some(Inheritance { channel, scoreboard, order: decode(&order).ok()?, workload, result })
}

fn read(fd: OwnedFd) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::from(fd).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// Runs everything. The error follows the library's path.
fn serve(with: Inheritance) -> Result<(), String> {
    let Inheritance { channel, scoreboard, order, workload, mut result } = with;
    let starts = |error: io::Error| format!(": the process for the job could not start: {}", reason(&error));
    let crash_area = scoreboard::map_crash_area(&scoreboard, 1, 0).map_err(starts)?;
    let scoreboard = ScoreboardWriter::map(&scoreboard, 1).map_err(starts)?;
    // The command's death still kills this process at once: no caller waits for the job.
    let prepare = || {
        fork::watch(fork::report_on_stderr)?;
        handlers::catch_broken_pipes()?;
        crash_handler::install(crash_area)?;
        StopSignal::install()
    };
    let stop = prepare().map_err(starts)?;
    // A message that does not arrive matters only if this process dies.
    let say = |word| drop(channel.send(&encode(&word), Duration::ZERO));
    say(WorkerMessage::Loading { function: 0 });
    let outcome = load_in_place(Path::new(&order.library), &order.prefix, &order.function)
        .map_err(|rejection| format!(" {rejection}{}", rejection.command_advice()))
        .and_then(|loaded| {
            say(WorkerMessage::Making { function: 0 });
            LoadedFunction::make(loaded, &order.function, &order.settings, order.verbosity, &host::HOST)
                .map_err(|reason| format!(": {reason}{}", settings_advice(&reason)))
        })
        .and_then(|function| {
            let mut functions = [function];
            let outcome = repeat(&order, &workload, &mut functions, &scoreboard, &stop, &mut result);
            scoreboard.activity(WorkerActivity::Draining);
            stop_signal::kill_after(order.stop_timeout);
            // What the object logs when dropped is logged once, however many jobs there were.
            functions.iter().for_each(|function| function.set_verbosity(order.verbosity));
            drop(functions);
            outcome
        });
    scoreboard.activity(WorkerActivity::Disconnected);
    outcome
}

/// Runs the jobs one after the other, until one fails or a stop is requested. Writes the last one's result.
fn repeat(
    order: &CallRequest,
    workload: &[u8],
    functions: &mut [LoadedFunction],
    scoreboard: &ScoreboardWriter,
    stop: &StopSignal,
    to: &mut File,
) -> Result<(), String> {
    let job = AssignedJob { handle: HANDLE, function: order.function.as_str().as_bytes(), unique: b"", workload };
    let mut times = Vec::new();
    let mut last = None;
    for number in 1..=order.repeat {
        host::begins(number);
        let finished = job::run(&Assignment { job, number, connection: 0 }, functions, scoreboard);
        host::ends();
        scoreboard.end(&finished.end, WorkerActivity::Idle);
        let result = within(finished.outcome, order.max_packet, HANDLE.len() + 1);
        let result = result.map_err(|fail| failure(&fail, number, order.repeat))?;
        times.push(Duration::from_nanos(finished.end.run_ns));
        last = Some(result);
        // Shows the first job's output; repeated for every job it would only hide the times.
        functions.iter().for_each(|function| function.set_verbosity(0));
        host::be_quiet();
        if stop.asked() {
            break;
        }
    }
    if order.repeat > 1 {
        let _ = writeln!(io::stderr(), "{}", latency::summary(&mut times));
    }
    match last.map_or(Ok(()), |result| write_result(to, &result)) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!(": its result cannot be written to standard output: {}", reason(&error)))
        }
        _ => Ok(()),
    }
}

/// Unchanged; on a terminal, followed by a line end for the shell's prompt.
fn write_result(to: &mut File, result: &[u8]) -> io::Result<()> {
    to.write_all(result)?;
    let open_line = result.last().is_some_and(|last| *last != b'\n');
    if open_line && to.is_terminal() { to.write_all(b"\n") } else { Ok(()) }
}

/// Where a setting comes from here: the plugin's own message assumes a manager.
fn settings_advice(reason: &str) -> &'static str {
    if reason.contains("setting.") { "; to gm-native call give --setting NAME=VALUE, or -c FILE" } else { "" }
}

/// How a job failed, as a text that follows the library's path.
fn failure(fail: &RawFail, number: u64, of: u64) -> String {
    let job = if of > 1 { format!("job {number} of {of}") } else { "the job".into() };
    match fail.kind {
        RawFail::EXCEPTION => format!(": {job} failed with an exception: {}", excerpt(fail.payload.as_slice(), SHOWN)),
        _ => format!(": {job} failed: {}", crate::logging::escape(&explain(fail))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gm_plugin_api::abi::{RString, RVec};

    #[test]
    fn failures_in_words() {
        let fail = |kind, message: &str, payload: &[u8]| RawFail {
            kind,
            message: message.into(),
            payload: RVec::from(payload.to_vec()),
            file: RString::new(),
            line: 0,
        };
        assert_eq!(failure(&fail(RawFail::FAIL, "no\nrow", b""), 1, 1), ": the job failed: no\\nrow");
        assert_eq!(failure(&fail(RawFail::PANIC, "boom", b""), 3, 9), ": job 3 of 9 failed: panicked: boom");
        let exception = fail(RawFail::EXCEPTION, "", b"{\"code\":7}\xff");
        assert_eq!(failure(&exception, 1, 1), ": the job failed with an exception: {\"code\":7}\\xff");
    }
}
