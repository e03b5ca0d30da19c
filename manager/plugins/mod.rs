//! A file in worker_dir -> a stored version that workers may load.

pub mod name;
pub mod text;
