//! What a worker printed and logged last, for the report of its death. Pure.

use std::collections::VecDeque;
use std::time::Duration;

use crate::crash::report::{OUTPUT_BYTES, OUTPUT_LINES, OutputLine};

/// Where a line came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OutputStream {
    Stdout,
    Stderr,
    /// The plugin's log.
    Log,
}

impl OutputStream {
    fn label(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Log => "log",
        }
    }
}

/// The last lines, bounded in number and in bytes.
#[derive(Debug, Default)]
pub(crate) struct RecentOutput {
    lines: VecDeque<(Duration, OutputStream, Box<[u8]>)>,
    bytes: usize,
}

impl RecentOutput {
    /// A line was read.
    pub(crate) fn add(&mut self, stream: OutputStream, line: &[u8], now: Duration) {
        let line = &line[..line.len().min(OUTPUT_BYTES)];
        self.bytes = self.bytes.saturating_add(line.len());
        self.lines.push_back((now, stream, line.into()));
        while self.lines.len() > OUTPUT_LINES || self.bytes > OUTPUT_BYTES {
            let Some((_, _, oldest)) = self.lines.pop_front() else { return };
            self.bytes = self.bytes.saturating_sub(oldest.len());
        }
    }

    /// The lines as they are reported. `now` is when the worker died, as far as that is known.
    pub(crate) fn lines(&self, now: Duration) -> Vec<OutputLine> {
        let line = |(at, stream, text): &(Duration, OutputStream, Box<[u8]>)| OutputLine {
            seconds_before: now.saturating_sub(*at).as_millis() as f64 / 1000.0,
            stream: stream.label().into(),
            text: String::from_utf8_lossy(text).into_owned(),
        };
        self.lines.iter().map(line).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_kept() {
        let mut output = RecentOutput::default();
        for n in 0..OUTPUT_LINES as u64 + 10 {
            output.add(OutputStream::Stdout, n.to_string().as_bytes(), Duration::from_millis(n));
        }
        output.add(OutputStream::Stderr, b"a\xff", Duration::from_millis(500));
        let lines = output.lines(Duration::from_millis(1500));
        assert_eq!(lines.len(), OUTPUT_LINES);
        assert_eq!(
            (lines[0].text.as_str(), lines[0].stream.as_str(), lines[0].seconds_before),
            ("11", "stdout", 1.489)
        );
        let last = lines.last().unwrap();
        assert_eq!((last.text.as_str(), last.stream.as_str(), last.seconds_before), ("a\u{fffd}", "stderr", 1.0));
    }

    #[test]
    fn long_lines_displace_more() {
        let mut output = RecentOutput::default();
        for (length, lines) in [(OUTPUT_BYTES / 2, 1), (OUTPUT_BYTES / 2, 2), (1, 2), (OUTPUT_BYTES * 2, 1)] {
            output.add(OutputStream::Log, &vec![b'x'; length], Duration::ZERO);
            assert_eq!(output.lines.len(), lines, "{length}");
            assert_eq!(output.bytes, output.lines.iter().map(|(_, _, line)| line.len()).sum::<usize>());
        }
    }
}
