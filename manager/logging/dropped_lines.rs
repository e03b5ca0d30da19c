//! Lines that could not be written.

use std::fmt::Display;

use super::LogDestination;
use crate::system::errors::reason;

/// How many lines were lost since a destination last worked, and where and why the first of them was. By the time this
/// is logged, a reload may have changed the destination.
#[derive(Debug, Default)]
pub(super) struct DroppedLines {
    lines: u64,
    reason: String,
}

impl DroppedLines {
    /// Counts one more. Of an outage the first reason is the one to know.
    pub(super) fn count(&mut self, target: Option<&LogDestination>, error: impl Display) {
        if self.lines == 0 {
            let target = target.map_or_else(|| "the log".into(), ToString::to_string);
            self.reason = format!("{target}: {}", reason(&error));
        }
        self.lines += 1;
    }

    /// The sentence for the log, if lines were lost.
    pub(super) fn sentence(&self) -> Option<String> {
        let Self { lines, reason } = self;
        match lines {
            0 => None,
            1 => Some(format!("1 log line was lost: {reason}")),
            _ => Some(format!("{lines} log lines were lost: {reason}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_and_keeps_the_first_reason() {
        let mut dropped_lines = DroppedLines::default();
        assert_eq!(dropped_lines.sentence(), None);
        let target = LogDestination::File("/var/log/gm.log".into());
        dropped_lines.count(Some(&target), std::io::Error::from(nix::errno::Errno::ENOSPC));
        let sentence = "1 log line was lost: log file /var/log/gm.log: No space left on device";
        assert_eq!(dropped_lines.sentence().unwrap(), sentence);
        dropped_lines.count(Some(&LogDestination::Stdout), "Input/output error");
        assert_eq!(dropped_lines.sentence().unwrap(), sentence.replace("1 log line was", "2 log lines were"));
    }
}
