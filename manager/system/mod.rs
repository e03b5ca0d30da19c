//! Everything that is a system call with a twist.

pub mod daemonize;
pub mod lock;
pub mod pid_file;
pub mod plain_file;
pub mod privileges;
#[cfg(test)]
pub(crate) mod reexec;
