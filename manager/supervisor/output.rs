//! What a plugin prints, cut into lines of bounded length.

use std::os::fd::OwnedFd;

use nix::errno::Errno;

/// A line is cut here, in bytes.
const CUT: usize = 256;
/// Bytes read from one pipe in one turn of the loop, so that a plugin that prints without end holds up nobody.
const TURN: usize = 64 * 1024;

/// The reading end of a child's standard output or error.
pub struct Output {
    fd: OwnedFd,
    lines: Lines,
}

/// Whether there may be more to read.
#[derive(Debug, PartialEq, Eq)]
pub enum More {
    /// Perhaps.
    Yes,
    /// Every copy of the writing end is closed.
    End,
}

impl Output {
    /// Reads lines from a pipe that does not block.
    pub fn new(fd: OwnedFd) -> Self {
        Self { fd, lines: Lines::default() }
    }

    /// The pipe.
    pub fn fd(&self) -> &OwnedFd {
        &self.fd
    }

    /// Reads what is there, at most a turn's worth, and gives `each` every whole line.
    pub fn read(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8])) -> More {
        let mut total = 0;
        while total < TURN {
            match nix::unistd::read(&self.fd, buffer) {
                Ok(0) => {
                    self.lines.flush(&mut each);
                    return More::End;
                }
                Ok(length) => {
                    total += length;
                    self.lines.push(&buffer[..length], &mut each);
                }
                Err(Errno::EINTR) => {}
                Err(_) => return More::Yes,
            }
        }
        More::Yes
    }

    /// The process is gone: what it printed last may have no line end.
    pub fn finish(&mut self, buffer: &mut [u8], mut each: impl FnMut(&[u8])) {
        self.read(buffer, &mut each);
        self.lines.flush(&mut each);
    }
}

/// Cuts bytes into lines, holding one line at most.
#[derive(Debug, Default)]
pub struct Lines {
    held: Vec<u8>,
    missing: bool,
}

impl Lines {
    /// Takes bytes in and gives `each` every line that ends in them.
    pub fn push(&mut self, bytes: &[u8], each: &mut impl FnMut(&[u8])) {
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

    /// Gives what is held of a line without end.
    pub fn flush(&mut self, each: &mut impl FnMut(&[u8])) {
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
    use super::*;

    fn lines(pieces: &[&[u8]]) -> Vec<String> {
        let mut out = Vec::new();
        let mut lines = Lines::default();
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
}
