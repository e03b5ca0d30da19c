//! What is kept of the workload of the job in hand: the whole one, or a reason.

use sha2::{Digest, Sha256};

use crate::crash::snapshot::{SavedWorkload, ThreadSnapshot};

/// A workload, as far as it was saved.
#[derive(Debug)]
pub(super) struct KeptWorkload<'a> {
    /// Its size, where that is known.
    pub size: Option<u64>,
    /// All of it.
    pub whole: Option<&'a [u8]>,
    /// Why there is not.
    pub note: Option<String>,
    /// SHA-256 of the whole, in hexadecimal digits.
    pub sha256: Option<String>,
}

impl<'a> KeptWorkload<'a> {
    /// What a snapshot has, where workloads of up to `max` bytes are saved.
    pub(super) fn of(snapshot: Option<&'a ThreadSnapshot>, max: u64) -> Self {
        let saved = snapshot.and_then(|snapshot| snapshot.workload.as_ref());
        let note = match saved {
            Some(workload) if workload.is_whole() => None,
            _ if max == 0 => Some("crash_workload_max is 0".to_owned()),
            Some(SavedWorkload { size, .. }) => Some(format!("it has {size} bytes, and crash_workload_max is {max}")),
            None => Some("the worker could not save it before it ended, as after SIGKILL or an exit".into()),
        };
        let whole = saved.filter(|_| note.is_none()).map(|workload| workload.bytes.as_slice());
        let sha256 = whole.map(|bytes| Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect());
        Self { size: saved.map(|workload| workload.size), whole, note, sha256 }
    }
}
