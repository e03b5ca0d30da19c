//! Everything that is a system call with a twist.

pub mod plain_file;
