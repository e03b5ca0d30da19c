//! A file in worker_dir -> a stored version that workers may load.

pub mod identity;
mod listing;
pub mod name;
pub mod scan;
pub mod text;
