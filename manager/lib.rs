//! gm-native: a supervisor of workers that serve Gearman jobs with native libraries.
//!
//! ```text
//! ini + options -> config -> plan (pure) -> supervisor -> worker -> session -> job -> plugin function
//!                               ^               ^            |
//! worker_dir -> scan -> probe -> store ---------'            `-> scoreboard -> supervisor, status
//! ```
//!
//! The modules, from the top layer to the bottom; a module depends only on layers below it:
//!
//! - [`cli`], [`commands`]: the command line, and one small file for each command.
//! - [`supervisor`]: the manager's loop: a pure core that decides, and effects that act.
//! - [`worker`]: the child that loads libraries and runs jobs.
//! - [`post_mortem`]: the child that examines a worker after its death.
//! - [`jobserver`]: the embedded job server, for development and tests.
//! - [`crash`]: what is known of a worker that crashed: its report, and the jobs in quarantine.
//! - [`plugins`]: a file in worker_dir becomes a checked version in the store.
//! - [`config`], [`plan`]: what you asked for, and the workers that follow from it.
//! - [`control`]: the socket between the manager and the commands.
//! - [`logging`]: levels and log destinations.
//! - [`scoreboard`], [`deny_list`]: memory that the manager and its workers share.
//! - [`gearman`]: packets without IO, and thin connections over them.
//! - [`system`]: system calls that the standard library lacks, or that need special care.

// `pub` is what the program and the tests use from outside. The documentation covers everything else as well.
#![warn(unreachable_pub)]
#![allow(rustdoc::private_intra_doc_links)]
// Times do not overflow: clippy.toml lists the arithmetic that cannot.
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

#[cfg(feature = "bench")]
pub mod bench;
pub mod cli;
pub mod commands;
pub mod config;
pub mod control;
pub(crate) mod crash;
pub(crate) mod deny_list;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
pub mod gearman;
pub mod jobserver;
pub(crate) mod logging;
pub(crate) mod plan;
pub mod plugins;
pub(crate) mod post_mortem;
pub(crate) mod scoreboard;
pub(crate) mod supervisor;
pub(crate) mod system;
pub mod version;
pub(crate) mod worker;
