//! What is known of a worker that crashed, or whose job is past its timeout. Pure, but for reading descriptors and for
//! the files.
//!
//! The worker's handler (`system::crash_handler`) leaves a snapshot of the thread in the crash area, a part of
//! its scoreboard's memory. The manager copies the area after the worker's death, and another process makes sense of it.
//!
//! What is known becomes a [`report`], and a job that has killed too many workers is [`quarantine`]d. Both are
//! [`files`] in the state directory.

pub(crate) mod backtrace;
pub(crate) mod files;
pub(crate) mod quarantine;
pub(crate) mod record_id;
pub(crate) mod report;
pub(crate) mod snapshot;
pub(crate) mod workload_hash;
