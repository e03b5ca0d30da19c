//! Which events the log shows, and which process each is about.

use super::Event;
use crate::logging::Level;
use crate::supervisor::worker_state::ExitReason;

impl Event {
    /// From which verbosity on the log shows it.
    pub(crate) fn level(&self) -> Level {
        match self {
            Self::LibraryRefused { is_repeated: true, .. } => Level::Proc,
            Self::LibraryRefused { .. } | Self::CannotServe { .. } | Self::SpawnFailed { .. } => Level::Error,
            Self::NotRestarted { .. } => Level::Error,
            Self::WorkerDied(_) | Self::ManagerError { .. } | Self::DirectoryFailed { .. } => Level::Error,
            Self::RolloutStopped { .. } => Level::Error,
            Self::RolloutStarted { has_canary: false, .. } | Self::RolloutPromoted { has_canary: false, .. } => {
                Level::Proc
            }
            Self::RolloutStarted { .. } | Self::RolloutPromoted { .. } | Self::RolloutFinished { .. } => Level::Info,
            Self::FunctionHasGo { .. } | Self::FunctionRejoined { .. } | Self::CanaryContinued { .. } => Level::Info,
            Self::RolledBack { .. } | Self::RollbackFinished(_) | Self::RolloutWithdrawn { .. } => Level::Info,
            Self::RetryFinished(_) | Self::RequestReceived(_) | Self::RequestFinished(_) => Level::Info,
            Self::LogLevelChanged { .. } => Level::Info,
            Self::RollbackFailed { .. } | Self::RetryFailed { .. } | Self::RequestFailed(_) => Level::Error,
            Self::DirectoryEmptied { .. } | Self::FunctionIsolated { .. } | Self::ExitedEarly { .. } => Level::Warn,
            Self::FunctionFailing(_) | Self::FunctionRecovered(_) | Self::JobQuarantined(_) => Level::Warn,
            Self::WorkerExamined(examined) if examined.unwritten.is_some() => Level::Error,
            Self::WorkerExamined(_) => Level::Warn,
            Self::WorkerCutOff { .. }
            | Self::WakeUpLost { .. }
            | Self::ServerUnresponsive { .. }
            | Self::MemoryLimitTooLow { .. } => Level::Warn,
            Self::ServerDown { .. } | Self::BackingOff { .. } | Self::NothingToServe { .. } => Level::Warn,
            Self::ConfigWarning { .. } | Self::FileWarning { .. } | Self::LibraryWarning { .. } => Level::Warn,
            Self::QueueGrowing(_) | Self::JobsNotTaken(_) | Self::FunctionUnserved(_) => Level::Warn,
            Self::QueueRecovered(_) => Level::Warn,
            // During its start: it had no job.
            Self::WorkerKilled { reason: ExitReason::Replaced | ExitReason::Surplus | ExitReason::Stop, .. } => {
                Level::Proc
            }
            Self::WorkerKilled { .. } | Self::JobOverdue { .. } | Self::WorkerUnresponsive(_) => Level::Warn,
            Self::JobEnding(_) | Self::FunctionPaused(_) => Level::Warn,
            Self::Starting { .. } | Self::Started { .. } | Self::Draining { .. } | Self::Stopped { .. } => Level::Info,
            Self::FunctionRemoved { is_expected: false, .. } => Level::Warn,
            Self::FunctionFound { .. } | Self::FunctionRemoved { .. } | Self::ServerUp { .. } => Level::Info,
            Self::Reloaded { .. }
            | Self::ReloadFinished { .. }
            | Self::ReloadIgnored
            | Self::AlreadyDraining { .. } => Level::Info,
            Self::LogReopened { .. } | Self::LogNotReopened { .. } | Self::MemoryLimitExceeded { .. } => Level::Info,
            Self::ReloadFailed { .. } => Level::Error,
            Self::EarlierManagerDied { .. } => Level::Warn,
            Self::FunctionExcluded { .. } => Level::Info,
            Self::FileSkipped { leaves_unserved: true, .. } => Level::Warn,
            Self::WorkerStarted { .. } | Self::WorkerServing { .. } | Self::FileSkipped { .. } => Level::Proc,
            Self::WorkerDraining { .. } | Self::WorkerExited { .. } => Level::Proc,
            Self::WaitingForWorker { .. } => Level::Info,
        }
    }

    /// The process the line is about, if it is not the manager.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self {
            Self::WorkerStarted { pid, .. } | Self::WorkerServing { pid, .. } | Self::CannotServe { pid, .. } => {
                Some(*pid)
            }
            Self::WorkerCutOff { pid, .. } => Some(*pid),
            Self::NotRestarted { pid, .. } | Self::MemoryLimitExceeded { pid, .. } => Some(*pid),
            Self::WorkerDraining { pid, .. } | Self::WorkerExited { pid, .. } | Self::WorkerKilled { pid, .. } => {
                Some(*pid)
            }
            Self::ExitedEarly { pid, .. } | Self::WaitingForWorker { pid, .. } => Some(*pid),
            Self::JobOverdue { job, .. } | Self::JobEnding(job) => Some(job.pid),
            Self::WorkerUnresponsive(worker) => Some(worker.pid),
            Self::WorkerDied(death) => Some(death.pid),
            Self::WorkerExamined(examined) => Some(examined.pid),
            _ => None,
        }
    }
}
