//! What happened to every job, as each process saw it: one line of JSON a record, in one file.
//!
//! Clients, plugins, the proxy and the chaos append to it, each record by one write to the end of the file: lines do not
//! mix, whoever dies.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

/// Microseconds since 1970.
pub type Time = u64;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// When.
    pub at: Time,
    /// What.
    #[serde(flatten)]
    pub record: Record,
}

/// What happened.
///
/// `sub` is the unique of a submission, JOB.ATTEMPT: a client whose connection breaks submits its job again, and a server
/// coalesces jobs with one unique.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum Record {
    /// A client is about to submit a job.
    Submitted { sub: String, server: usize, expected: Expected, background: bool, by: ClientKind },
    /// The server has answered with a handle.
    Accepted { sub: String },
    /// The server has given the job to a worker, over a connection through the proxy.
    Assigned { sub: String, connection: u64 },
    /// A connection through the proxy has begun.
    Opened { connection: u64, link: Link },
    /// A packet has passed the proxy: written down only with `LEDGER_WIRE=1`.
    Passed { connection: u64, from: Closer, packet: String },
    /// A connection through the proxy is over.
    Closed { connection: u64, link: Link, by: Closer },
    /// A plugin's function has begun.
    Started { sub: String, pid: i32, version: String, mood: String },
    /// Another run of the same job had not ended when this one began.
    Overlap { sub: String, pid: i32 },
    /// A plugin's function is about to return.
    Ended { sub: String, pid: i32, how: String },
    /// The client got the end of the job.
    Answered { sub: String, answer: Answer },
    /// The client's connection, opened at `since`, broke before that.
    Broken { sub: String, since: Time, why: String },
    /// Something was done to a process or to the network.
    Fault(Fault),
    /// A manager has started a worker.
    WorkerStarted { manager: usize, pid: i32, generation: u64 },
    /// A manager reported a worker's death: of what, and in which job.
    WorkerDied {
        manager: usize,
        pid: i32,
        generation: u64,
        sub: Option<String>,
        end: String,
        disposition: String,
        /// Whether `kill` had asked for the end of that job.
        on_request: bool,
    },
    /// A manager was asked for its status: how long it took, if it answered.
    Status { manager: usize, asked: Time, answered: bool },
}

/// A connection's two ends: who opened it, and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Link {
    /// Who.
    pub party: Party,
    /// Number of the server.
    pub server: usize,
}

/// Who opens connections to servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Party {
    /// All clients.
    Clients,
    /// The workers of a manager.
    Manager(usize),
}

/// Which client submits a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientKind {
    /// The test's, over a connection that it keeps.
    Own,
    /// The `gearman` program.
    Cli,
    /// php-gearman, which is libgearman below.
    Php,
    /// Gearman::Client.
    Perl,
}

/// Who ended a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Closer {
    /// The party.
    Party,
    /// The server.
    Server,
    /// The proxy, on purpose.
    Cut,
}

/// How a job should end if nothing happens to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Expected {
    /// With a result.
    Done,
    /// Its function fails.
    Fails,
    /// It ends its worker, or does not end in time.
    Dies,
}

/// The end of a job, as its client sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The result that belongs to the workload.
    Right,
    /// Another result.
    Wrong(String),
    /// The job failed; the warnings before that.
    Failed(String),
}

impl Answer {
    /// The job failed, after these warnings.
    pub fn failed(warnings: &[u8]) -> Self {
        Self::Failed(shown(warnings))
    }
}

/// The first bytes, as text.
pub fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(300)]).into_owned()
}

/// Something that was done on purpose.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fault", rename_all = "snake_case")]
pub enum Fault {
    /// SIGKILL to a job server.
    ServerKilled { server: usize },
    /// It serves again, with nothing of its queue.
    ServerStarted { server: usize },
    /// SIGSTOP to a job server.
    ServerStopped { server: usize },
    /// SIGCONT.
    ServerContinued { server: usize },
    /// SIGKILL to a manager.
    ManagerKilled { manager: usize },
    /// SIGTERM or SIGQUIT to a manager, whose workers finish their jobs.
    ManagerEnding { manager: usize },
    /// Another one answers `status` in its place.
    ManagerStarted { manager: usize },
    /// SIGSTOP to a manager.
    ManagerStopped { manager: usize },
    /// SIGCONT.
    ManagerContinued { manager: usize },
    /// A signal to a child of a manager's.
    ChildSignalled { manager: usize, pid: i32, signal: String },
    /// SIGSTOP to a worker, which nobody continues.
    WorkerFrozen { manager: usize, pid: i32 },
    /// A signal to the process that examines a dead worker.
    ExaminationSignalled { manager: usize, pid: i32, signal: String },
    /// A signal to the manager.
    ManagerSignalled { manager: usize, signal: String },
    /// The connections of a link are disturbed from now on: delayed, throttled, split or stalled.
    Disturbed { link: Link, how: String },
    /// They are not any more.
    Healed { link: Link },
    /// The connections of a link are ended.
    Cut { link: Link },
    /// Another library for a function.
    Deployed { manager: usize, function: String, version: String, mood: String },
    /// The library is taken away.
    Removed { manager: usize, function: String },
    /// Nothing can be written to the disk with a manager's state and log.
    DiskFilled { manager: usize },
    /// There is room again.
    DiskFreed { manager: usize },
    /// Names are asked for in vain.
    ResolverMuted,
    /// They are answered for again.
    ResolverAnswers,
    /// An earlier version is asked for.
    RolledBack { manager: usize, function: String, output: String },
    /// A job in quarantine is submitted again.
    Resubmitted { manager: usize, sub: String, output: String },
    /// Another command that changes what a manager does.
    Steered { manager: usize, command: String, output: String },
}

/// Where a process of the test writes its records.
#[derive(Debug)]
pub struct History(File);

impl History {
    /// The history in this file.
    pub fn open(path: &Path) -> Self {
        Self(OpenOptions::new().append(true).create(true).open(path).unwrap())
    }

    /// Writes down what happens now.
    pub fn write(&self, record: Record) {
        self.write_at(now(), record);
    }

    /// Writes down what happened then.
    pub fn write_at(&self, at: Time, record: Record) {
        let line = serde_json::to_string(&Entry { at, record }).unwrap() + "\n";
        (&self.0).write_all(line.as_bytes()).unwrap();
    }
}

/// Everything that was written, in the order of time.
///
/// # Panics
///
/// When a line is no record.
pub fn read(path: &Path) -> Vec<Entry> {
    let text = std::fs::read_to_string(path).unwrap();
    let entry = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("no record: {error}: {line}"));
    let mut all: Vec<Entry> = text.lines().map(entry).collect();
    all.sort_by_key(|entry| entry.at);
    all
}

/// The current time.
pub fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros().try_into().unwrap()
}
