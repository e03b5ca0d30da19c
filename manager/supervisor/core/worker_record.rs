//! What the core knows of one worker.

use std::collections::BTreeMap;
use std::time::Duration;

use super::pauses::Offer;
use super::rollouts::CanaryVersions;
use super::workers::FunctionSet;
use crate::config::Config;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::name::FunctionName;
use crate::supervisor::job_disposition::JobKey;
use crate::supervisor::liveness::Liveness;
use crate::supervisor::reconcile::JobAllowance;
use crate::supervisor::worker_state::WorkerState;

/// The group of a worker: the all-functions workers, or the dedicated workers of one function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum GroupKey {
    All,
    Only(FunctionName),
}

/// One worker as the manager sees it.
#[derive(Debug)]
pub(super) struct WorkerRecord {
    pub key: GroupKey,
    /// What it serves.
    pub functions: Vec<FunctionVersion>,
    /// The same, as a key to find workers that serve the same.
    pub alike: FunctionSet,
    /// The order in which it loads them: indices into `functions`.
    pub load_order: Vec<usize>,
    pub pid: Option<i32>,
    pub generation: u64,
    pub born: Duration,
    pub state: WorkerState,
    /// Since when it has been in that state.
    pub since: Duration,
    pub start: StartProgress,
    /// Whether it has ever taken jobs.
    pub has_served: bool,
    pub retirement: Retirement,
    pub job_watch: JobWatch,
    /// Whether it responds.
    pub liveness: Liveness,
    /// Which of its functions it does not offer.
    pub offer: Offer,
    /// It has reported that it takes no more jobs.
    pub drain_report: Option<DrainReport>,
    /// How often in a row it has reported that no job server answers it, while they answered others.
    pub cut_off_reports: u32,
    /// The job servers it was started with, in its order: indices into [`Core::servers`](super::Core).
    pub servers: Vec<usize>,
    /// The new versions it runs, if it is a canary.
    pub canary: Option<CanaryVersions>,
}

/// The progress of a start.
#[derive(Debug)]
pub(super) struct StartProgress {
    pub stage: StartStage,
    /// When it reached that stage.
    pub reached: Duration,
    /// How many functions of the load order it has begun to load.
    pub begun: usize,
    /// When it got the command to connect.
    pub connects: Option<Duration>,
}

/// When a worker is to be replaced.
#[derive(Debug)]
pub(super) struct Retirement {
    /// When it is too old.
    pub at: Duration,
    /// How many jobs it may still run.
    pub runs: JobAllowance,
    /// Why it is replaced before that time, if it is.
    pub early: Option<EarlyRetirement>,
}

/// Why a worker is replaced early.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EarlyRetirement {
    /// It exceeds `max_memory`.
    OverMemoryLimit,
    /// No job server answers it, although they answer others.
    CutOff,
}

/// What is known of a worker's jobs.
#[derive(Debug, Default)]
pub(super) struct JobWatch {
    /// When its scoreboard is read next, to see whether a job is past its timeout.
    pub next: ScoreboardWatch,
    /// The job that is past its timeout, or is to end on request.
    pub overdue: Option<EndedJob>,
    /// The jobs with pending answers, by server.
    pub waiting: BTreeMap<usize, JobKey>,
}

/// A job that has to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EndedJob {
    /// Its number.
    pub number: u64,
    /// Whether `kill` asked for it, and not its timeout.
    pub on_request: bool,
}

/// When a worker's scoreboard is read next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) enum ScoreboardWatch {
    /// Not planned yet.
    #[default]
    Unplanned,
    /// None of its functions has a timeout.
    Never,
    At(Duration),
}

/// What a worker reports when it takes no more jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DrainReport {
    /// When it first reported that.
    pub at: Duration,
    /// Jobs it had taken.
    pub jobs: u64,
}

impl Retirement {
    /// It is to be replaced from now on.
    pub(super) fn retire_early(&mut self, reason: EarlyRetirement, now: Duration) {
        (self.at, self.early) = (self.at.min(now), Some(reason));
    }
}

impl WorkerRecord {
    /// The names of what it serves.
    pub(super) fn names(&self) -> Vec<FunctionName> {
        self.functions.iter().map(|version| version.function.clone()).collect()
    }

    /// Jobs it had taken when it reported that it takes no more.
    pub(super) fn reported_jobs(&self) -> u64 {
        self.drain_report.map_or(0, |report| report.jobs)
    }

    /// The configuration key whose limit it has reached. A reload retires every worker, whatever its age.
    pub(super) fn limit(&self, config: &Config, now: Duration) -> Option<&'static str> {
        let old = now >= self.retirement.at && now >= self.born.saturating_add(config.max_worker_lifetime);
        match self.retirement.runs {
            JobAllowance::Many if self.retirement.early == Some(EarlyRetirement::OverMemoryLimit) => Some("max_memory"),
            JobAllowance::Many if self.retirement.early == Some(EarlyRetirement::CutOff) => None,
            JobAllowance::Many => old.then_some("max_worker_lifetime"),
            JobAllowance::Few | JobAllowance::None => Some("max_runs_per_worker"),
        }
    }
}

/// How far a worker's start is, as it reports. Functions are indices into its configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum StartStage {
    /// It has reported nothing yet.
    Begins,
    /// It loads a function's library.
    Loading(usize),
    /// It is in a function's `new()`.
    Making(usize),
    /// Everything is loaded.
    Over,
}
