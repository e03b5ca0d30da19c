//! The outcome of a test job.

use crate::abi::RawFail;

/// Everything a function sent to its caller and the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// The result's bytes, or how the job failed.
    pub result: Result<Vec<u8>, Failed>,
    /// Each status: done, of.
    pub status: Vec<(u64, u64)>,
    /// Each part of the result that was sent with `data`.
    pub data: Vec<Vec<u8>>,
    /// Each warning.
    pub warnings: Vec<Vec<u8>>,
    /// Each line for the log, of [`Log`](crate::Log) and, with the features, of `log` and `tracing`.
    pub log: Vec<Record>,
}

/// One line for the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// One of [`level`](crate::abi::level)'s numbers.
    pub level: u8,
    /// Empty for [`Log`](crate::Log), otherwise the target in `log` or `tracing`.
    pub target: String,
    /// The line.
    pub text: String,
}

/// How a job failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failed {
    /// By an error, an exception, a panic.
    pub why: Why,
    /// The message for people.
    pub message: String,
}

/// The kinds of failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// An error was returned.
    Failure,
    /// [`Failure::exception`](crate::Failure::exception) was returned.
    Exception {
        /// What the caller gets.
        payload: Vec<u8>,
    },
    /// A panic.
    Panic {
        /// The source file; empty if unknown.
        file: String,
        /// The line; 0 if unknown.
        line: u32,
    },
    /// The job was not begun, because the object could not be made again after a panic.
    Unmade,
}

impl Default for Outcome {
    fn default() -> Self {
        Self { result: Ok(Vec::new()), status: Vec::new(), data: Vec::new(), warnings: Vec::new(), log: Vec::new() }
    }
}

impl Outcome {
    /// The result of a job that did not fail.
    ///
    /// # Panics
    ///
    /// If the job failed, with the reason.
    #[track_caller]
    pub fn bytes(&self) -> &[u8] {
        match &self.result {
            Ok(bytes) => bytes,
            Err(failed) => panic!("the job failed: {failed:?}"),
        }
    }

    /// The same as text.
    ///
    /// # Panics
    ///
    /// If the job failed, or its result is not UTF-8.
    #[track_caller]
    pub fn text(&self) -> &str {
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => text,
            Err(error) => panic!("the result is no text: {error}"),
        }
    }

    /// How the job failed.
    ///
    /// # Panics
    ///
    /// If the job did not fail, with its result.
    #[track_caller]
    pub fn failure(&self) -> &Failed {
        match &self.result {
            Err(failed) => failed,
            Ok(bytes) => panic!("the job did not fail; its result: {:?}", String::from_utf8_lossy(bytes)),
        }
    }

    /// The texts of the log lines, without their levels.
    pub fn log_texts(&self) -> Vec<&str> {
        self.log.iter().map(|record| record.text.as_str()).collect()
    }
}

impl From<RawFail> for Failed {
    fn from(raw: RawFail) -> Self {
        let why = match raw.kind {
            RawFail::EXCEPTION => Why::Exception { payload: raw.payload.into_vec() },
            RawFail::PANIC => Why::Panic { file: raw.file.into_string(), line: raw.line },
            RawFail::NO_OBJECT => Why::Unmade,
            _ => Why::Failure,
        };
        Self { why, message: raw.message.into_string() }
    }
}
