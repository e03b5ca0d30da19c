//! Everything that the manager reports, as one type, from which come the log line, the JSON of `gm-native events`, and
//! the conditions that tests wait for.

mod death;
mod examined;
mod jobs;
mod level;
mod line;
mod queues;
mod requests;
mod unresponsive;

use std::time::Duration;

use serde::Serialize;

use super::rollback::PendingFile;
use super::worker_state::ExitReason;
use crate::plan::ExcludedFunction;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

pub(crate) use death::{Death, DeathContext, LIBRARY_EXITED};
pub(crate) use examined::ExaminedWorker;
pub(crate) use jobs::{AwaitedJob, EndingJob, FailingFunction, QuarantineEvent, RecoveredFunction};
pub(crate) use line::{counted, serving, several};
pub(crate) use queues::{GrowingQueue, QueueCondition, RecoveredQueue, UnservedFunction, UntakenJobs, are, wait};
pub(crate) use requests::{EndedRequest, PausedFunction, ReceivedRequest, ServedVersion};
pub(crate) use unresponsive::UnresponsiveWorker;

/// Why a function with a library in Go shares no process.
pub(crate) const WITH_GO: &str = "its library brings Go's runtime along, and a process can have only one";

/// What happened.
///
/// A pid and a text are not serialized here: [`EventLine`](crate::control::EventLine) has them, and JSON objects must
/// not have duplicate keys.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub(crate) enum Event {
    /// The manager starts.
    Starting {
        /// gm-native's version and revision.
        version: String,
        /// Its name: config file and hash.
        instance: String,
        /// Where versions, lock and control socket are.
        state_dir: String,
    },
    /// The manager that used the state directory last did not stop: it was killed or crashed, or the machine did.
    EarlierManagerDied {
        /// Its pid.
        earlier_pid: u32,
        /// How long its workers may go on, in seconds.
        grace: f64,
    },
    /// Every planned worker is loaded.
    Started {
        /// Workers.
        workers: usize,
        /// Functions.
        functions: usize,
        /// From the manager's start, in seconds.
        seconds: f64,
    },
    /// Something in the configuration that works but is probably a mistake.
    ConfigWarning {
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
    /// A file in worker_dir whose name or kind is not that of a library.
    FileSkipped {
        /// Whether its name is that of a library for a function that has none.
        #[serde(skip)]
        leaves_unserved: bool,
        /// Where.
        path: String,
        /// Why; follows the path.
        reason: String,
    },
    /// Two files for one function, or a directory named twice.
    FileWarning {
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
    /// A worker_dir cannot be read; the functions it held are still served.
    DirectoryFailed {
        /// Which.
        path: String,
        /// Why: a clause that names it.
        reason: String,
    },
    /// A worker_dir holds no library any more. Several functions stay in service until one is back; a single one is
    /// removed.
    DirectoryEmptied {
        /// Which.
        path: String,
        /// How long a single one stays in service, in seconds.
        seconds: Option<f64>,
    },
    /// A library that cannot be used.
    LibraryRefused {
        /// Its function.
        function: FunctionName,
        /// Where it is.
        path: String,
        /// One sentence.
        reason: String,
        /// The version that stays in service, if there is one.
        serving: Option<ShortHash>,
        /// After how many seconds it is probed again unchanged, if the reason may pass.
        again: Option<f64>,
        /// Another library was refused for the same cause, which lies outside of both.
        #[serde(skip)]
        is_repeated: bool,
    },
    /// A library was checked and stored.
    FunctionFound {
        /// Its function.
        function: FunctionName,
        /// First 12 hexadecimal digits of its hash.
        version: ShortHash,
        /// Version of its crate.
        crate_version: String,
        /// Where it was found.
        path: String,
        /// The version before, if there was one.
        replaces: Option<ShortHash>,
    },
    /// A library works, but there is a note for its author.
    LibraryWarning {
        /// Its function.
        function: FunctionName,
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
    /// A worker exceeds `max_memory`; it is replaced.
    MemoryLimitExceeded {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<FunctionName>,
        /// Its resident memory, in MiB.
        mib: u64,
    },
    /// No job server answers a worker, although they answer others; it is replaced.
    WorkerCutOff {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<FunctionName>,
        /// One of them, as configured.
        server: String,
        /// Workers that this one answers.
        workers_connected: usize,
        /// What the worker saw last.
        reason: String,
    },
    /// Workers exceed `max_memory` as soon as they have loaded their functions; replacing them would not help.
    MemoryLimitTooLow {
        /// What they serve.
        functions: Vec<FunctionName>,
        /// Resident memory of the first such worker, in MiB.
        mib: u64,
        /// `max_memory`, in MiB.
        max_mib: u64,
    },
    /// A job is past its timeout.
    JobOverdue {
        /// The job.
        #[serde(flatten)]
        job: EndingJob,
        /// How long it may run, in seconds.
        timeout: f64,
    },
    /// A worker has no job and does not respond.
    WorkerUnresponsive(UnresponsiveWorker),
    /// A job is to end, on request.
    JobEnding(EndingJob),
    /// A job that has killed as many workers as it may is kept.
    JobQuarantined(QuarantineEvent),
    /// Jobs of a function fail: failures began, their reason changed, or there are far more of them.
    FunctionFailing(FailingFunction),
    /// No job of a function has failed for a while, and jobs have completed since.
    FunctionRecovered(RecoveredFunction),
    /// The canary of a new version starts.
    RolloutStarted {
        /// The function.
        function: FunctionName,
        /// The version that is served.
        from: ShortHash,
        /// The new one.
        to: ShortHash,
        /// Whether it is tried with jobs, or only has to start.
        has_canary: bool,
    },
    /// A new version is promoted: it replaces the old one, worker by worker.
    RolloutPromoted {
        /// The function.
        function: FunctionName,
        /// The new version.
        version: ShortHash,
        /// Jobs its canary ran.
        jobs: u64,
        /// How long its canary served, in seconds.
        seconds: f64,
        /// Whether it was tried with jobs, or only had to start.
        has_canary: bool,
    },
    /// A new version is rejected: it is not tried again until the content of its file changes.
    RolloutStopped {
        /// The function.
        function: FunctionName,
        /// The bad version.
        version: ShortHash,
        /// What happened.
        reason: String,
        /// The version that stays in service.
        serving: ShortHash,
        /// The command that tries it again.
        #[serde(skip)]
        retry: String,
    },
    /// A job that had already killed another version killed the canary: the version is still tried.
    CanaryContinued {
        /// The function.
        function: FunctionName,
        /// The new version.
        version: ShortHash,
        /// The job's handle.
        handle: String,
        /// The job's unique id.
        unique: String,
        /// The version that the job had killed.
        killed: ShortHash,
    },
    /// A canary was abandoned, because another version was asked for in the meantime.
    RolloutWithdrawn {
        /// The function.
        function: FunctionName,
        /// The version that is not tried any more.
        version: ShortHash,
        /// The version that stays in service, if the function still exists.
        serving: Option<ShortHash>,
    },
    /// The last worker with an old version has exited.
    RolloutFinished {
        /// The function.
        function: FunctionName,
        /// The version that every worker now runs.
        version: ShortHash,
        /// Since the promotion, in seconds.
        seconds: f64,
    },
    /// A rollback: an earlier version is served on request.
    RolledBack {
        /// The function.
        function: FunctionName,
        /// The number of the request: the event that ends the rollback has it, too.
        request: u64,
        /// The version.
        version: ShortHash,
        /// The version that was served until then.
        from: Option<ShortHash>,
        /// The newer file that the rollback cancelled.
        called_off: Option<PendingFile>,
    },
    /// Every planned worker serves the version that a function was rolled back to.
    RollbackFinished(ServedVersion),
    /// The version that a function was rolled back to is not served, or no longer wanted.
    RollbackFailed {
        /// The function.
        function: FunctionName,
        /// The number of the request.
        request: u64,
        /// The version.
        version: ShortHash,
        /// Why.
        reason: String,
    },
    /// Every planned worker serves what a function's file holds, after a retry.
    RetryFinished(ServedVersion),
    /// What a function's file holds is not served, although it was tried again.
    RetryFailed {
        /// The function.
        function: FunctionName,
        /// The number of the request.
        request: u64,
        /// Why.
        reason: String,
    },
    /// A library was removed: its workers drain.
    FunctionRemoved {
        /// Its function.
        function: FunctionName,
        /// Where it was.
        path: String,
        /// Whether a reload took its directory out of the configuration, or it was not served.
        #[serde(skip)]
        is_expected: bool,
    },
    /// worker_dir holds no library, or none that can be served.
    NothingToServe {
        /// The directories.
        dirs: String,
        /// Whether there is none at all.
        is_empty: bool,
    },
    /// A worker process was started.
    WorkerStarted {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it is for.
        functions: Vec<FunctionName>,
        /// Counts the starts of workers.
        generation: u64,
    },
    /// No process could be started.
    SpawnFailed {
        /// What it was for.
        functions: Vec<FunctionName>,
        /// The system's error.
        reason: String,
    },
    /// A worker cannot serve a library: it does not load there, or its `new()` failed.
    CannotServe {
        /// The worker's process.
        #[serde(skip)]
        pid: i32,
        /// Which function.
        function: FunctionName,
        /// One sentence.
        reason: String,
    },
    /// A function starts alone and fails beside the others: it gets workers of its own.
    FunctionIsolated {
        /// Which.
        function: FunctionName,
        /// What happens beside the others.
        reason: String,
    },
    /// A function's library brings Go's runtime along: it gets workers of its own.
    FunctionHasGo {
        /// Which.
        function: FunctionName,
    },
    /// A function that had workers of its own works beside the others again.
    FunctionRejoined {
        /// Which.
        function: FunctionName,
    },
    /// A library's `new()` ended its process with the exit code that asks not to be started again.
    NotRestarted {
        /// The worker's process.
        #[serde(skip)]
        pid: i32,
        /// Which function.
        function: FunctionName,
        /// First 12 hexadecimal digits of its library's hash.
        version: ShortHash,
    },
    /// A worker takes jobs.
    WorkerServing {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<FunctionName>,
        /// Counts the starts of workers.
        generation: u64,
        /// From its start, in seconds.
        seconds: f64,
    },
    /// A worker takes no more jobs.
    WorkerDraining {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<FunctionName>,
        /// Why.
        reason: ExitReason,
        /// The configuration key whose limit it reached, if that is why it is replaced.
        #[serde(skip_serializing_if = "Option::is_none")]
        limit: Option<&'static str>,
    },
    /// A worker has drained and exited.
    WorkerExited {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it served.
        functions: Vec<FunctionName>,
        /// Jobs it ran.
        jobs: u64,
        /// What went wrong when it exited.
        note: Option<String>,
    },
    /// A worker exited by itself before it had run a job, which counts as a failed start.
    ExitedEarly {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it was to serve.
        functions: Vec<FunctionName>,
        /// The function that it was starting.
        #[serde(skip_serializing_if = "Option::is_none")]
        function: Option<FunctionName>,
        /// Whether it had taken jobs.
        served: bool,
    },
    /// A worker died.
    WorkerDied(Death),
    /// A worker that died was examined: where it was, and its crash report.
    WorkerExamined(ExaminedWorker),
    /// A worker is killed by the manager.
    WorkerKilled {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<FunctionName>,
        /// Why.
        reason: ExitReason,
    },
    /// A function backs off.
    BackingOff {
        /// The function, or the functions of the group.
        function: String,
        /// How long, in seconds.
        seconds: f64,
        /// Failures in a row.
        failures: u32,
    },
    /// A job server answers.
    ServerUp {
        /// As configured.
        server: String,
    },
    /// A job server no longer answers any worker, or never did.
    ServerDown {
        /// As configured.
        server: String,
        /// What was seen.
        reason: String,
    },
    /// A job server answers some workers, but accepts connections of others without answering.
    ServerUnresponsive {
        /// As configured.
        server: String,
        /// Workers it answers.
        workers_connected: usize,
    },
    /// Jobs waited at a job server until a sleeping worker asked by itself: a wake-up was lost.
    WakeUpLost {
        /// As configured.
        server: String,
        /// How many, since the last report.
        jobs: u64,
    },
    /// A function's queue at a job server grows while all its workers are busy.
    QueueGrowing(GrowingQueue),
    /// Jobs wait at a job server although workers are idle.
    JobsNotTaken(UntakenJobs),
    /// No worker of any host serves a function.
    FunctionUnserved(UnservedFunction),
    /// What one of the three events before has reported is over.
    QueueRecovered(RecoveredQueue),
    /// A command asks the manager for something. Reported with the user who asks.
    RequestReceived(ReceivedRequest),
    /// A function is paused. Reported when that begins, and every hour.
    FunctionPaused(PausedFunction),
    /// What a command asked for is done.
    RequestFinished(EndedRequest),
    /// What a command asked for cannot be done.
    RequestFailed(EndedRequest),
    /// The log shows more levels, or fewer.
    LogLevelChanged {
        /// How many `v`s, 0 to 5.
        log_level: u8,
        /// For how long, in seconds, if it is for a while.
        #[serde(skip_serializing_if = "Option::is_none")]
        seconds: Option<f64>,
        /// Whether that time is over.
        #[serde(skip)]
        is_over: bool,
    },
    /// A function that has a library is not served, since the configuration leaves it out.
    FunctionExcluded {
        /// The function.
        function: FunctionName,
        /// What leaves it out.
        reason: ExcludedFunction,
    },
    /// A reload failed: the configuration is invalid.
    ReloadFailed {
        /// The signal or command.
        by: &'static str,
        /// One sentence for each mistake.
        reason: String,
    },
    /// The configuration was read again; new workers replace the old ones one by one.
    Reloaded {
        /// The signal or command.
        by: &'static str,
        /// What changed, with the values before and after.
        changes: Vec<String>,
    },
    /// The last worker with the old configuration has exited.
    ReloadFinished {
        /// Since the configuration was read, in seconds.
        seconds: f64,
    },
    /// A reload was refused, because the manager is draining.
    ReloadIgnored,
    /// The log file was reopened on a signal, in case it was rotated.
    LogReopened {
        /// The signal.
        by: &'static str,
    },
    /// There is no log file to reopen.
    LogNotReopened {
        /// The signal.
        by: &'static str,
        /// What the log is.
        log: String,
    },
    /// The manager stops: workers finish their jobs and exit.
    Draining {
        /// The signal.
        by: String,
        /// Workers that are left.
        workers: usize,
        /// Their grace period, in seconds.
        seconds: f64,
        /// How many signals kill them.
        #[serde(skip)]
        kills_at: u32,
    },
    /// The draining manager waits for a worker.
    WaitingForWorker {
        /// Its process.
        #[serde(skip)]
        pid: i32,
        /// What it serves.
        functions: Vec<FunctionName>,
        /// What it does.
        doing: &'static str,
        /// Its job.
        job: Option<AwaitedJob>,
    },
    /// Another signal asked the draining manager to stop.
    AlreadyDraining {
        /// The signal.
        by: &'static str,
        /// Signals so far, this one included.
        signals: u32,
        /// How long the workers still have, in seconds.
        seconds: f64,
        /// How many signals kill them.
        #[serde(skip)]
        kills_at: u32,
    },
    /// The manager has stopped.
    Stopped {
        /// From the signal on, in seconds.
        seconds: f64,
    },
    /// Something failed, but the manager keeps running.
    ManagerError {
        /// One sentence.
        #[serde(skip)]
        text: String,
    },
}

/// Seconds for an event.
pub(crate) fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1e6).round() / 1e6
}

#[cfg(test)]
mod tests;
