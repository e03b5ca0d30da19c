//! Lines for the manager's log, and how many of them are wanted.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::abi::{Host, level};

/// The highest level wanted. It is the library's own, so that an unwanted record costs a load and a comparison.
static WANTED: AtomicU8 = AtomicU8::new(level::INFO);

/// Whether a record of a level is wanted just now.
#[inline]
pub(crate) fn wanted(level: u8) -> bool {
    level <= WANTED.load(Ordering::Relaxed)
}

/// The highest level wanted.
#[cfg(any(feature = "log", feature = "tracing"))]
pub(crate) fn highest() -> u8 {
    WANTED.load(Ordering::Relaxed)
}

/// Sets what is wanted, here and in the logging crates that are forwarded.
pub(crate) fn set_wanted(level: u8) {
    WANTED.store(level, Ordering::Relaxed);
    #[cfg(feature = "log")]
    crate::forward_log::set_wanted();
    #[cfg(feature = "tracing")]
    crate::forward_tracing::set_wanted();
}

/// Writes lines into the manager's log, each with the process, the function and the job.
///
/// A line is there as soon as the call returns: it survives a crash of the job. Control characters are escaped and long
/// lines are cut by the manager. Where a level is not wanted nothing is formatted, so `format_args!` is the cheapest
/// way to write one:
///
/// ```
/// # use gm_plugin_api::{Job, JobResult, Log, function};
/// #[function]
/// fn shout(job: &Job, log: &mut Log) -> JobResult {
///     log.debug(format_args!("{} bytes came", job.workload().len()));
///     log.push("Success");
///     Ok(job.workload().to_ascii_uppercase().into())
/// }
/// ```
pub struct Log {
    number: u64,
    host: &'static Host,
    /// Kept from line to line; takes no memory until the first.
    line: String,
}

impl Log {
    pub(crate) fn new(number: u64, host: &'static Host) -> Self {
        Self { number, host, line: String::new() }
    }

    /// A line about the work, the same as [`info`](Self::info).
    pub fn push(&mut self, text: impl Display) {
        self.write(level::INFO, text);
    }

    /// The function did not do what it was asked.
    pub fn error(&mut self, text: impl Display) {
        self.write(level::ERROR, text);
    }

    /// Something is wrong, and the work goes on.
    pub fn warn(&mut self, text: impl Display) {
        self.write(level::WARN, text);
    }

    /// Something worth knowing in normal running.
    pub fn info(&mut self, text: impl Display) {
        self.write(level::INFO, text);
    }

    /// For debugging.
    pub fn debug(&mut self, text: impl Display) {
        self.write(level::DEBUG, text);
    }

    #[inline]
    fn write(&mut self, level: u8, text: impl Display) {
        if wanted(level) {
            self.line.clear();
            // Only a `Display` that fails makes this fail; what it wrote until then is worth a line.
            let _ = write!(self.line, "{text}");
            (self.host.log)(self.number, level, "".into(), self.line.as_str().into());
        }
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").field("number", &self.number).finish_non_exhaustive()
    }
}
