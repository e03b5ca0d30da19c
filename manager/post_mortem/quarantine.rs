//! Keeps a job that has killed as many workers as it may.

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
    let mut job = QuarantinedJob {
        workload_size: workload.size,
        workload_kept: workload.whole.is_some(),
        workload_note: workload.note.clone(),
        sha256: workload.sha256.clone(),
        ..job.clone()
    };
    let path = request.state_dir.join(QUARANTINE);
    let path = DisplayPath(&path);
    let dir = RecordDir::create(path.0).map_err(|error| format!("{path} {}", reason(&error)))?;
    let same = same_jobs(&dir, &job);
    same.iter().for_each(|other| job.replace(other));
    dir.write(job.id, &job, workload.whole).map_err(|error| format!("in {path}: {}", reason(&error)))?;
    // What cannot be removed now is removed after the next one.
    same.iter().for_each(|other| drop(dir.remove(other.id)));
    let _ = dir.prune(request.quarantine_keep as usize, TOTAL_MAX);
    Ok(())
}

/// A job that was submitted again is kept once. What cannot be read is another job.
fn same_jobs(dir: &RecordDir<QuarantinedJob>, job: &QuarantinedJob) -> Vec<QuarantinedJob> {
    let kept = dir.list().map(|listing| listing.records).unwrap_or_default();
    let named = kept.into_iter().map(|(id, other)| QuarantinedJob { id, ..other });
    let mut same: Vec<QuarantinedJob> = named.filter(|other| other.id != job.id && job.is_same(other)).collect();
    same.reverse();
    same
}
