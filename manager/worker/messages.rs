//! The messages between the manager and a worker.
//!
//! Both ends are from the same build (`/proc/self/exe`, or the worker program that was built with it), so the messages
//! carry no version. The manager still treats a worker's messages as untrusted, because a plugin can write to its
//! worker's descriptors.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::plugins::siblings::Sibling;

/// What a worker is started with. It is too long for a message, so it is passed in a memfd.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerConfig {
    /// Process id of the manager: a worker with another parent is an orphan.
    pub manager: i32,
    /// What to serve, in the order of CAN_DO.
    pub functions: Vec<WorkerFunction>,
    /// The order in which to load their libraries and make their objects: a permutation of the indices of `functions`.
    pub load_order: Vec<usize>,
    /// The job servers, to all of which it connects.
    pub servers: Vec<WorkerServer>,
    /// Its name, as `gearadmin --workers` shows it, without the process id that the worker adds.
    pub name: String,
    /// The host's name, also for `gearadmin --workers`.
    pub host: String,
    /// The number of this worker start.
    pub generation: u64,
    /// 0 to 5: which log records are wanted.
    pub verbosity: u8,
    /// How many workers there are: the first reconnects are spread over 1 ms per worker.
    pub siblings: u32,
    /// Whether it tries a new version: it holds one job at a time until it is promoted.
    pub is_canary: bool,
    /// Bounds of time and size.
    pub limits: WorkerLimits,
}

/// One function a worker serves.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerFunction {
    /// The name under which it is registered with the job servers.
    pub name: FunctionName,
    /// The symbol of its entry: the configured prefix and the name.
    pub symbol: String,
    /// Its library in the store.
    pub library: PathBuf,
    /// Its sibling libraries, in the store.
    pub beside: Vec<Sibling>,
    /// Other libraries that were loaded with it when it was probed (such as the system's), if known.
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

/// A worker's limits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct WorkerLimits {
    /// Jobs it may run; 0: any number.
    pub max_runs: u64,
    /// Resident bytes beyond which it asks to be replaced.
    pub max_memory: Option<u64>,
    /// Bytes of data beyond which it gets no more memory.
    pub max_memory_hard: Option<u64>,
    /// Jobs it may hold, the running one included.
    pub prefetch: u32,
    /// How long prefetched jobs may wait for the running one.
    pub prefetch_hold: Duration,
    /// How many shorter jobs in a row it must run before it holds more than one.
    pub prefetch_probation: u32,
    /// The largest packet taken or sent, in bytes.
    pub max_packet: u64,
    /// Time limit for a connection to be established, and again for the first answer.
    pub connect_timeout: Duration,
    /// How often to send an ECHO; zero for never.
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
    /// The version that it runs as a canary is promoted.
    Promote,
    /// Nothing. Reading it wakes the worker, which stamps its scoreboard.
    Ping,
    /// Other log records are wanted from now on.
    Verbosity(u8),
    /// Offer all functions but these from now on. Connections over which others were registered are drained and made
    /// again.
    Offer {
        /// Counts these commands to any worker.
        number: u64,
        /// Indices of functions in the configuration.
        left_out: Vec<usize>,
    },
    /// A job server's name now resolves to other addresses.
    Addresses {
        /// Index of the server in the configuration.
        server: usize,
        /// All its addresses.
        addresses: Vec<SocketAddr>,
    },
}

/// A message of a worker to the manager.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) enum WorkerMessage {
    /// It begins to load a function's library, which is to blame if the worker dies from now on.
    Loading {
        /// Index of the function in the configuration.
        function: usize,
    },
    /// It makes a function's object: its author's `new()` runs.
    Making {
        /// Index of the function in the configuration.
        function: usize,
    },
    /// It is close to its job limit: its replacement should be started.
    FewJobsLeft,
    /// It has reached its job limit: it takes no more jobs, and waits for the command to drain.
    NoJobsLeft,
    /// It exceeds its memory limit and must be replaced.
    MemoryLimitExceeded {
        /// Resident bytes.
        bytes: u64,
    },
    /// It exceeds its memory limit right after loading, so a replacement would, too.
    MemoryLimitExceededAtStart {
        /// Resident bytes.
        bytes: u64,
    },
    /// The function whose object it has just made never reads a setting that is configured.
    UnreadSetting {
        /// One sentence, which names the setting.
        text: String,
    },
    /// Its libraries are loaded and their objects made.
    Loaded,
    /// A library could not be loaded, or its object not made. The worker ends after it.
    CannotServe {
        /// Index of the function in the configuration.
        function: usize,
        /// One sentence.
        reason: String,
    },
    /// At least one job server has answered, and the others have had time to.
    Ready,
    /// It has carried out the command to activate: its functions are registered with every server that is up.
    Serving,
    /// A connection was made; its socket comes with the message.
    Connection {
        /// Counts the worker's connections from 1.
        number: u32,
        /// Index of the server in the configuration.
        server: usize,
    },
    /// A connection was closed: the manager no longer needs its copy of the socket.
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
        /// What was observed.
        reason: String,
    },
    /// A job server is still down for this worker: some more attempts have failed.
    ServerStillDown {
        /// Which server.
        server: usize,
        /// What was observed last.
        reason: String,
    },
    /// A job server accepts connections, and did not answer the greeting on one; sent each time.
    ServerUnresponsive {
        /// Which server.
        server: usize,
    },
    /// A job server had a job waiting when this worker, which slept, asked by itself: it had sent no NOOP.
    WakeUpLost {
        /// Which server.
        server: usize,
    },
    /// An answer to a job server has become pending, or is no longer pending.
    AnswerPending {
        /// Which server.
        server: usize,
        /// The job; `None` if no answer is pending any more.
        job: Option<WaitingJob>,
    },
    /// A job of a function failed: the reason is on the scoreboard. Sent now and then while jobs fail.
    JobFailed {
        /// Index of the function in the configuration.
        function: usize,
    },
    /// A line for the log.
    Log {
        /// As in the plugin interface, 1 (error) to 5 (trace); 0 for the worker's own lines at WORKER.
        level: u8,
        /// The job it belongs to.
        job: Option<JobName>,
        /// The text, already truncated.
        text: String,
    },
    /// How many lines were dropped because the manager did not read.
    Dropped {
        /// How many.
        lines: u64,
    },
    /// A process that the plugin forked has returned from the plugin, and exits. The process itself sends this.
    ForkedChildReturned {
        /// Its process id.
        child: u32,
        /// The job in which it was forked, if it was in one.
        job: Option<JobName>,
    },
    /// It has carried out the command to offer other functions, the last one of this number.
    Offering {
        /// The number of the command.
        number: u64,
    },
    /// It takes no more jobs. Sent again with the first job that arrives all the same.
    Draining {
        /// How many it has taken.
        jobs: u64,
    },
    /// All connections to job servers are closed; the process exits next.
    Disconnected,
}

/// A job that is done, but whose answer is pending.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WaitingJob {
    /// Index of the function in the configuration.
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

/// [`WorkerMessage::ForkedChildReturned`] from borrowed parts, written into the caller's buffer and nowhere else: a forked child of a
/// process with threads should not ask for memory. Without the job if that makes it too long. Returns its length.
pub(crate) fn encode_came_back(buffer: &mut [u8], child: u32, job: Option<(&str, &[u8])>) -> usize {
    #[derive(Serialize)]
    enum Borrowed<'a> {
        ForkedChildReturned { child: u32, job: Option<JobName<'a>> },
    }
    #[derive(Serialize)]
    struct JobName<'a> {
        function: &'a str,
        handle: &'a str,
    }
    let room = buffer.len();
    let mut write = |job| {
        let mut rest = &mut *buffer;
        serde_json::to_writer(&mut rest, &Borrowed::ForkedChildReturned { child, job }).ok().map(|()| room - rest.len())
    };
    let named = job.map(|(function, handle)| JobName { function, handle: std::str::from_utf8(handle).unwrap_or("?") });
    write(named).or_else(|| write(None)).unwrap_or(0)
}

/// Puts a message into bytes.
pub(crate) fn encode<T: Serialize>(message: &T) -> Vec<u8> {
    // Plain structs and maps with text keys cannot fail to become JSON.
    serde_json::to_vec(message).unwrap_or_default()
}

/// Parses a message.
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
            assert_eq!(message, WorkerMessage::ForkedChildReturned { child: 4711, job: expected });
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
