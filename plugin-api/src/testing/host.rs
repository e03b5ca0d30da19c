//! A host that records every call.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

use super::outcome::{Outcome, Record};
use crate::abi::{Host, RResult, RSlice, RStr, RVec, RawFail, level};
use crate::logging;

pub(super) static HOST: Host = Host { size: size_of::<Host>(), status, data, warning, log, stopping };

/// The running jobs, by number, since the interface passes nothing else.
static JOBS: LazyLock<Mutex<HashMap<u64, Notes>>> = LazyLock::new(Mutex::default);

#[derive(Default)]
struct Notes {
    outcome: Outcome,
    stopping_after: Option<u64>,
    asked: u64,
    refused: bool,
}

/// Runs a job under a number of its own and returns everything that was reported about it.
pub(super) fn collect(
    stopping_after: Option<u64>,
    refused: bool,
    run: impl FnOnce(u64) -> RResult<RVec<u8>, RawFail>,
) -> Outcome {
    static NUMBERS: AtomicU64 = AtomicU64::new(1);
    let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
    logging::set_wanted(level::TRACE);
    jobs().insert(number, Notes { stopping_after, refused, ..Notes::default() });
    let result = run(number).into_result();
    let mut outcome = jobs().remove(&number).unwrap_or_default().outcome;
    outcome.result = result.map(RVec::into_vec).map_err(Into::into);
    outcome
}

fn jobs() -> MutexGuard<'static, HashMap<u64, Notes>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Records something about a job, if it is still running and its connection exists.
fn note(job: u64, what: impl FnOnce(&mut Outcome)) -> bool {
    match jobs().get_mut(&job) {
        Some(notes) if !notes.refused => {
            what(&mut notes.outcome);
            true
        }
        _ => false,
    }
}

extern "C" fn status(job: u64, done: u64, of: u64) -> bool {
    note(job, |outcome| outcome.status.push((done, of)))
}

extern "C" fn data(job: u64, bytes: RSlice<'_, u8>) -> bool {
    note(job, |outcome| outcome.data.push(bytes.to_vec()))
}

extern "C" fn warning(job: u64, bytes: RSlice<'_, u8>) -> bool {
    note(job, |outcome| outcome.warnings.push(bytes.to_vec()))
}

extern "C" fn log(job: u64, level: u8, target: RStr<'_>, text: RStr<'_>) {
    if let Some(notes) = jobs().get_mut(&job) {
        notes.outcome.log.push(Record { level, target: target.to_string(), text: text.to_string() });
    }
}

extern "C" fn stopping(job: u64) -> bool {
    jobs().get_mut(&job).is_some_and(|notes| {
        notes.asked += 1;
        notes.stopping_after.is_some_and(|calls| notes.asked > calls)
    })
}
