//! Standard output: a terminal, a pipe to a service manager, a file.

use std::fs::File;
use std::io::{self, ErrorKind, IsTerminal};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::patience::Patience;
use super::sink::Output;
use super::whole::Whole;
use crate::system::streams;

/// The process's standard output, written without the buffer of `std::io::stdout`, which would cut lines.
#[derive(Debug)]
pub(super) struct Stdout {
    file: File,
    /// A pipe or terminal can be stuck, a file cannot.
    may_stick: bool,
    patience: Patience,
    whole: Whole,
}

impl Stdout {
    /// Takes a copy of descriptor 1.
    pub(super) fn open() -> io::Result<Self> {
        Self::on(io::stdout().as_fd().try_clone_to_owned()?)
    }

    /// Takes a copy of a descriptor that whoever started us has opened.
    pub(super) fn inherited(number: i32) -> io::Result<Self> {
        Self::on(streams::inherited(number)?)
    }

    fn on(descriptor: OwnedFd) -> io::Result<Self> {
        let file = File::from(descriptor);
        let may_stick = !file.metadata()?.is_file();
        Ok(Self { file, may_stick, patience: Patience::default(), whole: Whole::default() })
    }

    pub(super) fn is_terminal(&self) -> bool {
        self.file.is_terminal()
    }

    /// Waits until a line can be written. The descriptor is shared with whoever started us, so it is asked and not made
    /// non-blocking; room for one line is room for `PIPE_BUF` (4096) bytes, and only a longer one can still wait.
    fn wait(&mut self) -> io::Result<()> {
        let now = Instant::now();
        let timeout = PollTimeout::try_from(self.patience.left(now)).unwrap_or(PollTimeout::ZERO);
        let ready = poll(&mut [PollFd::new(self.file.as_fd(), PollFlags::POLLOUT)], timeout)?;
        if ready == 0 {
            if timeout != PollTimeout::ZERO {
                self.patience.exhaust(Instant::now());
            }
            return Err(io::Error::new(ErrorKind::WouldBlock, "nobody reads it"));
        }
        Ok(())
    }
}

impl Output for Stdout {
    fn write_line(&mut self, line: &[u8]) -> io::Result<()> {
        if self.may_stick {
            self.wait()?;
        }
        self.whole.write(&mut self.file, line)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_pipe_nobody_reads_does_not_hold_up() {
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

    #[test]
    fn a_reader_that_is_gone_is_an_error() {
        let (read, write) = nix::unistd::pipe2(nix::fcntl::OFlag::O_CLOEXEC).unwrap();
        drop(read);
        let mut stdout = Stdout::on(write).unwrap();
        assert_eq!(stdout.write_line(b"line\n").unwrap_err().kind(), ErrorKind::BrokenPipe);
        assert!(!stdout.is_terminal());
    }
}
