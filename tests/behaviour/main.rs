//! What gm-native does, seen from outside: the real job server, real clients, real libraries, real signals.
//!
//! The rows of the fault tables that are tested here are named in the comments (P1, S9 and so on).

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod bad_input;
mod clients;
mod commands;
mod contract;
mod daemon;
mod deaths;
mod drain;
mod floods;
mod logs;
mod lying_servers;
mod managers;
mod memory;
mod people;
mod reload;
mod scene;
mod servers;
mod timeouts;
