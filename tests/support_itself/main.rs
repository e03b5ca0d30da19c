//! Tests of the support code that other tests use. They double as a test of the packets against the real peers.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod gearmand;
mod lifetimes;
mod manager;
mod scripted_peers;
