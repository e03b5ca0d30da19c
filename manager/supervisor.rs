//! The manager: its loop passes inputs to the pure [`core`], and the core's actions to the [`effects`].
//!
//! ```text
//! signals, children, timer, scans, control socket -> Input -> Core::handle -> Action -> Effects::perform
//! ```

mod audience;
pub(crate) mod backoff;
pub(crate) mod canary;
pub(crate) mod catalog;
pub(crate) mod child_output;
pub(crate) mod core;
pub(crate) mod counted_job;
pub(crate) mod effects;
pub(crate) mod event;
pub(crate) mod exit_cause;
pub(crate) mod function_state;
pub(crate) mod guardian;
pub(crate) mod job_disposition;
pub(crate) mod job_failures;
pub(crate) mod last_minute;
pub(crate) mod liveness;
mod manager;
pub(crate) mod out_of_memory;
pub(crate) mod pause_records;
pub(crate) mod poison_jobs;
pub(crate) mod queues;
pub(crate) mod recent_output;
pub(crate) mod reconcile;
pub(crate) mod requeue;
pub(crate) mod resolve;
pub(crate) mod rollback;
pub(crate) mod run_times;
pub(crate) mod worker_state;

pub(crate) use audience::Audience;
pub(crate) use manager::{ConfigReader, HeldPaths, Manager, ManagerSetup};
