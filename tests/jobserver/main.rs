//! The embedded job server and gearmand under one body of tests, so that the one cannot drift from the other; what only
//! the embedded one promises; foreign clients and workers; `gm-native submit`.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

#[macro_use]
mod server;
mod peer;

mod admin;
mod embedded;
mod jobs;
mod requests;
mod submit;
mod third_party;
mod workers;
