//! Support for tests: real peers and the manager itself, as processes that die with the test.
//!
//! A test binary includes it with `#[path = "../support/mod.rs"] mod support;`.
//!
//! - [`gearmand::Gearmand`]: the real job server, on an address of its own.
//! - [`callers`]: the real `gearman` CLI, and clients on php-gearman, Perl's Gearman::Client and libgearman.
//! - [`manager::Manager`]: gm-native, in a directory of its own, with its event stream.
//! - [`plugins`]: libraries for the manager, built when they are first needed.
//! - [`scripted_worker::ScriptedWorker`], [`scripted_server::ScriptedServer`]: a worker and a job server that the test plays.
//! - [`cgroup::Cgroup`]: a control group whose memory is limited.
//! - [`machine::fresh`]: a machine on which no manager has run before.
//! - [`wait::wait_for`]: the only way to wait. Tests do not sleep.
//!
//! The test's own thread must start every process: the kernel kills it when that thread ends, even if the test's
//! process is killed.

#![allow(dead_code, reason = "each test binary uses a part")]
#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

pub mod build;
pub mod callers;
pub mod cgroup;
pub mod child_guard;
pub mod events;
pub mod gearmand;
pub mod hosts;
pub mod machine;
pub mod manager;
pub mod other_servers;
pub mod plugins;
pub mod program;
pub mod schema;
pub mod scripted_server;
pub mod scripted_worker;
pub mod tmux;
pub mod wait;
pub mod watchdog;
pub mod wire;
