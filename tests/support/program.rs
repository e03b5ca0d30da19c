//! Runs a program to its end.

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::io::{Seek, Write};
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use super::child_guard::{read_bytes, spawn};
use super::wait::{DEADLINE, try_wait_for};

/// A program that has exited.
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// All of its standard output.
    pub stdout: Vec<u8>,
    /// All of its standard error.
    pub stderr: Vec<u8>,
}

/// A program that had not exited at its deadline, and was killed.
pub struct Hung {
    /// Its standard output so far.
    pub stdout: Vec<u8>,
    /// Its standard error so far.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// The exit code; `None` if a signal ended it.
    pub fn code(&self) -> Option<i32> {
        self.status.code()
    }

    /// Standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The standard output of a program that had to succeed.
    #[track_caller]
    pub fn success(self) -> Vec<u8> {
        assert!(self.status.success(), "{}: {}{}", self.status, self.out(), self.err());
        self.stdout
    }
}

impl fmt::Debug for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, stdout {:?}, stderr {:?}", self.status, self.out(), self.err())
    }
}

impl fmt::Debug for Hung {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [out, err] = [&self.stdout, &self.stderr].map(|bytes| String::from_utf8_lossy(bytes));
        write!(f, "stdout {out:?}, stderr {err:?}")
    }
}

/// Runs `command` with `stdin`.
///
/// Its input and output are files: no pipe fills up, and a grandchild that keeps one open does not matter.
pub fn run(command: &mut Command, stdin: &[u8], deadline: Duration) -> Result<Finished, Hung> {
    let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
    command.stdin(holding(stdin)).stdout(stdout.try_clone().unwrap()).stderr(stderr.try_clone().unwrap());
    let mut child = spawn(command);
    let status = try_wait_for(deadline, || child.try_wait().unwrap());
    if status.is_none() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let (stdout, stderr) = (read_bytes(&stdout), read_bytes(&stderr));
    // No error that a command of ours prints contains a number of std's.
    if Path::new(command.get_program()).file_name() == Some(OsStr::new("gm-native")) {
        let stderr_text = String::from_utf8_lossy(&stderr);
        assert!(!stderr_text.contains("(os error "), "an error is printed with its number: {stderr_text}");
    }
    match status {
        Some(status) => Ok(Finished { status, stdout, stderr }),
        None => Err(Hung { stdout, stderr }),
    }
}

/// Writes an executable file, from another process: if this one had it open for writing, a program that another test
/// starts meanwhile would inherit the descriptor for a moment, and running the file would fail with "text file busy".
#[track_caller]
pub fn write_program(path: &Path, contents: &[u8]) {
    let mut copy = Command::new("install");
    copy.args(["-m", "755", "/dev/stdin"]).arg(path);
    run(&mut copy, contents, DEADLINE).unwrap().success();
}

/// A file that contains `bytes`, positioned at its start.
fn holding(bytes: &[u8]) -> File {
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(bytes).unwrap();
    file.rewind().unwrap();
    file
}
