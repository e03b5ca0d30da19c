//! The messages on the control socket.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::PROTOCOL;
use super::status::StatusReply;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::system::errors::reason;

/// A client's request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum ControlRequest {
    /// What the manager is doing now; answered with a [`StatusReply`].
    Status {
        /// Whether to list the workers. That is long if there are many.
        #[serde(default = "with_workers")]
        workers: bool,
    },
    /// Whether its loop runs; answered with a sentence.
    Ping,
    /// What the supervisor decided: the latest events or, with `follow`, future ones.
    Events {
        /// Whether to wait for future events.
        #[serde(default)]
        follow: bool,
    },
    /// What a worker printed and logged last; answered with a list of [`PrintedLine`].
    Output {
        /// Its process.
        pid: u32,
    },
    /// The stored versions of all functions; answered with a list of [`VersionStatus`].
    Versions,
    /// Serve an earlier version until the file in worker_dir changes; answered with a [`RollbackReply`] once that has
    /// begun. Its end is an event.
    Rollback {
        /// The function.
        function: FunctionName,
        /// First digits of the version's hash; without it, the version that was served before.
        #[serde(default)]
        hash: Option<String>,
        /// Serve it although it was rejected, or is pinned already.
        #[serde(default)]
        force: bool,
    },
    /// Try a rejected version again; answered with an [`AcceptedReply`] once that has begun. Its end is an event.
    Retry {
        /// The function.
        function: FunctionName,
    },
    /// Replace the workers of a function, or all of them, one after the other; answered with an [`AcceptedReply`]. Its
    /// end is an event.
    Restart {
        /// The function; without it, all of them.
        #[serde(default)]
        function: Option<FunctionName>,
    },
    /// End a job as its timeout would; answered with an [`AcceptedReply`]. Its end is an event.
    Kill {
        /// The process of its worker.
        #[serde(default)]
        pid: Option<u32>,
        /// Its handle, if the process is not given.
        #[serde(default)]
        handle: Option<String>,
    },
    /// Read the configuration again, and replace all workers; answered with an [`AcceptedReply`]. Its end is an event.
    Reload,
    /// Let running jobs finish, and exit; answered with an [`AcceptedReply`].
    Stop,
    /// Have no worker take jobs of a function; answered with an [`AcceptedReply`]. Its end is an event.
    Pause {
        /// The function.
        function: FunctionName,
        /// Whether it ends only when no job of the function runs any more.
        #[serde(default)]
        drain: bool,
    },
    /// Have workers take jobs of a paused function again; answered with an [`AcceptedReply`]. Its end is an event.
    Resume {
        /// The function.
        function: FunctionName,
    },
    /// Have this many workers serve a function until the next reload; answered with an [`AcceptedReply`]. Its end is an
    /// event.
    Scale {
        /// The function.
        function: FunctionName,
        /// How many.
        workers: u32,
    },
    /// Log more, or less; answered with a sentence.
    LogLevel {
        /// How many `v`s, 0 to 5.
        level: u8,
        /// For how long; without it, until the next reload.
        #[serde(default)]
        milliseconds: Option<u64>,
    },
    /// Forget which workers a job has killed, so that it gets all its attempts again; answered with a sentence.
    ClearAttempts(AttemptsOf),
}

/// A job by all its names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttemptsOf {
    /// Its function.
    pub function: FunctionName,
    /// Its job server, as configured.
    pub server: String,
    /// Its handle.
    pub handle: String,
    /// Its unique id.
    pub unique: String,
    /// The hash of its workload.
    #[serde(default)]
    pub workload: Option<String>,
}

fn with_workers() -> bool {
    true
}

/// The requests by name.
const KNOWN: [&str; 16] = [
    "status",
    "ping",
    "events",
    "output",
    "versions",
    "rollback",
    "retry",
    "clear_attempts",
    "restart",
    "kill",
    "reload",
    "stop",
    "log_level",
    "pause",
    "resume",
    "scale",
];

impl ControlRequest {
    /// Whether it only reads. Anything else is logged with the user who asked for it.
    pub(crate) fn only_reads(&self) -> bool {
        matches!(self, Self::Status { .. } | Self::Ping | Self::Events { .. } | Self::Versions | Self::Output { .. })
    }

    /// The request as a line with its line end.
    pub(crate) fn to_line(&self) -> String {
        let mut message = json!(self);
        message["v"] = json!(PROTOCOL);
        format!("{message}\n")
    }

    /// Parses a request. The version is checked before the rest, which may mean anything in a later version.
    ///
    /// # Errors
    ///
    /// It is no JSON object, has another version, or is unknown.
    pub(crate) fn parse(line: &[u8]) -> Result<Self, RequestError> {
        let bad = |text: String| RequestError { code: ErrorCode::BadRequest, text };
        let message: Value =
            serde_json::from_slice(line).map_err(|error| bad(format!("no JSON: {}", reason(&error))))?;
        match message.get("v").and_then(Value::as_u64) {
            Some(version) if version == u64::from(PROTOCOL) => {}
            Some(version) => return Err(RequestError::version(version)),
            None => return Err(bad(format!("a request is an object with a version, as in {}", example()))),
        }
        match message.get("request").and_then(Value::as_str) {
            None => Err(bad(format!("the request does not say what it asks for, as in {}", example()))),
            Some(name) if !KNOWN.contains(&name) => Err(RequestError {
                code: ErrorCode::UnknownRequest,
                text: format!("this manager does not know the request {name:?}, only {}", KNOWN.join(", ")),
            }),
            Some(_) => Self::deserialize(message).map_err(|error| bad(error.to_string())),
        }
    }
}

fn example() -> String {
    ControlRequest::Ping.to_line().trim_end().to_owned()
}

/// The manager's answer to a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// To [`ControlRequest::Status`].
    Status(Box<StatusReply>),
    /// To [`ControlRequest::Output`].
    Output(Vec<PrintedLine>),
    /// To [`ControlRequest::Versions`].
    Versions(Vec<VersionStatus>),
    /// To [`ControlRequest::Rollback`].
    RolledBack(RollbackReply),
    /// To the other requests whose end is an event.
    Accepted(AcceptedReply),
    /// It is done or has begun: a sentence.
    Done(String),
    /// The request was understood and refused.
    Refused(RequestError),
}

impl Reply {
    /// Refuses a request that makes no sense to this manager now.
    pub fn refused(text: String) -> Self {
        Self::Refused(RequestError { code: ErrorCode::Refused, text })
    }

    /// The reply as a line with its line end.
    pub(super) fn to_line(&self) -> String {
        match self {
            Self::Status(status) => ok_line(status),
            Self::Output(lines) => ok_line(lines),
            Self::Versions(versions) => ok_line(versions),
            Self::RolledBack(rollback) => ok_line(rollback),
            Self::Accepted(accepted) => ok_line(accepted),
            Self::Done(text) => ok_line(text),
            Self::Refused(refusal) => refusal.to_line(),
        }
    }
}

/// `{"v":1,"ok":...}` with its line end.
pub(super) fn ok_line(content: &impl Serialize) -> String {
    #[derive(Serialize)]
    struct Line<'a, T> {
        v: u32,
        ok: &'a T,
    }
    line(&Line { v: PROTOCOL, ok: content })
}

/// A message as a line with its line end.
pub(super) fn line(message: &impl Serialize) -> String {
    // Fails only for maps whose keys are not strings, and if a Serialize of ours fails: we have neither.
    let mut text = serde_json::to_string(message).unwrap_or_else(|error| {
        json!({ "v": PROTOCOL, "error": { "code": ErrorCode::Internal, "text": error.to_string() } }).to_string()
    });
    text.push('\n');
    text
}

/// Why a request was not fulfilled.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequestError {
    /// For programs.
    pub code: ErrorCode,
    /// For people: one sentence without full stop.
    pub text: String,
}

impl RequestError {
    pub(super) fn new(code: ErrorCode, text: impl Into<String>) -> Self {
        Self { code, text: text.into() }
    }

    fn version(asked: u64) -> Self {
        let text = format!("this manager speaks version {PROTOCOL} of the control protocol, not version {asked}");
        Self { code: ErrorCode::Version, text }
    }

    pub(crate) fn to_line(&self) -> String {
        #[derive(Serialize)]
        struct Line<'a> {
            v: u32,
            error: &'a RequestError,
        }
        line(&Line { v: PROTOCOL, error: self })
    }
}

/// The kinds of [`RequestError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// It is not a request.
    BadRequest,
    /// It has another version of the protocol.
    Version,
    /// It asks for something that does not exist or is not possible now.
    Refused,
    /// This manager does not know it.
    UnknownRequest,
    /// It is longer than [`super::MAX_REQUEST`].
    TooLong,
    /// It did not arrive in time, or was not answered in time.
    Deadline,
    /// The client is neither root nor the user the manager runs as.
    Forbidden,
    /// There are too many connections.
    Busy,
    /// A follower of events did not read them in time.
    SlowReader,
    /// The manager is about to exit.
    Stopping,
    /// A bug in the manager.
    Internal,
    /// A code that a later manager sends.
    #[serde(other)]
    Other,
}

/// A line that a worker printed or logged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PrintedLine {
    /// How long ago the manager read it.
    pub seconds_ago: f64,
    /// `stdout`, `stderr` or `log`.
    pub stream: String,
    /// The line, as it came.
    pub text: String,
}

/// A rollback that has begun.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RollbackReply {
    /// The number of the request, which the event that ends the rollback repeats.
    pub request: u64,
    /// An earlier request for a rollback to the same version, if this request joins it.
    #[serde(default)]
    pub joined: Option<JoinedRollback>,
    /// First 12 hex digits of the hash of the version to be served.
    pub version: ShortHash,
    /// The version served until then.
    pub from: Option<ShortHash>,
    /// Why the version was rejected, if it was.
    pub rejected: Option<String>,
    /// The newer file that is called off.
    #[serde(default)]
    pub called_off: Option<CalledOffFile>,
}

/// An earlier request for the same rollback.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct JoinedRollback {
    /// The user who asked for it.
    pub uid: u32,
    /// How long ago.
    pub seconds_ago: f64,
}

/// A request that is being carried out.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AcceptedReply {
    /// The number of the request, which the event that ends it repeats.
    pub request: u64,
    /// What has begun, as a clause.
    #[serde(default)]
    pub begun: String,
}

/// A file in worker_dir that was waiting to be served and is called off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CalledOffFile {
    /// Where it is.
    pub path: String,
    /// First 12 hex digits of its hash; `null` while it is being checked.
    pub version: Option<ShortHash>,
}

/// A stored version of a function.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VersionStatus {
    /// The function.
    pub function: FunctionName,
    /// First 12 hex digits of the library's hash.
    pub version: ShortHash,
    /// The version its author gave it; empty if unknown.
    #[serde(default)]
    pub crate_version: String,
    /// Its state.
    pub state: VersionState,
    /// When it was stored, local time.
    pub stored: String,
    /// Bytes.
    pub size: u64,
    /// Why it was rejected, if it was.
    pub note: Option<String>,
}

/// The state of a stored version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum VersionState {
    /// Workers serve it.
    Serving,
    /// Workers serve it on request, although worker_dir holds another.
    Pinned,
    /// A canary tries it, or will.
    Trying,
    /// A canary tried it, and it was rejected.
    Rejected,
    /// It is kept for a rollback.
    Stored,
}

impl VersionState {
    /// The word in text and JSON.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Pinned => "pinned",
            Self::Trying => "trying",
            Self::Rejected => "rejected",
            Self::Stored => "stored",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::ManagerState;

    #[test]
    fn requests_as_documented() {
        let cases = [
            (r#"{"v":1,"request":"status"}"#, ControlRequest::Status { workers: true }),
            (r#"{"v":1,"request":"status","workers":false}"#, ControlRequest::Status { workers: false }),
            (r#"{"v":1,"request":"ping"}"#, ControlRequest::Ping),
            (r#"{"v":1,"request":"output","pid":4711}"#, ControlRequest::Output { pid: 4711 }),
            (r#"{"v":1,"request":"events","follow":true}"#, ControlRequest::Events { follow: true }),
            (r#"{"v":1,"request":"events"}"#, ControlRequest::Events { follow: false }),
            (
                r#" { "request" : "status", "v" : 1, "of a later minor" : [] } "#,
                ControlRequest::Status { workers: true },
            ),
        ];
        for (line, request) in cases {
            assert_eq!(ControlRequest::parse(line.as_bytes()).as_ref(), Ok(&request), "{line}");
            assert_eq!(ControlRequest::parse(request.to_line().as_bytes()), Ok(request));
        }
    }

    #[test]
    fn what_is_no_request_is_answered_with_what_is() {
        let cases: [(&[u8], ErrorCode, &str); 11] = [
            (b"", ErrorCode::BadRequest, "no JSON"),
            (b"status", ErrorCode::BadRequest, "no JSON"),
            (b"\xff\0\x1b", ErrorCode::BadRequest, "no JSON"),
            (b"[1]", ErrorCode::BadRequest, "object with a version"),
            (br#"{"request":"status"}"#, ErrorCode::BadRequest, "object with a version"),
            (br#"{"v":1}"#, ErrorCode::BadRequest, r#"as in {"request":"ping","v":1}"#),
            (br#"{"v":1,"request":5}"#, ErrorCode::BadRequest, "does not say"),
            (br#"{"v":1,"request":"events","follow":"yes"}"#, ErrorCode::BadRequest, "expected a boolean"),
            (br#"{"v":1,"request":"retry","function":"a\nb"}"#, ErrorCode::BadRequest, "control character or a slash"),
            (
                br#"{"v":2,"request":"status"}"#,
                ErrorCode::Version,
                "speaks version 1 of the control protocol, not version 2",
            ),
            (br#"{"v":1,"request":"dance"}"#, ErrorCode::UnknownRequest, r#""dance", only status, ping, events"#),
        ];
        for (line, code, text) in cases {
            let refusal = ControlRequest::parse(line).unwrap_err();
            assert_eq!(refusal.code, code);
            assert!(refusal.text.contains(text), "{} has no {text}", refusal.text);
        }
        let deep = [b"[".repeat(60_000), b"]".repeat(60_000)].concat();
        assert_eq!(ControlRequest::parse(&deep).unwrap_err().code, ErrorCode::BadRequest);
    }

    #[test]
    fn replies_as_documented() {
        let refusal = RequestError::new(ErrorCode::TooLong, "too long");
        assert_eq!(
            Reply::Refused(refusal).to_line(),
            "{\"v\":1,\"error\":{\"code\":\"too_long\",\"text\":\"too long\"}}\n"
        );
        assert_eq!(ok_line(&json!({ "following": true })), "{\"v\":1,\"ok\":{\"following\":true}}\n");
        assert_eq!(serde_json::from_str::<ErrorCode>("\"of a later manager\"").unwrap(), ErrorCode::Other);
        for state in [ManagerState::Starting, ManagerState::Running, ManagerState::Draining] {
            assert_eq!(json!(state), state.label());
        }
    }
}
