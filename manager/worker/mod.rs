//! The child process that serves functions.

pub mod orders;
pub mod talk;
