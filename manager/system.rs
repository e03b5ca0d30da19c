//! Everything that is a system call with a twist. Nothing here knows about jobs or plugins.

// The wrappers around system calls are where unsafe code is allowed; each block says why it is sound.
#![allow(unsafe_code)]

pub(crate) mod channel;
pub(crate) mod child_exit;
pub(crate) mod child_poller;
pub(crate) mod child_table;
pub(crate) mod clock;
pub(crate) mod crash_area;
pub(crate) mod crash_handler;
pub(crate) mod crash_request;
pub(crate) mod daemonize;
pub(crate) mod directory;
pub(crate) mod errors;
pub(crate) mod exit_watch;
pub(crate) mod file_size_limit;
pub(crate) mod fork;
pub(crate) mod group_dir;
pub(crate) mod handlers;
pub(crate) mod kernel_log;
pub(crate) mod limits;
pub(crate) mod lock;
pub(crate) mod mappings;
pub(crate) mod memory;
pub(crate) mod memory_cgroup;
pub(crate) mod orphan_output;
pub(crate) mod owner;
pub(crate) mod pid_file;
pub(crate) mod plain_file;
pub(crate) mod private_dir;
pub(crate) mod privileges;
pub(crate) mod process;
pub(crate) mod proctitle;
pub(crate) mod reap;
#[cfg(test)]
pub(crate) mod reexec;
pub(crate) mod runtime;
pub(crate) mod service;
pub(crate) mod shared_memory;
pub(crate) mod shell;
pub(crate) mod spawn;
pub(crate) mod state_lock;
pub(crate) mod stop_signal;
pub(crate) mod streams;
pub(crate) mod tunables;
pub(crate) mod unsent;
pub(crate) mod worker_program;
