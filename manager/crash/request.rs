//! What the manager asks the post-mortem child for.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::quarantine::QuarantinedJob;
use super::report::CrashReport;

/// Everything that the manager knows of a death. The child writes it before it looks at any library: the job in
/// quarantine first, then the report without frames, and again with them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct PostmortemRequest {
    /// Where `crashes` and `quarantine` are.
    pub state_dir: PathBuf,
    /// The report, without what only a snapshot tells. None where the configuration keeps no reports.
    pub report: Option<CrashReport>,
    /// `crash_keep`.
    pub crash_keep: usize,
    /// The job in hand, if it has killed as many workers as it may.
    pub quarantine: Option<QuarantinedJob>,
    /// `quarantine_keep`.
    pub quarantine_keep: usize,
    /// `crash_workload_max`, for the note on a workload that was not kept.
    pub workload_max: u64,
}
