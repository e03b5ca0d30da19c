//! Deploying is copying a file: every way to copy one, every way for it to be bad, and no job that is lost by it.
//!
//! On the real gearmand with `-j 1`: an attempt that is counted wrongly fails its job.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../corpus/mod.rs"]
mod corpus;
#[path = "../support/mod.rs"]
mod support;

mod bad;
mod beside;
mod broken;
mod control;
mod disk;
mod load;
mod odd_siblings;
mod passing;
mod removed;
mod rollback;
mod scene;
mod seeing;
mod together;
