//! Where lines go: a file or standard output through fern, or syslog.

use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::Local;
use log::Log;

use super::file::LogFile;
use super::log_line::{DateFormatter, LogLine};
use super::log_output::LogOutput;
use super::stdout::Stdout;
use super::syslog::Syslog;

/// The open destination.
#[derive(Debug)]
pub(super) enum Sink {
    Stdout(LineDispatch<Stdout>),
    File(LineDispatch<LogFile>),
    Syslog(Syslog),
}

impl Sink {
    pub(super) fn write(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        match self {
            Self::Stdout(lines) => lines.write(line),
            Self::File(lines) => lines.write(line),
            Self::Syslog(syslog) => syslog.write(line),
        }
    }

    pub(super) fn take_notice(&mut self) -> Option<String> {
        match self {
            Self::File(lines) => lines.output().output.take_notice(),
            Self::Stdout(_) | Self::Syslog(_) => None,
        }
    }
}

/// Whether lines carry a date.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DateStamp {
    Yes,
    No,
}

/// Whether lines are coloured by their level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LevelColor {
    Yes,
    No,
}

/// A fern dispatch in front of an output. fern writes a line in fragments, and swallows errors or prints them on
/// stderr; so it writes to a buffer, which passes one line to the output when fern flushes, and keeps the error.
pub(super) struct LineDispatch<O> {
    fern: Box<dyn Log>,
    gathered: Arc<Mutex<Gathered<O>>>,
    dates: Option<DateFormatter>,
    text: String,
}

pub(super) struct Gathered<O> {
    pub(super) output: O,
    line: Vec<u8>,
    failed: Option<io::Error>,
}

impl<O: LogOutput> LineDispatch<O> {
    pub(super) fn new(output: O, dated: DateStamp, coloured: LevelColor) -> Self {
        let gathered = Arc::new(Mutex::new(Gathered { output, line: Vec::new(), failed: None }));
        let writer: Box<dyn Write + Send> = Box::new(Gather(Arc::clone(&gathered)));
        let (_, fern) = fern::Dispatch::new()
            .level(log::LevelFilter::Trace)
            .format(move |out, message, record| match colour(record.level()) {
                Some(code) if coloured == LevelColor::Yes => {
                    out.finish(format_args!("\x1b[{code}m{message}\x1b[0m"));
                }
                _ => out.finish(*message),
            })
            .chain(writer)
            .into_log();
        let dates = (dated == DateStamp::Yes).then(|| DateFormatter::new(Local));
        Self { fern, gathered, dates, text: String::new() }
    }

    pub(super) fn write(&mut self, line: &LogLine<'_>) -> io::Result<()> {
        self.text.clear();
        if let Some(dates) = &mut self.dates {
            dates.compose(line.at, &mut self.text);
        }
        line.compose(&mut self.text);
        let text = self.text.as_str();
        self.fern.log(
            &log::Record::builder()
                .level(line.level.record_level())
                .target(line.level.label())
                .args(format_args!("{text}"))
                .build(),
        );
        self.output().failed.take().map_or(Ok(()), Err)
    }

    pub(super) fn output(&self) -> MutexGuard<'_, Gathered<O>> {
        lock(&self.gathered)
    }
}

impl<O> std::fmt::Debug for LineDispatch<O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

/// The writer that fern owns.
struct Gather<O>(Arc<Mutex<Gathered<O>>>);

impl<O: LogOutput> Write for Gather<O> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        lock(&self.0).line.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let Gathered { output, line, failed } = &mut *lock(&self.0);
        if let Err(error) = output.write_line(line) {
            *failed = Some(error);
        }
        line.clear();
        Ok(())
    }
}

/// Only one thread uses it, the lock is there because fern wants `Sync`: a poisoned one protects nothing half done.
fn lock<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The terminal's code for a level: red, yellow and green for what to see first, faint for every packet.
fn colour(level: log::Level) -> Option<u8> {
    match level {
        log::Level::Error => Some(31),
        log::Level::Warn => Some(33),
        log::Level::Info => Some(32),
        log::Level::Debug => None,
        log::Level::Trace => Some(2),
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use crate::logging::Level;

    #[derive(Default)]
    struct Calls(Vec<String>);

    impl LogOutput for Calls {
        fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
            let line = String::from_utf8(line.to_vec()).unwrap();
            if line.contains("refuse") {
                return Err(io::Error::other("refused"));
            }
            self.0.push(line);
            Ok(())
        }
    }

    fn write(lines: &mut LineDispatch<Calls>, level: Level, text: &str) -> io::Result<()> {
        lines.write(&LogLine { level, at: UNIX_EPOCH, pid: 7, text })
    }

    #[test]
    fn a_line_is_one_call() {
        let mut lines = LineDispatch::new(Calls::default(), DateStamp::No, LevelColor::No);
        write(&mut lines, Level::Proc, "one {} two").unwrap();
        write(&mut lines, Level::Crazy, "packet").unwrap();
        assert_eq!(lines.output().output.0, ["    7 PROC   one {} two\n", "    7 CRAZY  packet\n"]);
    }

    #[test]
    fn a_date_where_wanted() {
        let mut lines = LineDispatch::new(Calls::default(), DateStamp::Yes, LevelColor::No);
        write(&mut lines, Level::Info, "up").unwrap();
        let written = lines.output().output.0.concat();
        assert!(written.starts_with('[') && written.ends_with(".000000]     7 INFO   up\n"), "{written}");
    }

    #[test]
    fn colours_follow_the_level() {
        let mut lines = LineDispatch::new(Calls::default(), DateStamp::No, LevelColor::Yes);
        for level in [Level::Error, Level::Warn, Level::Info, Level::Worker] {
            write(&mut lines, level, "x").unwrap();
        }
        assert_eq!(
            lines.output().output.0,
            [
                "\x1b[31m    7 ERROR  x\x1b[0m\n",
                "\x1b[33m    7 WARN   x\x1b[0m\n",
                "\x1b[32m    7 INFO   x\x1b[0m\n",
                "    7 WORKER x\n",
            ]
        );
    }

    #[test]
    fn an_error_of_the_output_comes_back() {
        let mut lines = LineDispatch::new(Calls::default(), DateStamp::No, LevelColor::No);
        assert_eq!(write(&mut lines, Level::Info, "refuse").unwrap_err().to_string(), "refused");
        write(&mut lines, Level::Info, "taken").unwrap();
        assert_eq!(lines.output().output.0, ["    7 INFO   taken\n"]);
    }
}
