//! Everything that is a system call with a twist. Nothing here knows what a job or a plugin is.

// The wrappers around system calls are where unsafe code is allowed; each block says why it is sound.
#![allow(unsafe_code)]

pub mod channel;
pub mod child_poller;
pub mod child_table;
pub mod clock;
pub mod daemonize;
pub mod directory;
pub mod errors;
pub mod exit;
pub mod fork;
pub mod handlers;
pub mod limits;
pub mod lock;
pub mod memory;
pub mod owner;
pub mod pid_file;
pub mod plain_file;
pub mod private_dir;
pub mod privileges;
pub mod process;
pub mod proctitle;
pub mod reap;
#[cfg(test)]
pub mod reexec;
pub mod service;
pub mod spawn;
pub mod stop_signal;
pub mod streams;
pub mod tunables;
pub mod unsent;
