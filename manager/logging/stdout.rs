//! Standard output: a terminal, a pipe to a service manager, or a file.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::thread;
use std::time::{Duration, Instant};

use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::line_writer::LineWriter;
use super::log_output::LogOutput;
use super::write_retry::WriteRetry;
use crate::system::streams;

/// The pause between two attempts if poll reports room, but not enough for the line.
const PAUSE: Duration = Duration::from_millis(1);

/// The process's standard output, written without the buffer of `std::io::stdout`, which would cut lines.
#[derive(Debug)]
pub(super) struct Stdout {
    stream: RetryingStream,
    line_writer: LineWriter,
}

impl Stdout {
    /// Takes a copy of descriptor 1.
    pub(super) fn open() -> io::Result<Self> {
        Self::on(io::stdout().as_fd().try_clone_to_owned()?)
    }

    /// Copies a descriptor that our caller opened.
    pub(super) fn inherited(number: i32) -> io::Result<Self> {
        Self::on(streams::inherited(number)?)
    }

    fn on(descriptor: OwnedFd) -> io::Result<Self> {
        Ok(Self { stream: RetryingStream::on(descriptor)?, line_writer: LineWriter::default() })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.stream.file.is_terminal()
    }
}

impl LogOutput for Stdout {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        self.line_writer.write(&mut self.stream, line)
    }
}

/// A descriptor whose reader may be stuck: waits for it, but not forever.
#[derive(Debug)]
struct RetryingStream {
    file: File,
    /// A pipe or terminal can be stuck, a file cannot.
    may_stick: bool,
    write_retry: WriteRetry,
}

impl RetryingStream {
    fn on(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        let may_stick = !file.metadata()?.is_file();
        Ok(Self { file: unblocked(file)?, may_stick, write_retry: WriteRetry::default() })
    }

    /// Waits until there is some room.
    fn wait(&self, until: Instant) -> io::Result<()> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        match poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)], timeout)? {
            0 => Err(io::Error::new(ErrorKind::WouldBlock, "nobody reads it")),
            _ => Ok(()),
        }
    }

    /// Writes some of it, as soon as there is room.
    fn write_until(&mut self, bytes: &[u8], until: Instant) -> io::Result<usize> {
        loop {
            self.wait(until)?;
            match self.file.write(bytes) {
                // A terminal needs room for more than a byte to take a line end.
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => thread::sleep(PAUSE),
                other => return other,
            }
        }
    }
}

impl Write for RetryingStream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.may_stick {
            return self.file.write(bytes);
        }
        let began = Instant::now();
        let write_retry = self.write_retry.left(began);
        self.write_until(bytes, began.checked_add(write_retry).unwrap_or(began)).inspect_err(|error| {
            if error.kind() == ErrorKind::WouldBlock && !write_retry.is_zero() {
                self.write_retry.exhaust(Instant::now());
            }
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Opens the same terminal or pipe again so that no write to it blocks: one with room for a few bytes only would hold
/// up a whole line for as long as no one reads. The descriptor itself is shared with our caller, so its flags stay. If
/// it cannot be opened (a socket, or another user's terminal), it is used as it is: what has any room nearly always has
/// room for a line.
fn unblocked(file: File) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    if !kind.is_fifo() && !kind.is_char_device() {
        return Ok(file);
    }
    let flags = (OFlag::O_NONBLOCK | OFlag::O_NOCTTY).bits();
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    Ok(File::options().write(true).custom_flags(flags).open(path).unwrap_or(file))
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_nobody_reads_does_not_block() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        let mut stdout = Stdout::on(write).unwrap();
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        let mut taken = 0;
        let error = loop {
            match stdout.write_line(&line) {
                Ok(()) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        for _ in 0..20 {
            stdout.write_line(&line).unwrap_err();
        }

        let mut reader = File::from(read);
        let mut received = vec![0; taken * line.len()];
        reader.read_exact(&mut received).unwrap();
        assert!(received.chunks(line.len()).all(|chunk| chunk == line), "every line is whole");
        stdout.write_line(b"again\n").unwrap();
        let mut again = [0; 6];
        reader.read_exact(&mut again).unwrap();
        assert_eq!(&again, b"again\n");
    }

    /// A terminal with little room accepts part of a line, and would block for the rest.
    #[test]
    fn a_terminal_nobody_reads_does_not_block() {
        let terminal = nix::pty::openpty(None, None).unwrap();
        let shared = terminal.slave.try_clone().unwrap();
        let mut stdout = Stdout::on(terminal.slave).unwrap();
        assert!(stdout.is_terminal());
        let line = [b"x".repeat(99), b"\n".to_vec()].concat();
        while stdout.write_line(&line).is_ok() {}
        for _ in 0..20 {
            stdout.write_line(&line).unwrap_err();
        }
        let flags = nix::fcntl::fcntl(&shared, nix::fcntl::FcntlArg::F_GETFL).unwrap();
        assert!(!OFlag::from_bits_retain(flags).contains(OFlag::O_NONBLOCK), "others have it as it was");

        // The reader reads again: what comes next is a line of its own.
        let mut reader = File::from(terminal.master);
        let reading = thread::spawn(move || {
            let (mut text, mut part) = (String::new(), [0; 4096]);
            while !text.contains("again") {
                let length = reader.read(&mut part).unwrap();
                text.push_str(&String::from_utf8_lossy(&part[..length]));
            }
            text
        });
        while stdout.write_line(b"again\n").is_err() {}
        let text = reading.join().unwrap();
        assert!(text.ends_with("\nagain\r\n") || text.ends_with("\nagain"), "{text:?}");
    }

    /// A line longer than what a pipe takes at once.
    #[test]
    fn a_pipe_with_room_for_a_part_of_a_line_does_not_block() {
        let (read, write) = nix::unistd::pipe2(OFlag::O_CLOEXEC).unwrap();
        let mut stdout = Stdout::on(write).unwrap();
        let line = [b"x".repeat(9_999), b"\n".to_vec()].concat();
        while stdout.write_line(&line).is_ok() {}
        stdout.write_line(&line).unwrap_err();
        drop(read);
    }

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        drop(read);
        let mut stdout = Stdout::on(write).unwrap();
        assert_eq!(stdout.write_line(b"line\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(!stdout.is_terminal());
    }
}
