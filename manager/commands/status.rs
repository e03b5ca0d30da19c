//! `gm-native status`: prints what a running manager is doing.

mod check;
pub(super) mod functions;
mod queues;
mod servers;
mod watch;
pub(super) mod workers;

use std::path::Path;
use std::process::ExitCode;

use super::output::{OutputFormat, fail_of, finish, print};
use super::table::Table;
use crate::cli::{CheckLevel, StatusArgs};
use crate::config::on_one_line;
use crate::control::{ClientError, ControlClient, DEADLINE, FailedReloadStatus, StatusReply};
use crate::logging::escape;
use crate::supervisor::event::counted;
use check::Severity;

/// How many bytes of a reason are shown.
const LONGEST_REASON: usize = 160;

/// Prints the status of the manager at this control socket, once or again and again.
pub fn show(path: &Path, args: &StatusArgs, format: OutputFormat) -> ExitCode {
    let ask = || {
        let mut status = ask(path, args.workers || format == OutputFormat::Json)?;
        status.queues = args.queues.then(|| queues::ask(&status));
        Ok(status)
    };
    if args.watch {
        let shown = |status| match format {
            // Once seen, the legend is only in the way.
            OutputFormat::Text => text_with(&status, ""),
            OutputFormat::Json => format!("{}\n", serde_json::to_string(&status).unwrap_or_default()),
        };
        return watch::run(|| ask().map(shown), format);
    }
    match ask() {
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
    match ask(path, format == OutputFormat::Json) {
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

fn ask(path: &Path, with_workers: bool) -> Result<StatusReply, ClientError> {
    let mut client = ControlClient::connect(path, DEADLINE)?;
    if with_workers { client.status() } else { client.summary() }
}

fn render(status: &StatusReply, format: OutputFormat) -> String {
    match format {
        OutputFormat::Text => text(status),
        OutputFormat::Json => format!("{}\n", serde_json::to_string_pretty(status).unwrap_or_default()),
    }
}

/// The status for an operator: first what is served, last what each process does, if the manager was asked for that.
pub(crate) fn text(status: &StatusReply) -> String {
    text_with(status, functions::LEGEND)
}

fn text_with(status: &StatusReply, legend: &str) -> String {
    let mut out = format!(
        "gm-native {}, {}, pid {}, {}, up {}\n{}: {} ready, {} busy\n",
        escape(&status.version),
        escape(&status.instance),
        status.pid,
        status.state.label(),
        age(status.uptime_seconds),
        counted(status.worker_counts.all, "worker"),
        status.worker_counts.ready,
        status.worker_counts.busy,
    );
    let functions = functions::now(status).render();
    if !functions.is_empty() {
        out.push_str(&functions);
        out.push_str(&functions::totals(status).render());
        out.push_str(legend);
        out.push_str(&functions::notes(status).render());
    }
    let queues = queues::tables(status.queues.as_deref().unwrap_or_default());
    let tables = [servers::table(status)].into_iter().chain(queues);
    for table in tables.chain([refused(status), warnings(status), workers::table(status)]) {
        out.push_str(&table.render());
    }
    out
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
