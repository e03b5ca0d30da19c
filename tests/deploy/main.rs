//! Deploying is copying a file: every way to copy one, every way for it to be bad, and no job that is lost by it.
//!
//! On the real gearmand with `-j 1`: an attempt that is counted wrongly fails its job.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../corpus/mod.rs"]
mod corpus;
#[path = "../support/mod.rs"]
mod support;

mod bad_versions;
mod broken_libraries;
mod control;
mod detection;
mod disk;
mod fixture;
mod load;
mod odd_siblings;
mod pauses;
mod removed;
mod rollback;
mod rollout_checker;
mod rollouts_in_a_row;
mod shared_workers;
mod siblings;
mod steering;
mod top;
mod transient_failures;
