//! A file in worker_dir -> a stored version that workers may load.

pub mod copy;
pub mod elf;
pub mod garbage;
pub mod glibc;
pub mod hash;
pub mod identity;
pub mod last_good;
mod listing;
pub mod loader;
pub mod loader_words;
pub mod name;
pub mod permissions;
pub mod probe;
pub mod refusal;
pub mod report;
pub mod scan;
pub mod state_file;
pub mod store;
pub mod text;
pub mod verdict;
