//! The inputs and actions of the core: its only connection to the outside.

use std::net::SocketAddr;
use std::time::Duration;

use super::liveness::{LivenessRound, WorkerLiveness};
use super::lost_jobs::JobReply;
use super::queues::QueueReading;
use super::rollouts::CanaryCounts;
use crate::config::{Config, JobServerAddress};
use crate::control::AttemptsOf;
use crate::crash::record_id::RecordId;
use crate::crash::workload_hash::WorkloadHash;
use crate::gearman::admin::ServerVersion;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::identity::FileIdentity;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::{Candidate, ScanResult};
use crate::plugins::siblings::SiblingPlace;
use crate::plugins::version_records::Pin;
use crate::supervisor::catalog::{CheckedVersion, ProbeFailure};
use crate::supervisor::event::{Death, Event};
use crate::supervisor::exit_cause::{ExitCause, JobInHand};
use crate::supervisor::job_disposition::JobKey;
use crate::supervisor::job_failures::FailureReading;
use crate::supervisor::out_of_memory::OutOfMemory;
use crate::supervisor::pause_records::{Pause, Pauses};
use crate::supervisor::reconcile::WorkerId;
use crate::system::reap::ExitStatus;
use crate::worker::messages::WorkerMessage;

/// Everything that can happen to the manager.
#[derive(Debug)]
pub(crate) enum Input {
    /// The worker directories were read.
    Scanned(ScanResult),
    /// The paths where a library's siblings are looked for, as found by its probe.
    SiblingPlaces {
        /// Its function.
        function: FunctionName,
        /// The file as it was found.
        identity: FileIdentity,
        /// The paths, and what was there.
        beside: Vec<SiblingPlace>,
    },
    /// A probe is over.
    Probed {
        /// Its function.
        function: FunctionName,
        /// The file as it was found.
        identity: FileIdentity,
        /// The stored version, or why there is none.
        result: Result<CheckedVersion, ProbeFailure>,
    },
    /// A job server's name was looked up.
    Resolved {
        /// Which server.
        server: usize,
        /// Its addresses, or one sentence.
        result: Result<Vec<SocketAddr>, String>,
    },
    /// A job server was asked for its version.
    Version {
        /// Which server.
        server: usize,
        /// Its version; `None` if it sends none.
        version: Option<ServerVersion>,
    },
    /// A worker's process was started.
    Spawned {
        /// Which worker.
        worker: WorkerId,
        /// Its process.
        pid: i32,
    },
    /// A worker's process could not be started.
    SpawnFailed {
        /// Which worker.
        worker: WorkerId,
        /// The system's error.
        reason: String,
    },
    /// A worker was not started, because a stored library that it needs is gone or was changed.
    LibraryLost {
        /// Which worker.
        worker: WorkerId,
        /// The library's function.
        function: FunctionName,
    },
    /// A worker sent a message.
    Message {
        /// Which worker.
        worker: WorkerId,
        /// What.
        message: WorkerMessage,
    },
    /// A worker's process was reaped; all its messages were read before.
    Ended {
        /// Which worker.
        worker: WorkerId,
        /// How it ended, and what it was doing.
        exit_report: ExitReport,
    },
    /// A signal, or a request over the control socket, to stop.
    Stop {
        /// Its name.
        by: &'static str,
    },
    /// The re-scan of the worker directories is due.
    Rescan,
    /// Something changed in the worker directories.
    Changed,
    /// What a canary has done so far.
    Counted(CanaryCounts),
    /// A worker's scoreboard was read.
    ScoreboardRead(ScoreboardReading),
    /// What [`Core::liveness_due`](super::Core::liveness_due) names was read.
    LivenessRead(LivenessRound, Vec<WorkerLiveness>),
    /// The counters of a function of [`Core::failures_to_read`](super::Core::failures_to_read) were read.
    FailuresRead(FailureReading),
    /// A job server has listed its queues; `None` if it did not.
    QueuesRead {
        /// Which server.
        server: usize,
        /// Those of our functions that it knows.
        readings: Option<Vec<QueueReading>>,
    },
    /// A job is to get all its attempts again.
    ClearAttempts(AttemptsOf),
    /// `retry` was requested for a function.
    Retry {
        /// Its function.
        function: FunctionName,
        /// Who asks for it.
        asked: RequestOrigin,
    },
    /// A rollback was requested: an earlier version is to be served until the content of worker_dir changes.
    Rollback {
        /// Its function.
        function: FunctionName,
        /// Which.
        version: CheckedVersion,
        /// Who asks for it.
        asked: RequestOrigin,
    },
    /// The configuration was reloaded. The effects have it already.
    Reload(Box<Config>, ReloadRequests),
    /// A command asks for something.
    Request {
        /// The number of the request.
        request: u64,
        /// What.
        order: Order,
    },
    /// Time has passed, so something may be due.
    Timer {
        /// Everything from the workers of [`Core::workers_to_read`](super::Core::workers_to_read) up to then was read.
        read: Duration,
    },
}

impl Input {
    /// Whether it changes only one worker. Anything else that it affects is marked as changed separately.
    pub(super) fn is_of_one_worker(&self) -> bool {
        matches!(
            self,
            Self::Spawned { .. }
                | Self::SpawnFailed { .. }
                | Self::LibraryLost { .. }
                | Self::Message { .. }
                | Self::Ended { .. }
                | Self::ScoreboardRead(_)
                | Self::FailuresRead(_)
                | Self::ClearAttempts(_)
                | Self::QueuesRead { .. }
                | Self::Version { .. }
        )
    }
}

/// The numbers of the requests that asked for a reload.
pub(crate) type ReloadRequests = Vec<u64>;

/// What a command asks for, checked: it is known to be possible.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Order {
    /// Replace the workers of a function, or all of them.
    Restart(Option<FunctionName>),
    /// End a job.
    EndJob {
        /// The worker's process.
        pid: i32,
        /// The job, as it was read from the worker's scoreboard.
        seen: ScoreboardReading,
    },
    /// Have no worker take jobs of a function.
    Pause {
        /// The function.
        function: FunctionName,
        /// Who asks, and when.
        pause: Pause,
        /// Whether to wait until none of its jobs runs.
        drains: bool,
    },
    /// Have workers take jobs of a paused function again.
    Resume(FunctionName),
    /// Have this many workers serve a function, until the next reload.
    Scale(FunctionName, u32),
}

impl Order {
    /// The command that asks for it.
    pub(crate) fn command(&self) -> &'static str {
        match self {
            Self::Restart(_) => "restart",
            Self::EndJob { .. } => "kill",
            Self::Pause { drains: true, .. } => "drain",
            Self::Pause { drains: false, .. } => "pause",
            Self::Resume(_) => "resume",
            Self::Scale(..) => "scale",
        }
    }

    /// To what the command applies.
    pub(crate) fn target(&self) -> String {
        match self {
            Self::Restart(None) => "all".into(),
            Self::EndJob { pid, .. } => pid.to_string(),
            Self::Restart(Some(function)) | Self::Pause { function, .. } | Self::Resume(function) => {
                function.to_string()
            }
            Self::Scale(function, workers) => format!("{function} {workers}"),
        }
    }
}

/// Who asked for a rollback or a retry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestOrigin {
    /// Counts these requests: the event that ends one names it.
    pub request: u64,
    /// The user.
    pub uid: u32,
}

/// What is known of a worker that ended.
#[derive(Debug, Clone)]
pub(crate) struct ExitReport {
    /// Its process.
    pub pid: i32,
    /// How the process ended.
    pub end: ExitStatus,
    /// Index of the lost job's server in the worker's configuration, if known.
    pub server: Option<usize>,
    /// What it was doing, from its scoreboard.
    pub exit_cause: ExitCause,
    /// An earlier answer may have been half sent to another job server.
    pub cut_another: bool,
    /// Jobs it had run.
    pub jobs: u64,
    /// Whether they include the job in hand, of which only the answer was not sent.
    pub is_counted: bool,
    /// Its peak memory, in KiB.
    pub peak_kib: u64,
    /// It got no more memory, as far as that is known.
    pub out_of_memory: Option<OutOfMemory>,
    /// The hash of the lost job's workload, if it was saved and its client has not named the job.
    pub workload: Option<WorkloadHash>,
    /// Completed jobs of the lost job's function, in all workers so far.
    pub completed: u64,
    /// The id of its crash report, if it is to get one.
    pub report: Option<RecordId>,
}

/// What was read from a worker's scoreboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ScoreboardReading {
    /// Which worker.
    pub worker: WorkerId,
    /// Its job, if it runs one.
    pub job: Option<JobInHand>,
    /// Index of the job's server in the worker's configuration, if known.
    pub server: Option<usize>,
    /// The scoreboard holds values that no worker writes, so the worker may have any job, or none.
    pub overwritten: bool,
}

/// What the manager does.
#[derive(Debug, PartialEq)]
pub(crate) enum Action {
    /// Read the worker directories.
    Scan,
    /// Probe a file.
    Probe(Candidate),
    /// Probe a file again that failed for a transient reason and has not changed. Other probes go first.
    ProbeAgain(Candidate),
    /// Look a job server's name up.
    Resolve {
        /// Which server.
        server: usize,
        /// Its name and port.
        host: JobServerAddress,
    },
    /// Ask a job server for its version.
    AskVersion {
        /// Which server.
        server: usize,
        /// Its addresses, to be tried in turn.
        addresses: Vec<SocketAddr>,
    },
    /// Start a worker.
    Start(WorkerStart),
    /// Send a worker the command to connect.
    Connect(WorkerId),
    /// Send a worker the command to take jobs.
    Activate(WorkerId),
    /// Send a worker the command to drain.
    Drain(WorkerId),
    /// Make a canary an ordinary worker.
    Promote(WorkerId),
    /// Send a worker the command that wakes it, so that it shows that it responds.
    Ping(WorkerId),
    /// Send a worker the addresses of a job server.
    Addresses(WorkerId, usize, Vec<SocketAddr>),
    /// Send SIGTERM to a worker whose job is past its timeout, and to its process group. Where the job is, is saved
    /// before.
    TerminateOverdue(WorkerId),
    /// Kill a worker and its process group.
    Kill(WorkerId),
    /// Close the connections of a worker that has exited, after sending the answer if there is one, so that its job is
    /// requeued.
    Release {
        /// Which worker.
        worker: WorkerId,
        /// For the job it had in hand.
        answer: Option<JobReply>,
    },
    /// Deny a job: a worker that receives it fails it.
    Deny {
        /// The job server's name.
        server: String,
        /// Which job.
        job: JobKey,
        /// What its caller gets.
        reason: String,
    },
    /// Deny a job no more.
    Allow {
        /// The job server's name.
        server: String,
        /// Which job.
        job: JobKey,
    },
    /// Drop what the deny list has for a job server, because it may have reused its handles.
    ForgetDenied {
        /// Its name.
        server: String,
    },
    /// Record that a version is good.
    SetLastGood {
        /// Its function.
        function: FunctionName,
        /// Which.
        version: CheckedVersion,
    },
    /// Record that a version was rejected.
    Reject {
        /// Its function.
        function: FunctionName,
        /// Which.
        hash: ShortHash,
        /// Why.
        reason: String,
    },
    /// Forget a function that was removed, and delete its libraries from the store.
    Forget {
        /// Which.
        function: FunctionName,
    },
    /// Forget that a version was rejected.
    ClearRejection {
        /// Its function.
        function: FunctionName,
        /// Its hash.
        hash: ShortHash,
    },
    /// Record that a function is pinned to an earlier version although worker_dir holds another; `None` removes the
    /// pin.
    Pin {
        /// The function.
        function: FunctionName,
        /// The version that is served, and the content of worker_dir.
        pin: Option<Pin>,
    },
    /// Find out where a worker was when it died, and write its crash report, if its death has one. To be done before its
    /// connections end.
    Examine {
        /// Which worker.
        worker: WorkerId,
        /// Its death.
        death: Box<Death>,
        /// The name of the job server whose job it had in hand.
        server: Option<String>,
        /// The job has cost as many workers as it may, and is to be kept.
        quarantines: bool,
    },
    /// Have a worker offer all its functions but these, by their indices.
    Offer {
        /// Which.
        worker: WorkerId,
        /// Counts these commands.
        number: u64,
        /// The functions.
        left_out: Vec<usize>,
    },
    /// Record which functions are paused.
    SavePauses(Pauses),
    /// Log an event and send it to followers.
    ReportEvent(Event),
    /// Log what each remaining worker is doing.
    TellAwaited,
    /// Report to the caller that started the manager that it serves, with a note.
    Announce(Option<String>),
    /// Report to the caller that started the manager why it does not serve, and exit with this code.
    Fail(u8, String),
    /// The manager is finished.
    Finish,
}

/// A worker to start.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct WorkerStart {
    /// Its name.
    pub worker: WorkerId,
    /// What it serves: name, version; in the order of CAN_DO.
    pub functions: Vec<(FunctionName, CheckedVersion)>,
    /// In which order they are loaded: places in `functions`, each once.
    pub load_order: Vec<usize>,
    /// Whether it serves one function only.
    pub dedicated: bool,
    /// Whether it tries a new version of a function.
    pub is_canary: bool,
    /// The number of this start.
    pub generation: u64,
    /// How many workers are planned in all.
    pub siblings: u32,
    /// The job servers: name and addresses of each.
    pub servers: Vec<(String, Vec<SocketAddr>)>,
}
