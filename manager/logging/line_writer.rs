//! Writes lines whole.

use std::io::{self, ErrorKind, Write};

/// Keeps lines whole even if the disk fills up in the middle of one: the next line that can be written starts on a new
/// line. The half line stays, since others may be appending to the same file.
#[derive(Debug, Default)]
pub(super) struct LineWriter {
    torn: bool,
}

impl LineWriter {
    /// Writes a line, which includes its line end, with one system call if the system takes it in one.
    pub(super) fn write(&mut self, to: &mut impl Write, line: &[u8]) -> io::Result<()> {
        let fresh;
        let mut rest = line;
        if self.torn {
            fresh = [b"\n", line].concat();
            rest = &fresh;
        }
        let length = rest.len();
        while !rest.is_empty() {
            match to.write(rest) {
                Ok(0) => return self.tear(length - rest.len(), ErrorKind::WriteZero.into()),
                Ok(written) => rest = &rest[written..],
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return self.tear(length - rest.len(), error),
            }
        }
        self.torn = false;
        Ok(())
    }

    fn tear(&mut self, written: usize, error: io::Error) -> io::Result<()> {
        self.torn |= written > 0;
        Err(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with room for `room` bytes, of which one call takes at most `at_once`.
    struct Disk {
        room: usize,
        at_once: usize,
        content: Vec<u8>,
        calls: usize,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.calls += 1;
            if self.room == 0 {
                return Err(ErrorKind::StorageFull.into());
            }
            let taken = bytes.len().min(self.room).min(self.at_once);
            self.content.extend_from_slice(&bytes[..taken]);
            self.room -= taken;
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn disk(room: usize, at_once: usize) -> Disk {
        Disk { room, at_once, content: Vec::new(), calls: 0 }
    }

    #[test]
    fn one_call_for_one_line() {
        let mut disk = disk(100, 100);
        LineWriter::default().write(&mut disk, b"a line\n").unwrap();
        assert_eq!((disk.content.as_slice(), disk.calls), (b"a line\n".as_slice(), 1));
    }

    #[test]
    fn a_line_accepted_in_parts_is_written_to_its_end() {
        let mut disk = disk(100, 3);
        LineWriter::default().write(&mut disk, b"a line\n").unwrap();
        assert_eq!(disk.content, b"a line\n");
    }

    #[test]
    fn after_half_a_line_the_next_one_starts_on_its_own() {
        let (mut disk, mut line_writer) = (disk(8, 100), LineWriter::default());
        line_writer.write(&mut disk, b"one\n").unwrap();
        assert_eq!(line_writer.write(&mut disk, b"twotwo\n").unwrap_err().kind(), ErrorKind::StorageFull);
        line_writer.write(&mut disk, b"three\n").unwrap_err();
        disk.room = 100;
        line_writer.write(&mut disk, b"four\n").unwrap();
        line_writer.write(&mut disk, b"five\n").unwrap();
        assert_eq!(String::from_utf8(disk.content).unwrap(), "one\ntwot\nfour\nfive\n");
    }

    #[test]
    fn a_line_that_was_not_written_at_all_leaves_no_mark() {
        let (mut disk, mut line_writer) = (disk(4, 100), LineWriter::default());
        line_writer.write(&mut disk, b"one\n").unwrap();
        line_writer.write(&mut disk, b"two\n").unwrap_err();
        disk.room = 100;
        line_writer.write(&mut disk, b"three\n").unwrap();
        assert_eq!(disk.content, b"one\nthree\n");
    }
}
