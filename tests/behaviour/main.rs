//! What gm-native does, seen from outside: the real job server, real clients, real libraries, real signals.
//!
//! The rows of the tables in docs/reliability.md that are tested here are named in the comments (P1, S9 and so on).

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod bad_input;
mod blame;
mod clients;
mod clock;
mod commands;
mod contract;
mod counted;
mod daemon;
mod deaths;
mod disk;
mod drain;
mod failing;
mod failing_calls;
mod fairness;
mod floods;
mod forks;
mod half_sent;
mod hostile;
mod independence;
mod labels;
mod limits;
mod logs;
mod lying_servers;
mod managers;
mod memory;
mod messages;
mod orphans;
mod other_users;
mod partings;
mod people;
mod pid_file;
mod places;
mod releases;
mod reload;
mod removed;
mod reports;
mod scene;
mod scoreboard;
mod servers;
mod signals;
mod slow_answers;
mod slow_servers;
mod slow_starts;
mod stopped;
mod streams;
mod timeouts;
