//! The manager's loop: inputs to the pure [`core`], its actions to the [`effects`] beside it.
//!
//! ```text
//! signals, children, timer, scans, control socket -> Input -> Core::handle -> Action -> Effects::perform
//! ```

pub mod backoff;
pub mod canary;
pub mod catalog;
pub mod child_output;
pub mod core;
pub mod effects;
pub mod event;
pub mod exit_cause;
pub mod guardian;
pub mod job_disposition;
pub mod lethal_jobs;
mod manager;
pub mod reconcile;
pub mod requeue;
pub mod resolve;
pub mod worker_state;

pub use manager::{ConfigReader, HeldPaths, Manager, ManagerSetup};
