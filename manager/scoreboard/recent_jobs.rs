//! The last jobs of a worker, for the report of its crash. A job costs six stores.

use std::cmp::Reverse;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use super::{JobStart, load_bytes, store_bytes};

/// How many jobs are listed, the one in hand included.
const JOBS: usize = 9;
/// Only short handles are kept.
const HANDLE_WORDS: usize = 4;

/// The job of number N is in slot N modulo their count.
#[repr(C)]
pub(super) struct RecentJobs([RecentSlot; JOBS]);

#[repr(C)]
struct RecentSlot {
    /// 0 is none.
    number: AtomicU64,
    function: AtomicU32,
    handle_len: AtomicU32,
    handle: [AtomicU64; HANDLE_WORDS],
}

/// A job that a worker ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RecentJob {
    /// Counts the worker's jobs from 1.
    pub number: u64,
    /// Index of its function.
    pub function: usize,
    /// Its handle, if it is short.
    pub handle: Option<Vec<u8>>,
}

impl RecentJobs {
    /// A job begins.
    pub(super) fn store(&self, job: &JobStart<'_>) {
        let slot = &self.0[(job.number % JOBS as u64) as usize];
        slot.number.store(job.number, Relaxed);
        slot.function.store(job.function as u32, Relaxed);
        slot.handle_len.store(store_bytes(&slot.handle, job.handle), Relaxed);
    }

    /// All of them, the newest first.
    pub(super) fn load(&self) -> Vec<RecentJob> {
        let mut jobs: Vec<RecentJob> = self.0.iter().map(RecentSlot::load).filter(|job| job.number > 0).collect();
        jobs.sort_by_key(|job| Reverse(job.number));
        jobs
    }
}

impl RecentSlot {
    fn load(&self) -> RecentJob {
        RecentJob {
            number: self.number.load(Relaxed),
            function: self.function.load(Relaxed) as usize,
            handle: load_bytes(&self.handle, self.handle_len.load(Relaxed)),
        }
    }
}
