//! Writes lines to the manager's log, and tracks which levels are enabled.

use std::fmt::{Display, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::abi::{Host, level};

/// The highest enabled level. It is a static of the library, so that an unwanted record costs only a load and a
/// comparison.
static WANTED: AtomicU8 = AtomicU8::new(level::INFO);

/// Whether a level is currently enabled.
#[inline]
pub(crate) fn wanted(level: u8) -> bool {
    level <= WANTED.load(Ordering::Relaxed)
}

/// The highest level wanted.
#[cfg(any(feature = "log", feature = "tracing"))]
pub(crate) fn highest() -> u8 {
    WANTED.load(Ordering::Relaxed)
}

/// Sets the enabled level, here and in the forwarded logging crates.
pub(crate) fn set_wanted(level: u8) {
    WANTED.store(level, Ordering::Relaxed);
    #[cfg(feature = "log")]
    crate::forward_log::set_wanted();
    #[cfg(feature = "tracing")]
    crate::forward_tracing::set_wanted();
}

/// Writes lines into the manager's log, each with the process, the function and the job.
///
/// A line is sent when the call returns, so it survives a crash of the job. The manager escapes control characters and
/// truncates long lines. If a level is not enabled, nothing is formatted, so `format_args!` is the cheapest way to
/// write a line:
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
    /// A buffer that is reused for each line; allocates nothing before the first.
    line: String,
}

impl Log {
    pub(crate) fn new(number: u64, host: &'static Host) -> Self {
        Self { number, host, line: String::new() }
    }

    /// The same as [`info`](Self::info).
    pub fn push(&mut self, text: impl Display) {
        self.write(level::INFO, text);
    }

    /// The function did not do what it was asked.
    pub fn error(&mut self, text: impl Display) {
        self.write(level::ERROR, text);
    }

    /// Something is wrong, but the work continues.
    pub fn warn(&mut self, text: impl Display) {
        self.write(level::WARN, text);
    }

    /// Something worth knowing during normal operation.
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
            // This fails only if a `Display` does; what it wrote until then is still worth a line.
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
