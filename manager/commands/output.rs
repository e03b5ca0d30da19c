//! Prints what commands find.

use std::io::{self, ErrorKind, Write};
use std::process::ExitCode;

use crate::control::ClientError;
use crate::system::errors::reason;

/// The format of a command's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputFormat {
    /// For people. May change with any version.
    Text,
    /// For programs: JSON, whose fields keep their meaning.
    Json,
}

/// Prints all of it on standard output. A reader that has seen enough (`| head`) is no error.
///
/// # Errors
///
/// Standard output accepts no more, as on a full disk.
pub fn print(text: &str) -> io::Result<Printed> {
    print_to(&mut io::stdout().lock(), text)
}

fn print_to(out: &mut impl Write, text: &str) -> io::Result<Printed> {
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(Printed::Read),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(Printed::NobodyReads),
        Err(error) => Err(error),
    }
}

/// Whether to go on printing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Printed {
    /// A reader may be there.
    Read,
    /// The reader has gone.
    NobodyReads,
}

/// Prints on standard output as the last thing a command does; its exit code is `code`, or 1 if it cannot be printed.
pub fn finish(text: &str, code: u8) -> ExitCode {
    match print(text) {
        Ok(_) => ExitCode::from(code),
        Err(error) => fail(&format!("cannot write to standard output: {}", reason(&error)), 1),
    }
}

/// Prints on standard error why a command failed, and returns the exit code.
pub fn fail(text: &str, code: u8) -> ExitCode {
    let _ = writeln!(io::stderr(), "gm-native: {text}");
    ExitCode::from(code)
}

/// [`fail`] for a manager that did not answer as asked.
pub fn fail_of(error: &ClientError) -> ExitCode {
    fail(&error.to_string(), error.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fails(ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_closed_pipe_is_no_error() {
        assert_eq!(print_to(&mut Vec::new(), "text").unwrap(), Printed::Read);
        assert_eq!(print_to(&mut Fails(ErrorKind::BrokenPipe), "text").unwrap(), Printed::NobodyReads);
        assert_eq!(print_to(&mut Fails(ErrorKind::StorageFull), "text").unwrap_err().kind(), ErrorKind::StorageFull);
    }
}
