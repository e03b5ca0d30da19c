//! Keeps a job that has killed as many workers as it may.

use std::io;

use super::PostMortemRequest;
use super::workload::KeptWorkload;
use crate::crash::files::{QUARANTINE, RecordDir, TOTAL_MAX};
use crate::crash::quarantine::QuarantinedJob;
use crate::plugins::display_path::DisplayPath;
use crate::system::errors::reason;

/// Writes the job, if there is one to keep.
///
/// # Errors
/// Why it was not written: a clause.
pub(super) fn keep(request: &PostMortemRequest, workload: &KeptWorkload<'_>) -> Result<(), String> {
    let Some(job) = &request.quarantined else { return Ok(()) };
    let job = QuarantinedJob {
        workload_size: workload.size,
        workload_kept: workload.whole.is_some(),
        workload_note: workload.note.clone(),
        sha256: workload.sha256.clone(),
        ..job.clone()
    };
    let path = request.state_dir.join(QUARANTINE);
    let failed = |why: String| format!("the job cannot be kept in {}: {why}", DisplayPath(&path));
    let dir = RecordDir::create(&path).map_err(|error| failed(format!("the directory {}", reason(&error))))?;
    dir.write(job.id, &job, workload.whole).map_err(|error| failed(reason(&error)))?;
    // What cannot be removed now is removed after the next one.
    let _ = remove_same(&dir, &job);
    let _ = dir.prune(request.quarantine_keep as usize, TOTAL_MAX);
    Ok(())
}

/// A job that was submitted again is kept once.
fn remove_same(dir: &RecordDir<QuarantinedJob>, job: &QuarantinedJob) -> io::Result<()> {
    for (id, other) in dir.list()?.records {
        if id != job.id && job.is_same(&other) {
            dir.remove(id)?;
        }
    }
    Ok(())
}
