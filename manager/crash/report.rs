//! A crash report: everything that is known of one worker's death, as it is written to `state_dir/crashes/ID.json`.
//!
//! docs/crash-reports.md describes the fields. [`Record::FORMAT`] changes when a field changes its meaning or goes; more fields do
//! not change it, and a reader ignores those it does not know.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::files::Record;
use super::record_id::RecordId;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// Lines of [`CrashReport::output`], and their length in bytes.
pub(crate) const OUTPUT_LINES: usize = 100;
pub(crate) const OUTPUT_BYTES: usize = 16 << 10;

/// One worker's death.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct CrashReport {
    /// Its id, and the name of its files.
    pub id: Option<RecordId>,
    /// When the worker died, as RFC 3339.
    pub time: String,
    /// The line that was logged.
    pub cause: String,
    /// How the process ended: `killed by SIGSEGV`.
    pub end: String,
    /// What it was doing: `start`, `load`, `new`, `idle`, `job` or `unknown`.
    pub at: String,
    /// The function that it was in, or the only one that it served.
    pub function: Option<FunctionName>,
    /// That function's version.
    pub version: Option<ShortHash>,
    /// The version of the library's crate.
    pub crate_version: Option<String>,
    /// Where the library is stored.
    pub library: Option<PathBuf>,
    /// What precedes the function's name in the library's symbol.
    pub prefix: String,
    /// All functions that the worker served.
    pub functions: Vec<FunctionName>,
    /// The worker's process.
    pub pid: i32,
    /// Counts the starts of workers.
    pub generation: u64,
    /// Jobs that it had run.
    pub jobs: u64,
    /// Where [`frames`](Self::frames) are from.
    pub snapshot: Option<SnapshotFacts>,
    /// The thread's calls, the innermost first.
    pub frames: Vec<Frame>,
    /// Why there are no frames, or why the outermost are missing.
    pub frames_note: Option<String>,
    /// What else is known: the message of an assertion, the type of a C++ exception, a handler that the library has set.
    pub notes: Vec<String>,
    /// The job in hand.
    pub job: Option<JobFacts>,
    /// Jobs that the worker ran before, the newest first.
    pub recent_jobs: Vec<RecentJob>,
    /// What the worker printed and logged last, up to [`OUTPUT_LINES`] lines.
    pub output: Vec<OutputLine>,
    /// What it used.
    pub usage: ResourceUsage,
    /// The limit that it reached, if it got no more memory or processor time.
    pub limit: Option<String>,
    /// What it ran with.
    pub versions: SystemVersions,
    /// The settings of the function; secrets are masked.
    pub settings: BTreeMap<String, String>,
}

/// What the worker's handler saved of the thread.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SnapshotFacts {
    /// When it was taken.
    pub taken: SnapshotMoment,
    /// The signal's number.
    pub signal: i32,
    /// Its name.
    pub signal_name: String,
    /// Its `si_code`.
    pub code: i32,
    /// What the code means: `address not mapped`.
    pub meaning: String,
    /// The address that the fault was about.
    pub fault_address: Option<u64>,
    /// The process that sent the signal.
    pub sender: Option<i32>,
    /// The thread.
    pub thread: i32,
    /// The thread's name.
    pub thread_name: String,
    /// Whether it is the main thread, which runs the jobs.
    pub is_main_thread: bool,
    /// The registers, by their names, as hexadecimal numbers.
    pub registers: BTreeMap<String, String>,
}

/// When a snapshot was taken.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum SnapshotMoment {
    /// At the crash.
    #[default]
    Crash,
    /// When its job was past its timeout.
    Timeout,
}

/// One call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct Frame {
    /// The address of the instruction in the process.
    pub address: u64,
    /// The file that the code is in; empty if no file is mapped there.
    pub module: String,
    /// The address in that file, as `addr2line` takes it.
    pub offset: u64,
    /// The function, as far as it is known.
    pub function: Option<String>,
    /// How far the instruction is from the function's start, if no line is known.
    pub function_offset: Option<u64>,
    /// The source file.
    pub file: Option<String>,
    /// The line in it.
    pub line: Option<u32>,
    /// The column in it.
    pub column: Option<u32>,
    /// The compiler has copied this function's code into the next frame's.
    pub inlined: bool,
    /// Whether the code is the plugin's own: not the manager's, a system library's or the standard library's.
    pub own: bool,
}

/// The job in hand.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct JobFacts {
    /// Its handle.
    pub handle: String,
    /// Its unique id.
    pub unique: String,
    /// Its server, as configured.
    pub server: Option<String>,
    /// How long it had run, in seconds.
    pub seconds: f64,
    /// What happened to it: `requeued`, `failed`, `unanswerable` or `unclear`.
    pub disposition: String,
    /// Workers that it has killed, this one included.
    pub deaths: Option<u32>,
    /// How many it may kill.
    pub max_attempts: Option<u32>,
    /// Its id in quarantine.
    pub quarantine: Option<RecordId>,
    /// The size of its workload in bytes, if that is known.
    pub workload_size: Option<u64>,
    /// Whether the whole workload is beside the report.
    pub workload_kept: bool,
    /// Why it is not.
    pub workload_note: Option<String>,
    /// SHA-256 of the workload, if it is whole.
    pub sha256: Option<String>,
}

/// A job that the worker ran before.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct RecentJob {
    /// Its number, counted by the worker.
    pub number: u64,
    /// Its function.
    pub function: String,
    /// Its handle; empty if that is long.
    pub handle: String,
}

/// A line that a worker printed or logged.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct OutputLine {
    /// How long before the worker's death the manager read it, in seconds.
    pub seconds_before: f64,
    /// `stdout`, `stderr` or `log`.
    pub stream: String,
    /// The line.
    pub text: String,
}

/// What a process used in its life.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct ResourceUsage {
    /// The most resident memory that it had, in KiB.
    pub peak_kib: u64,
    /// Processor time, in seconds.
    pub cpu_seconds: f64,
    /// How long it lived, in seconds.
    pub lived_seconds: f64,
}

/// What a worker ran with.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct SystemVersions {
    /// gm-native.
    pub manager: String,
    /// The kernel.
    pub kernel: String,
    /// The C library.
    pub glibc: String,
}

impl CrashReport {
    /// The first frame that is the plugin's own, or else the innermost.
    pub(crate) fn top_frame(&self) -> Option<&Frame> {
        self.frames.iter().find(|frame| frame.own).or(self.frames.first())
    }

    /// What makes two crashes the same: the function, its version, and where it crashed.
    pub(crate) fn group(&self) -> (Option<&FunctionName>, Option<ShortHash>, String) {
        // An address alone is another one in each process.
        let top = self.top_frame().filter(|top| !top.module.is_empty() || self.frames_note.is_none());
        let place = top.map_or_else(|| self.end.clone(), Frame::place);
        (self.function.as_ref(), self.version, place)
    }
}

impl Frame {
    /// Where it is: `parse_header (src/lib.rs:42:9)`, or as much of it as is known.
    pub(crate) fn place(&self) -> String {
        let module = self.module.rsplit('/').next().unwrap_or_default();
        let position = self.file.as_ref().map(|file| {
            let line = self.line.map_or(String::new(), |line| format!(":{line}"));
            let column = self.line.and(self.column).map_or(String::new(), |column| format!(":{column}"));
            format!("{file}{line}{column}")
        });
        match (&self.function, position) {
            (Some(function), Some(position)) => format!("{function} ({position})"),
            (Some(function), None) => match self.function_offset {
                Some(offset) if offset > 0 => format!("{function}+{offset:#x} ({module})"),
                _ => format!("{function} ({module})"),
            },
            (None, Some(position)) => position,
            (None, None) if module.is_empty() => format!("{:#x}", self.address),
            (None, None) => format!("{module}+{:#x}", self.offset),
        }
    }
}

impl Record for CrashReport {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "crash report";
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(function: Option<&str>, file: Option<(&str, u32)>, own: bool) -> Frame {
        Frame {
            address: 0x7f00_1234,
            module: "/store/f.so".into(),
            offset: 0x1234,
            function: function.map(Into::into),
            file: file.map(|(file, _)| file.into()),
            line: file.map(|(_, line)| line),
            own,
            ..Frame::default()
        }
    }

    #[test]
    fn a_place_says_as_much_as_is_known() {
        let at = Frame { function_offset: Some(0x1f), ..frame(Some("parse"), None, true) };
        let column = Frame { column: Some(9), ..frame(Some("parse"), Some(("src/lib.rs", 42)), true) };
        let nowhere = Frame { module: String::new(), ..frame(None, None, false) };
        for (frame, expected) in [
            (column, "parse (src/lib.rs:42:9)"),
            (frame(Some("parse"), Some(("src/lib.rs", 42)), true), "parse (src/lib.rs:42)"),
            (at, "parse+0x1f (f.so)"),
            (frame(Some("parse"), None, true), "parse (f.so)"),
            (frame(None, Some(("a.c", 1)), true), "a.c:1"),
            (frame(None, None, true), "f.so+0x1234"),
            (nowhere, "0x7f001234"),
        ] {
            assert_eq!(frame.place(), expected);
        }
    }

    #[test]
    fn crashes_are_the_same_by_function_version_and_the_plugins_first_frame() {
        let report = |version: &str, frames: &[Frame]| CrashReport {
            function: Some("f".into()),
            version: Some(version.into()),
            frames: frames.to_vec(),
            end: "killed by SIGSEGV".into(),
            ..CrashReport::default()
        };
        let (libc, own, other) =
            (frame(Some("memcpy"), None, false), frame(Some("parse"), None, true), frame(Some("main"), None, true));
        let first = report("v1", &[libc.clone(), own.clone(), other.clone()]);
        for (name, report, same) in [
            ("called differently", report("v1", std::slice::from_ref(&own)), true),
            ("another version", report("v2", std::slice::from_ref(&own)), false),
            ("another frame", report("v1", &[libc.clone(), other]), false),
            ("no own frame", report("v1", &[libc]), false),
            ("no frame", report("v1", &[]), false),
        ] {
            assert_eq!(first.group() == report.group(), same, "{name}");
        }
    }

    #[test]
    fn every_field_is_documented() {
        let docs = include_str!("../../docs/crash-reports.md");
        let report = CrashReport {
            snapshot: Some(SnapshotFacts::default()),
            frames: vec![Frame::default()],
            job: Some(JobFacts::default()),
            recent_jobs: vec![RecentJob::default()],
            output: vec![OutputLine::default()],
            ..CrashReport::default()
        };
        fn check(value: &serde_json::Value, docs: &str) {
            match value {
                serde_json::Value::Object(fields) => fields.iter().for_each(|(name, value)| {
                    assert!(docs.contains(&format!("`{name}`")), "{name} is not in docs/crash-reports.md");
                    check(value, docs);
                }),
                serde_json::Value::Array(all) => all.iter().for_each(|value| check(value, docs)),
                _ => {}
            }
        }
        check(&serde_json::to_value(report).unwrap(), docs);
    }

    #[test]
    fn fields_may_be_missing_or_new() {
        let read: CrashReport = serde_json::from_str(r#"{"function": "f", "from_the_future": 1}"#).unwrap();
        assert_eq!(read, CrashReport { function: Some("f".into()), ..CrashReport::default() });
    }
}
