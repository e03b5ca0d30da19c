//! `gm-native status`: prints what a running manager is doing.

mod check;

use std::path::Path;
use std::process::ExitCode;

use super::output::{OutputFormat, fail_of, finish, print};
use super::table::Table;
use crate::cli::CheckLevel;
use crate::config::on_one_line;
use crate::control::{
    ClientError, ControlClient, DEADLINE, FailedReloadStatus, FunctionStatus, JobServerStatus, LastFailureStatus,
    ManagerState, StatusReply, WorkerStatus,
};
use crate::logging::{cut, escape};
use check::Severity;

/// For how many seconds the note on a recovered function names its last failure.
const RECENT: f64 = 3600.0;
/// How many bytes of a reason are shown.
const LONGEST_REASON: usize = 160;

/// Prints the status of the manager at this control socket.
pub fn show(path: &Path, format: OutputFormat) -> ExitCode {
    match ask(path) {
        Ok(status) => finish(&render(&status, format), 0),
        Err(error) => fail_of(&error),
    }
}

/// Prints one line, and exits as a monitoring system expects. With JSON: the whole status, with the same exit code.
pub fn check(path: &Path, level: CheckLevel, format: OutputFormat) -> ExitCode {
    if level == CheckLevel::Live {
        let answer = ControlClient::connect(path, DEADLINE).and_then(|mut client| client.ping());
        let (severity, line) = match answer {
            Ok(text) => (Severity::Ok, check::line(Severity::Ok, &text, None)),
            Err(error) => check::of_error(&error),
        };
        return print_result(severity, &line);
    }
    match ask(path) {
        Ok(status) => {
            let (severity, line) = check::outcome(&status);
            print_result(severity, &if format == OutputFormat::Json { render(&status, format) } else { line })
        }
        Err(error) => {
            let (severity, line) = check::of_error(&error);
            print_result(severity, &line)
        }
    }
}

/// Reports why a check could not be made.
pub fn unknown(text: &str) -> ExitCode {
    let first: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    print_result(Severity::Unknown, &check::line(Severity::Unknown, &first.join("; "), None))
}

/// A monitoring system reads standard output. If that is full, nothing was checked.
fn print_result(severity: Severity, text: &str) -> ExitCode {
    let printed = print(text).is_ok();
    ExitCode::from(if printed { severity } else { Severity::Unknown }.code())
}

fn ask(path: &Path) -> Result<StatusReply, ClientError> {
    ControlClient::connect(path, DEADLINE)?.status()
}

fn render(status: &StatusReply, format: OutputFormat) -> String {
    match format {
        OutputFormat::Text => text(status),
        OutputFormat::Json => format!("{}\n", serde_json::to_string_pretty(status).unwrap_or_default()),
    }
}

/// The status for an operator: first what is served, last what each process does.
pub(crate) fn text(status: &StatusReply) -> String {
    let mut out = format!(
        "gm-native {}, {}, pid {}, {}, up {}\n",
        escape(&status.version),
        escape(&status.instance),
        status.pid,
        status.state.label(),
        age(status.uptime_seconds),
    );
    let functions = functions(status).render();
    if !functions.is_empty() {
        out.push_str(&functions);
        out.push_str(LEGEND);
    }
    for table in [job_servers(status), refused(status), warnings(status), workers(status)] {
        out.push_str(&table.render());
    }
    out
}

fn functions(status: &StatusReply) -> Table {
    let mut table = Table::new(["FUNCTION", "READY", "VERSION", "COMPLETED", "FAILED", "CRASHED", "TIMED OUT", "NOTE"]);
    for function in &status.functions {
        let FunctionStatus { name, version, crate_version, .. } = function;
        table.row([
            escape(name.as_str()).into_owned(),
            format!("{}/{}", function.workers_ready, function.workers_planned),
            escape(&format!("{} {crate_version}", version.map(String::from).unwrap_or_default())).trim().to_owned(),
            function.jobs_completed.to_string(),
            function.jobs_failed.to_string(),
            function.jobs_crashed.to_string(),
            function.jobs_timed_out.to_string(),
            note(function),
        ]);
    }
    table
}

/// What the columns of numbers count.
const LEGEND: &str = "\
Jobs since the manager started. COMPLETED: with a result. FAILED: the function returned a failure or panicked.
CRASHED: the worker died in the job. TIMED OUT: the worker was ended because the job was past its timeout.
";

/// The note about a function.
fn note(function: &FunctionStatus) -> String {
    let waiting = function.backing_off_seconds.map(|seconds| format!("next start in {}", short(seconds)));
    let note = function.note.as_deref().map(|note| escape(note).into_owned());
    [note, waiting, failures(function)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// How many jobs fail, and why the last one did. One that failed long ago is left out.
fn failures(function: &FunctionStatus) -> Option<String> {
    let rate = function.failing.as_ref().map(|rate| {
        let over = if rate.seconds < 1.0 { "second".to_owned() } else { age(rate.seconds as u64) };
        format!("{} of {} jobs had no result in the last {over}", rate.failed, rate.jobs)
    });
    let is_recent = |last: &&LastFailureStatus| rate.is_some() || last.seconds_ago < RECENT;
    // One of a version that was rejected or replaced says nothing about the one in service.
    let is_of_this = |last: &&LastFailureStatus| function.version.is_none_or(|version| version == last.version);
    let last = function.last_failure.as_ref().filter(is_recent).filter(is_of_this).map(|last| {
        let what = match last.kind.as_str() {
            "crashed" => "crash",
            "timed_out" => "timeout",
            _ => "failure",
        };
        format!("last {what} {} ago: {}", short(last.seconds_ago), cut(&escape(&last.reason), LONGEST_REASON))
    });
    let texts: Vec<String> = [rate, last].into_iter().flatten().collect();
    (!texts.is_empty()).then(|| texts.join(", "))
}

fn job_servers(status: &StatusReply) -> Table {
    let mut table = Table::new(["JOB SERVER", "WORKERS"]);
    for server in &status.job_servers {
        let connected = format!("{}/{}", server.workers_connected, server.workers);
        table.row([escape(&server.address).into_owned(), connected]);
    }
    table
}

fn refused(status: &StatusReply) -> Table {
    let mut table = Table::new(["NOT SERVED", "REASON"]);
    for file in &status.refused {
        table.row([escape(&file.path).into_owned(), escape(&file.reason).into_owned()]);
    }
    table
}

fn warnings(status: &StatusReply) -> Table {
    let mut table = Table::new(["WARNING"]);
    let reload = status.failed_reload.iter().map(failed_reload);
    reload.chain(status.warnings.iter().cloned()).for_each(|text| table.row([escape(&text).into_owned()]));
    table
}

/// The text about a failed reload.
fn failed_reload(failed: &FailedReloadStatus) -> String {
    let ago = short(failed.seconds_ago);
    format!("the reload {ago} ago failed, so the old configuration stays in force: {}", on_one_line(&failed.reason))
}

fn workers(status: &StatusReply) -> Table {
    let mut table = Table::new(["PID", "STATE", "GEN", "JOBS", "AGE", "FUNCTIONS", "JOB"]);
    for worker in &status.workers {
        table.row([
            worker.pid.to_string(),
            worker.state.label().to_owned(),
            worker.generation.to_string(),
            worker.jobs.to_string(),
            age(worker.started_seconds_ago),
            escape(&worker.functions.join(",")).into_owned(),
            job(worker),
        ]);
    }
    table
}

/// The job in hand: `reverse_string H:host:12 for 1.2s`.
fn job(worker: &WorkerStatus) -> String {
    let function = worker.current_function.as_deref().map(|function| escape(function).into_owned());
    let handle = worker.handle.as_deref().map(|handle| escape(handle).into_owned());
    let time = worker.job_seconds.map(|seconds| format!("for {}", short(seconds)));
    [function, handle, time].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A short time, with tenths while they matter.
pub(super) fn short(seconds: f64) -> String {
    if seconds < 60.0 { format!("{:.1}s", seconds.max(0.0)) } else { age(seconds as u64) }
}

/// A time in its two largest units: `2h13m`, `5d2h`, `42s`.
pub(super) fn age(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86_400 => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

#[cfg(test)]
mod tests;
