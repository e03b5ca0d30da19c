//! The functions that a plugin can call while `gm-native call` runs it: each prints on standard error, at once and line
//! by line, so that a crash loses nothing.

use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use gm_plugin_api::abi::{Host, RSlice, RStr, SETTINGS, level};

use crate::logging::{escape, excerpt};
use crate::system::{fork, stop_signal};

/// How many bytes of data and warnings are shown.
const SHOWN: usize = 256;

/// The table.
pub(super) static HOST: Host = Host { size: size_of::<Host>(), status, data, warning, log, stopping };

/// The job in hand; 0 between jobs.
static JOB: AtomicU64 = AtomicU64::new(0);
static QUIET: AtomicBool = AtomicBool::new(false);

/// A job begins: from now on its calls are accepted.
pub(super) fn begins(job: u64) {
    JOB.store(job, Relaxed);
}

/// The job is over: later calls are refused, as in a worker.
pub(super) fn ends() {
    JOB.store(0, Relaxed);
}

/// From now on shows only the log, as far as the function's level allows.
pub(super) fn be_quiet() {
    QUIET.store(true, Relaxed);
}

fn print_for_job(job: u64, what: &str, text: impl FnOnce() -> String) -> bool {
    let taken = job != 0 && JOB.load(Relaxed) == job && !fork::is_child();
    if taken && !QUIET.load(Relaxed) {
        print(what, &text());
    }
    taken
}

fn print(what: &str, text: &str) {
    let line = format!("{what:<8}{text}\n");
    // If nothing reads it, there is nowhere to report that.
    let _ = io::stderr().write_all(line.as_bytes());
}

extern "C" fn status(job: u64, done: u64, of: u64) -> bool {
    print_for_job(job, "status", || format!("{done} of {of}"))
}

extern "C" fn data(job: u64, bytes: RSlice<'_, u8>) -> bool {
    print_for_job(job, "data", || format!("{} bytes: {}", bytes.len(), excerpt(bytes.as_slice(), SHOWN)))
}

extern "C" fn warning(job: u64, bytes: RSlice<'_, u8>) -> bool {
    let bytes = bytes.as_slice();
    print_for_job(job, "warning", || excerpt(bytes.strip_suffix(b"\n").unwrap_or(bytes), SHOWN).into_owned())
}

extern "C" fn log(_job: u64, level: u8, target: RStr<'_>, text: RStr<'_>) {
    let label = match level {
        level::ERROR => "ERROR",
        level::WARN => "WARN",
        level::INFO => "INFO",
        level::DEBUG => "DEBUG",
        _ => "TRACE",
    };
    let target =
        if target.is_empty() || target == SETTINGS { String::new() } else { format!("{}: ", escape(target.as_str())) };
    print(label, &format!("{target}{}", escape(text.as_str())));
}

extern "C" fn stopping(_job: u64) -> bool {
    stop_signal::asked()
}
