//! What `status --workers` prints: a line for each process.

use super::{age, short};
use crate::commands::table::Table;
use crate::control::{StatusReply, WorkerStatus};
use crate::logging::escape;

pub(super) fn table(status: &StatusReply) -> Table {
    let mut table = Table::new([
        "PID",
        "STATE",
        "FOR",
        "AGE",
        "JOBS",
        "MEMORY",
        "LAST JOB",
        "CONTACT",
        "VERSION",
        "FUNCTIONS",
        "JOB",
    ]);
    for worker in &status.workers {
        table.row([
            worker.pid.to_string(),
            worker.state.label().to_owned(),
            short(worker.state_seconds),
            age(worker.started_seconds_ago),
            worker.jobs.to_string(),
            worker.memory_bytes.map_or_else(String::new, memory),
            worker.last_job_ended_seconds_ago.map_or_else(|| "none".to_owned(), ago),
            worker.last_server_contact_seconds_ago.map_or_else(|| "none".to_owned(), ago),
            version(worker),
            escape(&worker.functions.join(",")).into_owned(),
            job(worker),
        ]);
    }
    table
}

fn ago(seconds: f64) -> String {
    format!("{} ago", short(seconds))
}

/// Its version, if it has one; JSON lists them if it has several.
fn version(worker: &WorkerStatus) -> String {
    match worker.versions.as_slice() {
        [version] => version.to_string(),
        several => format!("{} versions", several.len()),
    }
}

/// The job in hand: `reverse_string H:host:12 order-77 for 1.2s`.
fn job(worker: &WorkerStatus) -> String {
    let function = worker.current_function.as_deref().map(|function| escape(function).into_owned());
    let handle = worker.handle.as_deref().map(|handle| escape(handle).into_owned());
    let unique = worker.unique.as_deref().map(|unique| escape(unique).into_owned());
    let time = worker.job_seconds.map(|seconds| format!("for {}", short(seconds)));
    [function, handle, unique, time].into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// A size in MiB, as `top` shows it.
pub(in crate::commands) fn memory(bytes: u64) -> String {
    format!("{:.1}M", bytes as f64 / f64::from(1 << 20))
}
