//! The messages between the manager and a worker.
//!
//! Both ends are of one build (`/proc/self/exe`, or the worker program that was built with it), so the messages carry no
//! version. What a worker sends is hostile input to the manager all the same: a plugin can write to its worker's
//! descriptors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::plugins::siblings::Sibling;

/// What a worker is started with; too long for a message, so it comes in a memfd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerConfig {
    /// Process id of the manager: a worker with another parent is an orphan.
    pub manager: i32,
    /// What to serve, in the order of CAN_DO.
    pub functions: Vec<WorkerFunction>,
    /// In which order their libraries are loaded and their objects made: places in `functions`, each once.
    pub load_order: Vec<usize>,
    /// The job servers, all of which are served.
    pub servers: Vec<WorkerServer>,
    /// How it is to be called: what `gearadmin --workers` shows, less the process id that the worker adds.
    pub name: String,
    /// The host's name, for the same.
    pub host: String,
    /// Counts the starts of workers.
    pub generation: u64,
    /// 0 to 5: which log records are wanted.
    pub verbosity: u8,
    /// How many workers there are: a first reconnect is spread over 1 ms for each.
    pub siblings: u32,
    /// Whether it tries a new version: it holds one job at a time until it is promoted.
    pub is_canary: bool,
    /// Bounds of time and size.
    pub limits: WorkerLimits,
}

/// One function a worker serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerFunction {
    /// Its name with the job servers.
    pub name: FunctionName,
    /// The symbol of its entry: the configured prefix and the name.
    pub symbol: String,
    /// Its library in the store.
    pub library: PathBuf,
    /// The libraries that it brings along.
    pub beside: Vec<Sibling>,
    /// The libraries that were loaded with it from elsewhere when it was probed, where that is known.
    pub elsewhere: Vec<String>,
    /// First 12 hexadecimal digits of the library's hash.
    pub version: ShortHash,
    /// The `setting.*` keys of its section.
    pub settings: BTreeMap<String, String>,
}

/// One job server.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerServer {
    /// As configured, HOST:PORT: what messages call it.
    pub name: String,
    /// What the name resolved to; tried in turn. Empty while it does not resolve.
    pub addresses: Vec<SocketAddr>,
}

/// Bounds a worker keeps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerLimits {
    /// Jobs it may run; 0: any number.
    pub max_runs: u64,
    /// Resident bytes beyond which it wants to be replaced.
    pub max_memory: Option<u64>,
    /// Bytes of data beyond which it gets no more memory.
    pub max_memory_hard: Option<u64>,
    /// Jobs it may hold, the running one included.
    pub prefetch: u32,
    /// How long the others may wait for a job.
    pub prefetch_hold: Duration,
    /// Shorter jobs in a row before it holds more than one.
    pub prefetch_probation: u32,
    /// The largest packet taken or sent, in bytes.
    pub max_packet: u64,
    /// For a connection to be made, and again for its first answer.
    pub connect_timeout: Duration,
    /// How often a connection is proved; zero for never.
    pub echo_interval: Duration,
    /// How long an answer to that may take.
    pub echo_timeout: Duration,
    /// For the last ECHO, and for destructors.
    pub stop_timeout: Duration,
    /// How long an orphan may finish its job.
    pub grace: Duration,
    /// The most that is saved of a workload in a crash, in bytes.
    pub crash_workload_max: u64,
}

/// A command of the manager to a worker.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum Command {
    /// Connect to the job servers: not too many workers do so at the same time.
    Connect,
    /// Register the functions and take jobs.
    Activate,
    /// Take no more jobs, finish those in hand, exit.
    Drain,
    /// The version that it tried is good.
    Promote,
    /// Other log records are wanted from now on.
    Verbosity(u8),
    /// A job server's name resolves to something else now.
    Addresses {
        /// Which server, counted as in the configuration.
        server: usize,
        /// All its addresses.
        addresses: Vec<SocketAddr>,
    },
}

/// A message of a worker to the manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WorkerMessage {
    /// It begins to load a function's library: what ends it from now on is that library's doing.
    Loading {
        /// Which function, counted as in the configuration.
        function: usize,
    },
    /// It makes a function's object: its author's `new()` runs.
    Making {
        /// Which function, counted as in the configuration.
        function: usize,
    },
    /// It has so few jobs left of those it may run that its successor should be ready.
    FewJobsLeft,
    /// It has none left: it takes no more, and waits for the command to drain.
    NoJobsLeft,
    /// It takes more memory than it may, and has to be replaced.
    MemoryLimitExceeded {
        /// Resident bytes.
        bytes: u64,
    },
    /// It does so although it has just been loaded: another one would, too.
    MemoryLimitExceededAtStart {
        /// Resident bytes.
        bytes: u64,
    },
    /// The function it has just made reads no such setting.
    UnreadSetting {
        /// One sentence, which names the setting.
        text: String,
    },
    /// Its libraries are loaded and their objects made.
    Loaded,
    /// A library could not be loaded, or its object not made. The worker ends after it.
    CannotServe {
        /// Which function, counted as in the configuration.
        function: usize,
        /// One sentence.
        reason: String,
    },
    /// At least one job server has answered, and the others had their moment.
    Ready,
    /// It took the command to activate: functions are registered wherever a server is up.
    Serving,
    /// A connection was made; its socket comes with the message.
    Connection {
        /// Counts the worker's connections from 1.
        number: u32,
        /// Which server, counted as in the configuration.
        server: usize,
    },
    /// A connection is over: the manager's copy of its socket has no use any more.
    Disconnection {
        /// The number its [`WorkerMessage::Connection`] had.
        number: u32,
    },
    /// A job server answers.
    ServerUp {
        /// Which server.
        server: usize,
    },
    /// A job server does not answer, or no longer; sent once until it does again.
    ServerDown {
        /// Which server.
        server: usize,
        /// What was seen.
        reason: String,
    },
    /// A job server accepts connections, and did not answer the greeting on one; sent each time.
    ServerUnresponsive {
        /// Which server.
        server: usize,
    },
    /// An answer waits for room in the connection to a job server, or does not any more.
    AnswerPending {
        /// Which server.
        server: usize,
        /// Of which job; none where nothing waits any more.
        job: Option<WaitingJob>,
    },
    /// A job of a function failed: the reason is on the scoreboard. Sent now and then while jobs fail.
    JobFailed {
        /// Which function, counted as in the configuration.
        function: usize,
    },
    /// A line for the log.
    Log {
        /// As in the plugin interface, 1 (error) to 5 (trace); 0 for the worker's own lines at WORKER.
        level: u8,
        /// The job it belongs to.
        job: Option<JobName>,
        /// The text; already cut.
        text: String,
    },
    /// Lines that were not sent since the manager did not read.
    Dropped {
        /// How many.
        lines: u64,
    },
    /// A process that the plugin had forked returned from it, and has ended. The process itself sends this.
    ForkCameBack {
        /// Its process id.
        child: u32,
        /// The job in which it was forked, where it was in one.
        job: Option<JobName>,
    },
    /// It takes no more jobs. Sent again with the first job that arrives all the same.
    Draining {
        /// How many it has taken.
        jobs: u64,
    },
    /// All job servers have been taken leave of; the process ends next.
    Disconnected,
}

/// A job that is done, whose answer waits for room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingJob {
    /// Which function, counted as in the configuration.
    pub function: usize,
    /// As the job server gave it.
    pub handle: Vec<u8>,
    /// As text.
    pub unique: String,
}

/// Which job a line is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobName {
    /// The function's name.
    pub function: String,
    /// The job's handle, as text.
    pub handle: String,
}

/// [`WorkerMessage::ForkCameBack`] from borrowed parts, written where it fits and nowhere else: a forked child of a
/// process with threads should not ask for memory. Without the job where that makes it too long. Returns its length.
pub(crate) fn encode_came_back(buffer: &mut [u8], child: u32, job: Option<(&str, &[u8])>) -> usize {
    #[derive(Serialize)]
    enum Borrowed<'a> {
        ForkCameBack { child: u32, job: Option<JobName<'a>> },
    }
    #[derive(Serialize)]
    struct JobName<'a> {
        function: &'a str,
        handle: &'a str,
    }
    let room = buffer.len();
    let mut write = |job| {
        let mut rest = &mut *buffer;
        serde_json::to_writer(&mut rest, &Borrowed::ForkCameBack { child, job }).ok().map(|()| room - rest.len())
    };
    let named = job.map(|(function, handle)| JobName { function, handle: std::str::from_utf8(handle).unwrap_or("?") });
    write(named).or_else(|| write(None)).unwrap_or(0)
}

/// Puts a message into bytes.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Plain structs and maps with text keys cannot fail to become JSON.
    serde_json::to_vec(message).unwrap_or_default()
}

/// Reads a message back.
///
/// # Errors
/// The error of serde_json.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, serde_json::Error> {
    serde_json::from_slice(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_returned_sends_the_same_encoding_as_any_message() {
        let job = |function: &str, handle: &str| JobName { function: function.into(), handle: handle.into() };
        let long = "f".repeat(200);
        for (given, expected) in [
            (None, None),
            (Some(("act", &b"H:a\"b:1"[..])), Some(job("act", "H:a\"b:1"))),
            (Some(("act", b"H:\xff")), Some(job("act", "?"))),
            (Some((long.as_str(), b"H:1")), None),
        ] {
            let mut buffer = [0; 200];
            let length = encode_came_back(&mut buffer, 4711, given);
            let message = decode::<WorkerMessage>(&buffer[..length]).unwrap();
            assert_eq!(message, WorkerMessage::ForkCameBack { child: 4711, job: expected });
        }
        assert_eq!(encode_came_back(&mut [0; 8], 4711, None), 0);
    }

    #[test]
    fn messages_come_back_as_they_went() {
        for message in [
            WorkerMessage::Loaded,
            WorkerMessage::Connection { number: 3, server: 1 },
            WorkerMessage::CannotServe { function: 0, reason: "new() failed: no such table".into() },
            WorkerMessage::Log {
                level: 3,
                job: Some(JobName { function: "f".into(), handle: "H:1".into() }),
                text: "x\n".into(),
            },
        ] {
            assert_eq!(decode::<WorkerMessage>(&encode(&message)).unwrap(), message);
        }
        let command = Command::Addresses { server: 0, addresses: vec!["[::1]:4730".parse().unwrap()] };
        assert_eq!(decode::<Command>(&encode(&command)).unwrap(), command);
        assert!(decode::<Command>(b"\xff\x00garbage").is_err());
    }
}
