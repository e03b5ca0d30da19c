//! The manager's log: levels, destinations (standard output, a file, syslog), and escaping of text from outside.
//!
//! The [`Logger`] belongs to the manager's thread; workers and probes send it their lines. It never stops the manager:
//! it drops and counts lines that its destination does not accept, and logs the count first once the destination works
//! again.
//!
//! ```text
//! Event, worker's line -> escape, excerpt -> Logger::line -> Line -> fern -> LogFile, Stdout
//!                                                               `-> syslog
//! ```

mod dropped_lines;
mod escape;
mod file;
mod level;
mod line_writer;
mod log_line;
mod log_output;
mod sink;
mod stdout;
mod syslog;
mod target;
mod write_retry;

use std::path::Path;
use std::time::SystemTime;

use chrono::Local;
use nix::unistd::{Gid, Uid};

use dropped_lines::DroppedLines;
use log_line::{DateFormatter, LogLine};
use sink::Sink;

use crate::system::errors::reason;
pub(crate) use escape::{cut, escape, excerpt};
pub(crate) use level::Level;
pub(crate) use target::{LogDestination, OpenError};

/// The most lines kept until the log is open. Reading the configuration produces a handful; more means a loop.
const EARLY_LINES: usize = 1000;

/// Whether the log was reopened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reopened {
    /// It was reopened.
    Done,
    /// There is nothing to reopen: the log is this stream.
    Stays(String),
    /// It could not be reopened: why, in a sentence.
    Failed(String),
}

/// The manager's log.
#[derive(Debug)]
pub(crate) struct Logger {
    /// The destination, once it is open.
    sink: Option<Sink>,
    target: Option<LogDestination>,
    verbosity: u8,
    early: Vec<EarlyLine>,
    dropped_lines: DroppedLines,
    /// Why the last attempt to reopen the file failed, if it did.
    not_reopened: Option<String>,
}

/// A line from before the log was open.
#[derive(Debug)]
struct EarlyLine {
    level: Level,
    at: SystemTime,
    pid: u32,
    text: String,
}

impl Logger {
    /// A log that is not open yet: keeps lines of every level, with their time, until [`Logger::open`] knows which of
    /// them to write, and where.
    pub(crate) fn early() -> Self {
        Self {
            sink: None,
            target: None,
            verbosity: 0,
            early: Vec::new(),
            dropped_lines: DroppedLines::default(),
            not_reopened: None,
        }
    }

    /// Opens the destination, and writes the lines kept so far to it. `verbosity` is the number of `v`s, 0 to 5.
    ///
    /// A log that is open already changes to the new destination. A relative path starts at the present working
    /// directory, even for a later [`Logger::reopen`]. A missing syslogd is no error: lines are counted until it
    /// appears.
    ///
    /// # Errors
    ///
    /// The file cannot be opened, or, as root, the path is a link. The log then stays as it was.
    pub(crate) fn open(&mut self, target: &LogDestination, verbosity: u8) -> Result<(), OpenError> {
        let target = target.absolute()?;
        self.sink = Some(target.open()?);
        self.target = Some(target);
        self.not_reopened = None;
        self.verbosity = verbosity;
        for line in std::mem::take(&mut self.early) {
            self.write(line.level, line.at, line.pid, &line.text);
        }
        Ok(())
    }

    /// Which levels are shown from now on, 0 to 5.
    pub(crate) fn set_verbosity(&mut self, verbosity: u8) {
        self.verbosity = verbosity;
    }

    /// Whether a line of this level would be written: ask this before composing a costly text.
    pub(crate) fn enabled(&self, level: Level) -> bool {
        self.sink.is_none() || level.verbosity() <= self.verbosity
    }

    /// Logs a message about process `pid`. Each of its lines gets the full prefix.
    ///
    /// Escapes control characters, but a line end starts a new line: parts that came from a job, a client or a plugin
    /// must have gone through [`escape()`] or [`excerpt`]. Waits for a slow destination at most 100 ms, and at most
    /// once a second.
    pub(crate) fn line(&mut self, level: Level, pid: u32, text: &str) {
        if !self.enabled(level) {
            return;
        }
        let at = SystemTime::now();
        if self.sink.is_some() {
            self.write(level, at, pid, text);
        } else if self.early.len() < EARLY_LINES {
            self.early.push(EarlyLine { level, at, pid, text: text.to_owned() });
        } else {
            self.dropped_lines.count(None, "there were too many before the log was open");
        }
    }

    /// Logs a message about the manager itself.
    pub(crate) fn log(&mut self, level: Level, text: &str) {
        self.line(level, std::process::id(), text);
    }

    /// Reopens the destination: the file that is at the path now (logrotate has moved the old one away), or the syslog
    /// socket. If that fails, the log keeps using what is open.
    pub(crate) fn reopen(&mut self) -> Reopened {
        let reopened = match (&mut self.sink, &self.target) {
            (Some(Sink::File(lines)), Some(target)) => match lines.output().output.reopen() {
                Ok(()) => Reopened::Done,
                Err(error) => Reopened::Failed(format!(
                    "cannot reopen {target}: {}; the log keeps using the open file",
                    reason(&error)
                )),
            },
            (Some(Sink::Syslog(syslog)), Some(target)) => match syslog.connect() {
                Ok(()) => Reopened::Done,
                Err(error) => Reopened::Failed(format!(
                    "{target} does not answer: {}; log lines are lost until it does",
                    reason(&error)
                )),
            },
            (Some(Sink::Stdout(_)), Some(target)) => Reopened::Stays(target.to_string()),
            _ => Reopened::Stays("not open".into()),
        };
        self.not_reopened = match (&reopened, &self.sink) {
            // For syslog, the sink itself finds out when it is back.
            (Reopened::Failed(reason), Some(Sink::File(_))) => Some(reason.clone()),
            _ => None,
        };
        self.retry();
        reopened
    }

    /// Why the last attempt to reopen the log file failed, if it did: lines still go to the old file.
    pub(crate) fn not_reopened(&self) -> Option<&str> {
        self.not_reopened.as_deref()
    }

    /// The log file, if this user could not create it again in its directory after logrotate has moved it away.
    pub(crate) fn cannot_recreate(&self) -> Option<&Path> {
        match (&self.sink, &self.target) {
            (Some(Sink::File(lines)), Some(LogDestination::File(path))) => {
                let file = &lines.output().output;
                (!file.can_recreate()).then_some(path.as_path())
            }
            _ => None,
        }
    }

    /// Gives the log file to the user that the manager will run as, so that it can be reopened after that.
    ///
    /// # Errors
    ///
    /// The system refuses to change the owner.
    pub(crate) fn hand_over(&self, uid: Uid, gid: Gid) -> std::io::Result<()> {
        match &self.sink {
            Some(Sink::File(lines)) => lines.output().output.hand_over(uid, gid),
            _ => Ok(()),
        }
    }

    /// Tries to log how many lines were lost, if any. The manager calls it at each slow tick and before it exits, in
    /// case nothing else is logged.
    pub(crate) fn retry(&mut self) {
        let Some(text) = self.dropped_lines.sentence() else { return };
        let (at, pid) = (SystemTime::now(), std::process::id());
        if let Some(sink) = &mut self.sink
            && sink.write(&LogLine { level: Level::Warn, at, pid, text: &escape(&text) }).is_ok()
        {
            self.dropped_lines = DroppedLines::default();
        }
    }

    /// Why lines are being lost now, as a sentence without a full stop, if they are.
    pub(crate) fn lost_lines(&self) -> Option<String> {
        match (&self.sink, &self.target) {
            (Some(Sink::Syslog(syslog)), Some(target)) if !syslog.is_connected() => {
                Some(format!("{target} does not answer: log lines are lost until it does; log to a file with -l FILE"))
            }
            _ => self.dropped_lines.sentence(),
        }
    }

    fn write(&mut self, level: Level, at: SystemTime, pid: u32, text: &str) {
        if level.verbosity() > self.verbosity {
            return;
        }
        // The count goes first, so that the log shows where lines are missing.
        self.retry();
        for text in text.trim_end_matches('\n').split('\n') {
            self.write_line(&LogLine { level, at, pid, text: &escape(text) });
        }
        let news = self.sink.as_mut().and_then(Sink::take_notice);
        if let Some(text) = news {
            self.log(Level::Warn, &text);
        }
    }

    fn write_line(&mut self, line: &LogLine<'_>) {
        if let Some(sink) = &mut self.sink
            && let Err(error) = sink.write(line)
        {
            self.dropped_lines.count(self.target.as_ref(), error);
        }
    }
}

/// A time as the log writes it, `2026-11-24 12:00:00.123456`, in local time.
pub(crate) fn date(at: SystemTime) -> String {
    let mut text = String::new();
    DateFormatter::new(Local).compose(at, &mut text);
    text.trim_start_matches('[').trim_end_matches("] ").to_owned()
}

#[cfg(test)]
mod tests;
