//! What a newcomer types: `make demo`, and every command of README.md.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod dev;
mod readme;
