//! Tests of what the other tests stand on. They double as a test of the packets against the real peers.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod clients;
mod gearmand;
mod hand_played;
mod lifetimes;
mod manager;
