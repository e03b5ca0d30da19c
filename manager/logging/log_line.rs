//! The format of a line: `[2026-11-24 12:00:00.123456]  1234 PROC   message`.

use std::fmt::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use chrono::{Local, Offset, TimeZone};

use super::Level;

/// One line to write. The text contains no control characters any more.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogLine<'a> {
    pub level: Level,
    pub at: SystemTime,
    /// The process the line is about: a worker's line has the worker's pid though the manager writes it.
    pub pid: u32,
    pub text: &'a str,
}

impl LogLine<'_> {
    /// The line without date and line end. Fields are padded so that messages line up.
    pub(super) fn compose(&self, out: &mut String) {
        let Self { level, pid, text, .. } = self;
        let _ = write!(out, "{pid:>5} {level:<6} {text}");
    }
}

/// Formats dates, and caches the last second: formatting one costs more than the rest of a line, and a busy log has
/// thousands of lines a second.
#[derive(Debug)]
pub(super) struct DateFormatter<Tz: TimeZone = Local> {
    zone: Tz,
    second: i64,
    text: String,
}

impl<Tz: TimeZone> DateFormatter<Tz> {
    pub(super) fn new(zone: Tz) -> Self {
        Self { zone, second: i64::MIN, text: String::new() }
    }

    /// Appends `[2026-11-24 12:00:00.123456] `.
    pub(super) fn compose(&mut self, at: SystemTime, out: &mut String) {
        // A clock before 1970 means a machine without a clock: its lines may as well say 1970.
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let second = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
        if second != self.second {
            self.second = second;
            self.text.clear();
            let Some(utc) = chrono::DateTime::from_timestamp(second, 0) else { return };
            let offset = self.zone.offset_from_utc_datetime(&utc.naive_utc()).fix();
            let Some(local) = utc.naive_utc().checked_add_offset(offset) else { return };
            let _ = write!(self.text, "[{}", local.format("%Y-%m-%d %H:%M:%S"));
        }
        let _ = write!(out, "{}.{:06}] ", self.text, since.subsec_micros());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use chrono::{FixedOffset, Utc};

    use super::*;

    fn line(level: Level, pid: u32, text: &str) -> String {
        let mut out = String::new();
        LogLine { level, at: UNIX_EPOCH, pid, text }.compose(&mut out);
        out
    }

    #[test]
    fn fields_line_up() {
        assert_eq!(line(Level::Proc, 1234, "message"), " 1234 PROC   message");
        assert_eq!(line(Level::Worker, 12345, "message"), "12345 WORKER message");
        assert_eq!(line(Level::Error, 1, "message"), "    1 ERROR  message");
        assert_eq!(line(Level::Warn, 4_194_303, ""), "4194303 WARN   ");
    }

    #[test]
    fn dates_are_local_and_have_microseconds() {
        let at = UNIX_EPOCH + Duration::from_micros(1_795_521_600_123_456);
        let mut out = String::new();
        DateFormatter::new(Utc).compose(at, &mut out);
        assert_eq!(out, "[2026-11-24 12:00:00.123456] ");

        let mut dates = DateFormatter::new(FixedOffset::east_opt(3600).unwrap());
        for (micros, expected) in [(1, "000001"), (999_999, "999999"), (1, "000001")] {
            out.clear();
            dates.compose(UNIX_EPOCH + Duration::from_micros(1_795_521_600_000_000 + micros), &mut out);
            assert_eq!(out, format!("[2026-11-24 13:00:00.{expected}] "));
        }
        out.clear();
        dates.compose(UNIX_EPOCH + Duration::from_secs(1_795_521_601), &mut out);
        assert_eq!(out, "[2026-11-24 13:00:01.000000] ");
        out.clear();
        dates.compose(UNIX_EPOCH - Duration::from_secs(5), &mut out);
        assert_eq!(out, "[1970-01-01 01:00:00.000000] ");
    }
}
