//! What gm-native does, seen from outside: the real job server, real clients, real libraries, real signals.
//!
//! The rows of the tables in docs/reliability.md that are tested here are named in the comments (P1, S9 and so on).

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "../support/mod.rs"]
mod support;

mod answers;
mod attempts;
mod backtraces;
mod bad_input;
mod c_functions;
mod clients;
mod clock;
mod commands;
mod contract;
mod control_group;
mod crash_reports;
mod crashes;
mod daemon;
mod deaths;
mod destructors;
mod disk;
mod drain;
mod failing_calls;
mod failing_jobs;
mod failure_attribution;
mod fairness;
mod fixture;
mod floods;
mod forks;
mod go_libraries;
mod half_sent;
mod hostile;
mod independence;
mod killed_managers;
mod labels;
mod limits;
mod logs;
mod managers;
mod many_deaths;
mod memory;
mod messages;
mod misbehaving_servers;
mod networks;
mod orphans;
mod other_users;
mod permissions;
mod pid_file;
mod prefetch;
mod progress;
mod quarantine;
mod queues;
mod releases;
mod reload;
mod removed_files;
mod scoreboard;
mod server_kinds;
mod servers;
mod signals;
mod silence;
mod slow_answers;
mod slow_servers;
mod slow_starts;
mod state_directories;
mod status;
mod stopped_manager;
mod streams;
mod timeouts;
mod unresponsive;
mod worker_program;
