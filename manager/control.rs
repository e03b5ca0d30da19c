//! The control socket: how commands on the same machine ask a running manager.
//!
//! A connection carries JSON, one object a line, each with the version `v` of the protocol:
//!
//! ```text
//! -> {"v":1,"request":"status","workers":true}
//! <- {"v":1,"ok":{"version":"0.1.0","pid":4711,...}}
//! -> {"v":1,"request":"events","follow":true}
//! <- {"v":1,"ok":{"following":true}}
//! <- {"v":1,"event":{"time":"...","level":"PROC","pid":4712,"text":"...",...}}     (and so on)
//! <- {"v":1,"error":{"code":"unknown_request","text":"..."}}
//! ```
//!
//! [`ControlServer`] runs on the manager's runtime and passes requests to its loop as [`PendingRequest`]; [`Feed`]
//! carries events to followers; [`ControlClient`] is blocking, for commands. Nothing that a client does or fails to do
//! delays the manager.
//!
//! Invariant: on the first socket a user other than root and the one the manager runs as gets one refusal and nothing
//! else. A second one, where a group is configured, answers its members, and refuses whatever does not only read.

mod access;
mod client;
mod connection;
mod failures;
mod feed;
mod function_status;
mod messages;
mod other_users;
mod queue_status;
mod requester;
#[cfg(test)]
mod sample;
mod server;
mod server_status;
mod socket;
mod status;
mod worker_status;

use std::time::Duration;

pub use access::Access;
pub(crate) use access::read_only_socket;
pub use client::{ClientError, ControlClient, Events};
pub use failures::{FailedReloadStatus, FailureRateStatus, LastFailureStatus};
pub use feed::{EventLine, Feed};
pub use function_status::{FunctionState, FunctionStatus, LastMinuteStatus, RunTimeStatus, RunningJobStatus};
pub use messages::{
    AcceptedReply, AttemptsOf, CalledOffFile, ControlRequest, ErrorCode, JoinedRollback, PrintedLine, Reply,
    RequestError, RollbackReply, VersionState, VersionStatus,
};
pub(crate) use other_users::listening_sockets;
pub use queue_status::{QueueStatus, QueuesAnswer, ServerQueues};
pub use requester::Requester;
pub use server::{ControlServer, PendingRequest};
pub use server_status::{JobServerState, JobServerStatus};
pub use socket::{BindError, ControlListener};
pub use status::{ManagerState, RefusedFile, STATUS_SCHEMA, StatusReply};
pub use worker_status::{WorkerCondition, WorkerCounts, WorkerStatus};

#[cfg(test)]
pub(crate) use sample::sample_status;

/// The version of the protocol, `v` in each message.
pub const PROTOCOL: u32 = 1;

/// The socket's name in the state directory.
pub const SOCKET_NAME: &str = "control.sock";

/// How long a request may take to arrive, the manager to answer it, and the client to read the answer.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The longest request, in bytes.
pub const MAX_REQUEST: usize = 64 * 1024;

/// The most connections at a time; further clients are asked to try again.
pub const MAX_CONNECTIONS: usize = 64;

/// The same for the read-only socket.
pub const MAX_READ_ONLY_CONNECTIONS: usize = 16;
