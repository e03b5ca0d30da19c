//! The process that makes sense of a worker's death: it reads the snapshot that the worker left, names the calls in it,
//! and writes the crash report. A child of its own, since the snapshot and the libraries it names are hostile input.
//!
//! The report is written before anything hostile is looked at, and again with what was found: a parser that is killed
//! leaves a report.

mod quarantine;
mod signals;
mod workload;

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::crash::backtrace::{Backtrace, OwnCode, backtrace, open_module};
use crate::crash::files::{CRASHES, RecordDir, TOTAL_MAX};
use crate::crash::quarantine::QuarantinedJob;
use crate::crash::report::{CrashReport, Frame, SnapshotFacts, SnapshotMoment};
use crate::crash::snapshot::ThreadSnapshot;
use crate::plugins::display_path::DisplayPath;
use crate::plugins::store::STORE;
use crate::system::channel::Channel;
use crate::system::crash_area::Cause;
use crate::system::errors::reason;
use crate::system::spawn::{CHANNEL_FD, EXTRA_FD, inherited};
use crate::system::{child_exit, crash_handler, file_size_limit, memory};
use crate::worker::messages::{decode, encode};
use workload::KeptWorkload;

/// The hidden argument that selects this role.
pub(crate) const ROLE: &str = "--gm-native-postmortem";

/// How long the result may take to be read.
const DEADLINE: Duration = Duration::from_secs(10);
/// How much memory it may take: hostile tables have no end.
const MEMORY: u64 = 2 << 30;

/// What the manager knows. The snapshot's descriptor follows that of the request, where there is one.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct PostMortemRequest {
    /// Where reports and jobs in quarantine are.
    pub state_dir: PathBuf,
    /// How many reports are kept.
    pub crash_keep: u32,
    /// The worker was ended since its job was past its timeout.
    pub timed_out: bool,
    /// Everything but what only the snapshot knows. None if no report is to be written.
    pub report: Option<CrashReport>,
    /// The job in hand, if it is to be kept: everything but its workload.
    pub quarantined: Option<QuarantinedJob>,
    /// How many jobs are kept.
    pub quarantine_keep: u32,
    /// `crash_workload_max`.
    pub workload_max: u64,
}

/// What was found.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct PostMortemResult {
    /// Where the thread was: the plugin's own innermost call, or else the innermost.
    pub place: Option<String>,
    /// From where that was called.
    pub called_from: Option<String>,
    /// It crashed since its stack was full.
    pub stack_overflow: bool,
    /// Why the place is not known.
    pub unknown: Option<String>,
    /// Why there is no report, or one without the calls.
    pub unwritten: Option<String>,
    /// Why the job is not kept.
    pub unkept: Option<String>,
}

/// The child's main function.
pub(crate) fn main() -> ! {
    let Some((channel, request, snapshot)) = inherit() else {
        eprintln!("gm-native: {ROLE} is how the manager examines a worker that died; it does nothing by hand");
        child_exit::now(2);
    };
    // It can only fail where a lower limit holds already.
    let _ = memory::limit(MEMORY);
    let _ = file_size_limit::catch();
    // What a parser says when it panics helps nobody.
    std::panic::set_hook(Box::new(|_| ()));
    let result = examine(request, snapshot);
    let sent = channel.send(&encode(&result), DEADLINE);
    child_exit::now(i32::from(sent.is_err()));
}

fn inherit() -> Option<(Channel, PostMortemRequest, Option<File>)> {
    let channel = Channel::from_fd(inherited(CHANNEL_FD)?);
    let mut request = Vec::new();
    File::from(inherited(EXTRA_FD)?).read_to_end(&mut request).ok()?;
    Some((channel, decode(&request).ok()?, inherited(EXTRA_FD + 1).map(File::from)))
}

/// The job in quarantine is written first, since it is all that is left of it.
fn examine(request: PostMortemRequest, snapshot: Option<File>) -> PostMortemResult {
    let snapshot = snapshot.map(|file| ThreadSnapshot::read(&file)).transpose();
    let (snapshot, unread) = match snapshot {
        Ok(snapshot) => (snapshot.flatten(), None),
        Err(error) => (None, Some(format!("its snapshot cannot be read: {}", reason(&error)))),
    };
    let workload = KeptWorkload::of(snapshot.as_ref(), request.workload_max);
    let unkept = quarantine::keep(&request, &workload).err();
    let found = write_report(request, snapshot.as_ref(), unread, &workload);
    PostMortemResult { unkept, ..found }
}

fn write_report(
    request: PostMortemRequest,
    snapshot: Option<&ThreadSnapshot>,
    unread: Option<String>,
    workload: &KeptWorkload<'_>,
) -> PostMortemResult {
    let PostMortemRequest { state_dir, crash_keep, timed_out, report, .. } = request;
    let Some((id, mut report)) = report.and_then(|report| Some((report.id?, report))) else {
        return PostMortemResult::default();
    };
    report.frames_note = unread.or_else(|| snapshot.is_none().then(|| without_snapshot(&report, timed_out)));
    let stack_overflow = snapshot.is_some_and(overflows_stack);
    if stack_overflow {
        report.notes.push("the thread has overflowed its stack".into());
    }
    report.snapshot = snapshot.map(facts);
    if let Some(job) = &mut report.job {
        job.workload_size = workload.size;
        job.workload_kept = workload.whole.is_some();
        job.workload_note = workload.note.clone();
        job.sha256 = workload.sha256.clone();
    }
    let path = state_dir.join(CRASHES);
    let failed = |error: &io::Error| format!("in {}: {}", DisplayPath(&path), reason(error));
    let opened = RecordDir::create(&path).map_err(|error| format!("{} {}", DisplayPath(&path), reason(&error)));
    let written = opened.and_then(|opened| {
        let whole = workload.whole.filter(|_| report.job.is_some());
        opened.write(id, &report, whole).map_err(|error| failed(&error)).map(|()| opened)
    });
    if let Some(snapshot) = snapshot {
        let own = OwnCode::in_directory(&state_dir.join(STORE));
        let Backtrace { frames, note } = backtrace(snapshot, &open_module, &own);
        (report.frames, report.frames_note) = (frames, note);
    }
    let unwritten = written.and_then(|opened| {
        opened.write(id, &report, None).map_err(|error| failed(&error))?;
        // What cannot be removed now is removed after the next death.
        let _ = opened.prune(crash_keep as usize, TOTAL_MAX);
        Ok(())
    });
    PostMortemResult { stack_overflow, ..result(&report, unwritten.err()) }
}

/// For `gm-native call`: what a process that crashed was doing. A line for each call, the innermost first.
pub(crate) fn describe(snapshot: &File, library: &Path) -> Vec<String> {
    let Ok(Some(snapshot)) = ThreadSnapshot::read(snapshot) else { return Vec::new() };
    let Backtrace { frames, note } = backtrace(&snapshot, &open_module, &OwnCode::of_library(library));
    let calls = frames.iter().enumerate().map(|(number, frame)| format!("{number:4}: {}", frame.place()));
    let overflow = overflows_stack(&snapshot).then(|| "the thread has overflowed its stack".to_owned());
    overflow.into_iter().chain(calls).chain(note).collect()
}

/// Whether the thread has run into what lies below its stack.
fn overflows_stack(snapshot: &ThreadSnapshot) -> bool {
    let is_fault = [libc::SIGSEGV, libc::SIGBUS].contains(&snapshot.signal) && !snapshot.was_sent();
    let (pc, sp) = (snapshot.registers.pc(), snapshot.registers.sp());
    // Where the stack pointer itself is wrong, nothing was found there.
    is_fault && snapshot.stack.as_ref().is_some_and(|stack| is_overflow(snapshot.fault_address, pc, sp, stack.start))
}

/// Whether a fault is near the stack pointer, and below `lowest`, the first address from there on that can be read. A
/// jump into a stack, and a write beyond its upper end, may be as near.
fn is_overflow(fault: u64, pc: u64, sp: u64, lowest: u64) -> bool {
    /// A function that needs more probes its stack page by page.
    const NEAR: u64 = 64 << 10;
    fault < lowest && fault != pc && fault.abs_diff(sp) < NEAR
}

/// Why a worker that ended like this has saved nothing.
fn without_snapshot(report: &CrashReport, timed_out: bool) -> String {
    if timed_out {
        "the process did not take the signal that asks where it is: it blocks signals, runs another program, or had no time \
         to".into()
    } else if let Some(how) = report.end.strip_prefix("killed by ") {
        let signal = how.split(' ').next().unwrap_or_default();
        if crash_handler::SIGNALS.iter().any(|saved| signals::name(*saved) == signal) {
            format!(
                "the stack was not saved: the library has a handler of its own for this signal, ignores it or blocks it; it \
                 has replaced the stack of signal handlers (sigaltstack); or a thread that it made has overflowed its \
                 stack ({signal})"
            )
        } else {
            format!("{signal} ends a process before it can save its stack")
        }
    } else {
        "a process that exits saves no stack".into()
    }
}

fn facts(snapshot: &ThreadSnapshot) -> SnapshotFacts {
    SnapshotFacts {
        taken: match snapshot.cause {
            Cause::Crash => SnapshotMoment::Crash,
            Cause::Request => SnapshotMoment::Timeout,
        },
        signal: snapshot.signal,
        signal_name: signals::name(snapshot.signal),
        code: snapshot.code,
        meaning: signals::meaning(snapshot.signal, snapshot.code).into(),
        fault_address: (!snapshot.was_sent()).then_some(snapshot.fault_address),
        sender: snapshot.was_sent().then_some(snapshot.sender),
        thread: snapshot.thread,
        thread_name: snapshot.thread_name.clone(),
        is_main_thread: snapshot.is_main_thread(),
        registers: snapshot
            .registers
            .named()
            .map(|(name, value)| (name.to_owned(), format!("{value:#018x}")))
            .collect(),
    }
}

fn result(report: &CrashReport, unwritten: Option<String>) -> PostMortemResult {
    let top = report.top_frame();
    let at = top.and_then(|top| report.frames.iter().position(|frame| std::ptr::eq(frame, top)));
    let outer = at.and_then(|at| report.frames.get(at.checked_add(1)?..)).unwrap_or_default();
    let caller = outer.iter().find(|frame| frame.own || top.is_some_and(|top| !top.own));
    let unknown = match (&report.frames_note, top) {
        (note, None) => note.clone(),
        // An address alone is no place.
        (Some(note), Some(top)) if top.module.is_empty() => Some(format!("it was at {}; {note}", top.place())),
        (_, Some(_)) => None,
    };
    PostMortemResult {
        place: top.filter(|_| unknown.is_none()).map(Frame::place),
        called_from: caller.filter(|_| unknown.is_none()).map(Frame::place),
        stack_overflow: false,
        unknown,
        unwritten,
        unkept: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_place_is_the_plugins_and_the_caller_the_next_one() {
        let frame = |function: &str, own| Frame { function: Some(function.into()), own, ..Frame::default() };
        let (libc, own, caller) = (frame("memcpy", false), frame("parse", true), frame("run", true));
        let between = frame("core::ops::FnOnce::call_once", false);
        let report = CrashReport { frames: vec![libc, own, between, caller], ..CrashReport::default() };
        let found = result(&report, None);
        assert_eq!((found.place.as_deref(), found.called_from.as_deref()), (Some("parse ()"), Some("run ()")));
        let report = CrashReport { frames_note: Some("no stack".into()), ..CrashReport::default() };
        assert_eq!(result(&report, None).unknown.as_deref(), Some("no stack"));
        let nowhere = Frame { address: 0x10, ..Frame::default() };
        let report = CrashReport { frames: vec![nowhere], ..report };
        let found = result(&report, None);
        assert_eq!((found.place, found.unknown.as_deref()), (None, Some("it was at 0x10; no stack")));
    }

    #[test]
    fn a_stack_is_overflowed_below_and_nowhere_else() {
        const SP: u64 = 0x7f00_1000;
        for (name, fault, pc, lowest, overflows) in [
            ("a call at the lowest word", SP - 8, 1, SP, true),
            ("the stack pointer is below the stack", SP, 1, SP + 0x800, true),
            ("so is part of the frame", SP + 0x100, 1, SP + 0x800, true),
            ("a jump into the stack", SP + 0x20, SP + 0x20, SP, false),
            ("a jump to just below it", SP - 0x20, SP - 0x20, SP, false),
            ("a write beyond its upper end", SP + 0x900, 1, SP, false),
            ("elsewhere", 0, 1, SP, false),
        ] {
            assert_eq!(is_overflow(fault, pc, SP, lowest), overflows, "{name}");
        }
    }

    #[test]
    fn why_there_is_no_snapshot() {
        for (end, timed_out, why) in [
            ("killed by SIGSEGV", false, "has a handler of its own for this signal"),
            ("killed by SIGABRT after a failed allocation", false, "sigaltstack"),
            ("killed by SIGKILL", false, "SIGKILL ends a process before"),
            ("killed by SIGALRM", false, "SIGALRM ends a process before"),
            ("exited with code 0", false, "a process that exits"),
            ("killed by SIGKILL", true, "did not take the signal"),
        ] {
            let report = CrashReport { end: end.into(), ..CrashReport::default() };
            assert!(without_snapshot(&report, timed_out).contains(why), "{end}");
        }
    }
}
