//! What `status` prints of functions: what happens now, what has happened since the start, and notes. A usual row of the
//! first table fits into 80 columns.

use super::{LONGEST_REASON, age, short};
use crate::commands::table::Table;
use crate::control::{FunctionState, FunctionStatus, LastFailureStatus, LastMinuteStatus, StatusReply};
use crate::logging::{cut, escape};

/// For how many seconds the note on a recovered function names its last failure.
const RECENT: f64 = 3600.0;
/// How much of a time is its date: `2026-11-24 `.
const DATE: usize = 11;
/// How much of a time is shown: `2026-11-24 12:00`.
const TO_THE_MINUTE: usize = 16;

/// What the columns count.
pub(super) const LEGEND: &str = "\
DONE/MIN, FAIL/MIN: jobs with and without a result in the last minute. P50, P99: how long half of this version's jobs,
and 99 of 100, ran at most. Since the manager started: DONE: with a result. FAILED: the function returned a failure or
panicked. CRASHED: the worker died in the job. TIMED OUT: the worker was ended because the job was past its timeout.
";

/// What happens now.
pub(super) fn now(status: &StatusReply) -> Table {
    let mut table = Table::new(["FUNCTION", "READY", "RUN", "LONGEST", "DONE/MIN", "FAIL/MIN", "P50", "P99", "STATE"]);
    for function in &status.functions {
        let per_minute = |count: fn(&LastMinuteStatus) -> u64| {
            function.last_minute.as_ref().map_or_else(String::new, |minute| per_minute(count(minute), minute.seconds))
        };
        let run_time = |seconds: Option<f64>| seconds.map_or_else(String::new, brief);
        table.row([
            escape(function.name.as_str()).into_owned(),
            format!("{}/{}", function.workers_ready, function.workers_planned),
            function.jobs_running.to_string(),
            function.longest_job.as_ref().map_or_else(String::new, |job| short(job.seconds)),
            per_minute(|minute| minute.completed),
            per_minute(|minute| minute.failed),
            run_time(function.run_time.as_ref().map(|times| times.p50_seconds)),
            run_time(function.run_time.as_ref().map(|times| times.p99_seconds)),
            state(&function.state),
        ]);
    }
    table
}

/// Which version is in service, and what has happened since the start.
pub(super) fn totals(status: &StatusReply) -> Table {
    let mut table = Table::new(["FUNCTION", "VERSION", "STORED", "DONE", "FAILED", "CRASHED", "TIMED OUT"]);
    for function in &status.functions {
        table.row([
            escape(function.name.as_str()).into_owned(),
            version(function),
            function.version_stored.as_deref().map_or_else(String::new, to_the_minute),
            function.jobs_completed.to_string(),
            function.jobs_failed.to_string(),
            function.jobs_crashed.to_string(),
            function.jobs_timed_out.to_string(),
        ]);
    }
    table
}

/// What an operator should know.
pub(super) fn notes(status: &StatusReply) -> Table {
    let mut table = Table::new(["FUNCTION", "NOTE"]);
    for function in &status.functions {
        let notes = [noted(function), failures(function)];
        let notes: Vec<String> = notes.into_iter().flatten().collect();
        if !notes.is_empty() {
            table.row([escape(function.name.as_str()).into_owned(), notes.join("; ")]);
        }
    }
    table
}

/// All there is to say of it in one line, for a check.
pub(super) fn note(function: &FunctionStatus) -> String {
    let waiting = function.backing_off_seconds.map(|seconds| format!("next start in {}", short(seconds)));
    [noted(function), waiting, failures(function)].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

fn to_the_minute(time: &str) -> String {
    escape(&time.chars().take(TO_THE_MINUTE).collect::<String>()).into_owned()
}

fn noted(function: &FunctionStatus) -> Option<String> {
    function.note.as_deref().map(|note| escape(note).into_owned())
}

fn version(function: &FunctionStatus) -> String {
    let hash = function.version.map(String::from).unwrap_or_default();
    let pinned = if function.pinned { " pinned" } else { "" };
    escape(&format!("{hash} {}{pinned}", function.crate_version)).trim().to_owned()
}

/// The state in a few words; what else belongs to it is in the notes.
fn state(state: &FunctionState) -> String {
    match state {
        FunctionState::Serving => "serving".into(),
        FunctionState::Paused { .. } => "paused".into(),
        FunctionState::NotOffered { .. } => "not offered".into(),
        FunctionState::BackingOff { until, .. } => {
            let time: String = until.chars().skip(DATE).collect();
            format!("backing off until {}", escape(&time))
        }
        FunctionState::Starting { .. } => "starting".into(),
        FunctionState::Canary { .. } => "canary".into(),
        FunctionState::RollingOut { workers_new, workers_planned } => {
            format!("rolling out {workers_new} of {workers_planned}")
        }
        FunctionState::Failing { .. } => "failing".into(),
        FunctionState::Unknown => String::new(),
    }
}

/// A count over more than a minute as one for a minute. Something is never shown as nothing.
fn per_minute(count: u64, seconds: f64) -> String {
    let rate = if seconds > 60.0 { count as f64 * 60.0 / seconds } else { count as f64 };
    match count {
        0 => "0".into(),
        _ => (rate.round() as u64).max(1).to_string(),
    }
}

/// A run time with two digits or so, since it is an estimate.
pub(in crate::commands) fn brief(seconds: f64) -> String {
    match seconds.max(0.0) {
        under if under < 1e-3 => format!("{:.0}us", under * 1e6),
        under if under < 1e-2 => format!("{:.1}ms", under * 1e3),
        under if under < 1.0 => format!("{:.0}ms", under * 1e3),
        under if under < 60.0 => format!("{under:.1}s"),
        more => age(more as u64),
    }
}

/// How many jobs fail, and why the last one did. One that failed long ago is left out.
pub(super) fn failures(function: &FunctionStatus) -> Option<String> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn run_times_have_two_digits_or_so() {
        for (seconds, expected) in [
            (0.0, "0us"),
            (0.000_012, "12us"),
            (0.001_26, "1.3ms"),
            (0.0474, "47ms"),
            (0.999, "999ms"),
            (1.25, "1.2s"),
            (61.0, "1m1s"),
        ] {
            assert_eq!(brief(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn counts_are_for_a_minute_at_most() {
        for (count, seconds, expected) in
            [(0, 600.0, "0"), (7, 12.0, "7"), (7, 60.0, "7"), (70, 70.0, "60"), (1, 600.0, "1"), (100, 600.0, "10")]
        {
            assert_eq!(per_minute(count, seconds), expected, "{count} in {seconds} s");
        }
    }

    #[test]
    fn each_state_in_a_few_words() {
        let version = "3f2a91c04d11".into();
        for (is, expected) in [
            (FunctionState::Serving, "serving"),
            (FunctionState::Paused { by: "alice".into(), since: "2026-11-24 12:00:00".into() }, "paused"),
            (FunctionState::NotOffered { why: "exclude names it".into() }, "not offered"),
            (
                FunctionState::BackingOff { until: "2026-11-24 12:00:00".into(), seconds: 4.2, why: String::new() },
                "backing off until 12:00:00",
            ),
            (FunctionState::Starting { why: String::new() }, "starting"),
            (FunctionState::Canary { version }, "canary"),
            (FunctionState::RollingOut { workers_new: 2, workers_planned: 8 }, "rolling out 2 of 8"),
            (FunctionState::Failing { why: String::new() }, "failing"),
            (FunctionState::Unknown, ""),
        ] {
            assert_eq!(state(&is), expected);
        }
    }
}
