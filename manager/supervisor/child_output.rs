//! Splits what a plugin prints into lines of bounded length.

use std::cell::Cell;
use std::os::fd::OwnedFd;

use nix::errno::Errno;

use crate::system::child_poller::unread;

/// Lines are truncated to this many bytes.
const CUT: usize = 256;
/// How many bytes, and how many lines, are read from one pipe in one iteration. Lines cost far more than bytes.
const BYTES: usize = 64 * 1024;
const LINES: usize = 256;
/// Bytes read at a time. In the worst case they hold half as many one-letter lines, by which [`LINES`] may be exceeded.
const PIECE: usize = 2048;

/// The reading end of a child's standard output or error.
pub(crate) struct ChildOutput {
    fd: OwnedFd,
    lines: LineSplitter,
}

/// The state of a pipe after an iteration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PipeState {
    /// Empty for now.
    Nothing,
    /// There may be more: it has used up its budget for this iteration.
    More,
    /// EOF: every copy of the writing end is closed.
    End,
}

impl ChildOutput {
    /// Reads lines from a non-blocking pipe.
    pub(crate) fn new(fd: OwnedFd) -> Self {
        Self { fd, lines: LineSplitter::default() }
    }

    /// The pipe.
    pub(crate) fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Reads what is available, up to the budget of one iteration, and passes every complete line to `each`.
    pub(crate) fn read(&mut self, each: impl FnMut(&[u8])) -> PipeState {
        self.read_some(BYTES, each).1
    }

    /// Reads up to `most` bytes, within the budget of one iteration. Returns the number of bytes read.
    fn read_some(&mut self, most: usize, mut each: impl FnMut(&[u8])) -> (usize, PipeState) {
        let (mut bytes, lines) = (0, Cell::new(0));
        let mut each = |line: &[u8]| {
            lines.set(lines.get() + 1);
            each(line);
        };
        let mut buffer = [0; PIECE];
        while bytes < most.min(BYTES) {
            let room = PIECE.min(most - bytes);
            match nix::unistd::read(&self.fd, &mut buffer[..room]) {
                Ok(0) => {
                    self.lines.flush(&mut each);
                    return (bytes, PipeState::End);
                }
                Ok(length) => {
                    bytes += length;
                    self.lines.push(&buffer[..length], &mut each);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return (bytes, PipeState::Nothing),
            }
            if lines.get() >= LINES {
                break;
            }
        }
        (bytes, PipeState::More)
    }
}

/// Unread output of a process that has exited. What its surviving children print later is not read.
pub(crate) struct LeftoverOutput {
    output: ChildOutput,
    /// What was in the pipe, as much as a pipe usually holds: its end is wanted before all of it is given.
    held: Vec<u8>,
    /// How much of it was given.
    given: usize,
    /// How much more was in a larger pipe.
    unread: usize,
}

impl LeftoverOutput {
    /// What is in the pipe now.
    pub(crate) fn new(output: ChildOutput) -> Self {
        let unread = unread(output.fd());
        let mut held = vec![0; unread.min(BYTES)];
        let mut length = 0;
        while length < held.len() {
            match nix::unistd::read(&output.fd, &mut held[length..]) {
                Ok(0) => break,
                Ok(more) => length += more,
                Err(Errno::EINTR) => {}
                Err(_) => break,
            }
        }
        held.truncate(length);
        Self { output, unread: unread.saturating_sub(length), held, given: 0 }
    }

    /// Gives the lines at its end that have `bytes` bytes together, before anything else is given.
    pub(crate) fn last_lines(&self, bytes: usize, mut each: impl FnMut(&[u8])) {
        let (mut lines, mut end) = (self.output.lines.clone(), self.held.as_slice());
        if let Some(start) = end.len().checked_sub(bytes).filter(|start| *start > 0) {
            // The first of them may be cut.
            let next = end[start..].iter().position(|byte| *byte == b'\n').map_or(start, |at| start + at + 1);
            (lines, end) = (LineSplitter::default(), &end[next..]);
        }
        lines.push(end, &mut each);
        lines.flush(&mut each);
    }

    /// Reads up to the budget of one iteration; true if something is left. The last line may lack a newline.
    pub(crate) fn read(&mut self, mut each: impl FnMut(&[u8])) -> bool {
        if self.given < self.held.len() {
            self.give_held(&mut each);
        } else {
            let (bytes, left) = self.output.read_some(self.unread, &mut each);
            self.unread = if left == PipeState::More { self.unread.saturating_sub(bytes) } else { 0 };
        }
        let is_left = self.given < self.held.len() || self.unread > 0;
        if !is_left {
            self.output.lines.flush(&mut each);
        }
        is_left
    }

    fn give_held(&mut self, each: &mut impl FnMut(&[u8])) {
        let mut lines = 0;
        while self.given < self.held.len() && lines < LINES {
            let piece = &self.held[self.given..self.held.len().min(self.given + PIECE)];
            self.given += piece.len();
            self.output.lines.push(piece, &mut |line| {
                lines += 1;
                each(line);
            });
        }
    }
}

/// Cuts bytes into lines, holding one line at most.
#[derive(Debug, Clone, Default)]
pub(crate) struct LineSplitter {
    held: Vec<u8>,
    missing: bool,
}

impl LineSplitter {
    /// Adds bytes, and passes every line that they complete to `each`.
    pub(crate) fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = CUT - self.held.len();
            self.held.extend_from_slice(&piece[..piece.len().min(room)]);
            self.missing |= piece.len() > room;
            if pieces.peek().is_some() {
                self.give(each);
            }
        }
    }

    /// Returns a pending line that has no newline.
    pub(crate) fn flush(&mut self, each: &mut impl FnMut(&[u8])) {
        if !self.held.is_empty() {
            self.give(each);
        }
    }

    fn give(&mut self, each: &mut impl FnMut(&[u8])) {
        if std::mem::take(&mut self.missing) {
            self.held.extend_from_slice(b"...(truncated)");
        }
        let line = self.held.strip_suffix(b"\r").unwrap_or(&self.held);
        if !line.is_empty() {
            each(line);
        }
        self.held.clear();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write;

    use super::*;
    use crate::system::child_poller::output_pipe;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        let mut lines = LineSplitter::default();
        let mut each = |line: &[u8]| out.push(String::from_utf8_lossy(line).into_owned());
        pieces.iter().for_each(|piece| lines.push(piece, &mut each));
        lines.flush(&mut each);
        out
    }

    #[test]
    fn lines_come_whole_however_they_arrive() {
        assert_eq!(lines(&[b"a\nb", b"c\r\n\n", b"d"]), ["a", "bc", "d"]);
        assert_eq!(lines(&[]), [""; 0]);
    }

    #[test]
    fn a_line_without_end_is_cut_and_costs_no_memory() {
        let endless = vec![b'x'; 100_000];
        let expected = format!("{}...(truncated)", "x".repeat(CUT));
        assert_eq!(lines(&[&endless, &endless, b"\nnext\n"]), [expected.as_str(), "next"]);
    }

    fn pipe() -> (ChildOutput, File) {
        let (read, write) = output_pipe().unwrap();
        (ChildOutput::new(read), File::from(write))
    }

    #[test]
    fn a_turn_is_bounded_in_lines_and_in_bytes() {
        let (mut output, mut writer) = pipe();
        for (text, most) in
            [("a\n".repeat(30_000), LINES + PIECE / 2), ("\n".repeat(60_000), 0), ("x".repeat(60_000), 0)]
        {
            writer.write_all(text.as_bytes()).unwrap();
            let mut lines = 0;
            let left = output.read(|_| lines += 1);
            assert!(lines <= most, "{lines}");
            assert_eq!(left, if lines > 0 { PipeState::More } else { PipeState::Nothing });
            while output.read(|_| lines += 1) == PipeState::More {}
            assert_eq!(lines, if most > 0 { 30_000 } else { 0 });
        }
        drop(writer);
        assert_eq!(output.read(|line| assert_eq!(line.len(), CUT + 14)), PipeState::End);
    }

    #[test]
    fn the_last_lines_are_known_before_the_others_are_given() {
        let text = |last: &LeftoverOutput, bytes| {
            let mut lines = Vec::new();
            last.last_lines(bytes, |line| lines.push(String::from_utf8_lossy(line).into_owned()));
            lines
        };
        let (output, mut writer) = pipe();
        for number in 0..5000 {
            writeln!(writer, "{number}").unwrap();
        }
        writer.write_all(b"the last").unwrap();
        let mut last = LeftoverOutput::new(output);
        assert_eq!(text(&last, 20), ["4998", "4999", "the last"]);
        let (mut all, mut count) = (text(&last, usize::MAX), 0);
        assert_eq!((all.len(), all.pop().as_deref()), (5001, Some("the last")));
        while last.read(|_| count += 1) {}
        assert_eq!(count, 5001, "each is given all the same");
        // A line that had begun to be read.
        let (mut output, mut writer) = pipe();
        writer.write_all(b"begun, ").unwrap();
        output.read(|_| panic!("no line has ended"));
        writer.write_all(b"and ended\n").unwrap();
        assert_eq!(text(&LeftoverOutput::new(output), 100), ["begun, and ended"]);
    }

    #[test]
    fn leftover_output_is_what_was_written_before_the_end() {
        let (output, mut writer) = pipe();
        writer.write_all(&b"a\n".repeat(1000)).unwrap();
        writer.write_all(b"the last").unwrap();
        let mut last = LeftoverOutput::new(output);
        let mut lines = Vec::new();
        loop {
            // A grandchild that goes on writing is not heard.
            writer.write_all(b"too late\n").unwrap();
            if !last.read(|line| lines.push(line.to_vec())) {
                break;
            }
        }
        assert_eq!((lines.len(), lines.last().unwrap().as_slice()), (1001, b"the last".as_slice()));
    }
}
