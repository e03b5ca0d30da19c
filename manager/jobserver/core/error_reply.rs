//! The server's errors. Codes and texts are gearmand's if it has them.

use super::super::reply::ServerReply;

/// The content of an `ERROR` packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ErrorReply {
    code: &'static str,
    text: &'static str,
}

impl ErrorReply {
    /// A packet type that no server handles.
    pub(super) const NOT_EXPECTED: Self = Self { code: "INVALID_COMMAND", text: "Command not expected" };
    /// A result, progress or failure of a job that this worker does not have, or that does not exist.
    pub(super) const NOT_YOUR_JOB: Self = Self { code: JOB_NOT_FOUND, text: "Job given in work result not found" };
    /// Data or a warning of such a job.
    pub(super) const NO_SUCH_JOB: Self = Self { code: JOB_NOT_FOUND, text: "Job does not exist on server" };
    /// An exception of such a job.
    pub(super) const NO_SUCH_JOB_RAISES: Self =
        Self { code: JOB_NOT_FOUND, text: "An exception was received for a job that does not exist" };
    /// Any option but `exceptions`.
    pub(super) const UNKNOWN_OPTION: Self =
        Self { code: "UNKNOWN_OPTION", text: "Server does not recognize given option" };
    /// A unique of more than 64 bytes.
    pub(super) const UNIQUE_TOO_LONG: Self = Self { code: TOO_LARGE, text: "Unique value too large" };
    /// A function name longer than [`super::LONGEST_NAME`].
    pub(super) const NAME_TOO_LONG: Self =
        Self { code: TOO_LARGE, text: "The name of a function is longer than 2048 bytes" };
    /// A job beyond the server's limits.
    pub(super) const QUEUE_FULL: Self = Self { code: QUEUE_ERROR, text: "Job queue is full" };
    /// A name beyond the server's limit.
    pub(super) const TOO_MANY_NAMES: Self = Self { code: QUEUE_ERROR, text: "There are too many functions" };

    /// The packet.
    pub(super) fn answer(self) -> ServerReply {
        ServerReply::error(self.code, self.text)
    }
}

const JOB_NOT_FOUND: &str = "JOB_NOT_FOUND";
const TOO_LARGE: &str = "ARGUMENT_TOO_LARGE";
const QUEUE_ERROR: &str = "QUEUE_ERROR";
