//! A file in worker_dir -> a stored version that workers may load.
//!
//! ```text
//! worker_dir -> listing -> name, scan -> candidate      (a thread of its own: names and stat, nothing is opened)
//! candidate  -> probe: copy -> elf -> siblings -> loader -> report  (a process of its own, with a deadline)
//! report     -> probe_result -> store                        (manager: a rename; recorded by version_records, removed
//! by garbage)
//! ```
//!
//! Each way in which a candidate can be wrong is one variant of [`rejection::Rejection`], and one sentence. `name`,
//! `scan::decide`, `elf`, `loader_words`, `probe_result` and `garbage` are pure.

mod beneath;
pub mod content_hash;
pub mod display_path;
pub mod elf;
pub mod function_version;
pub mod garbage;
pub mod glibc;
pub mod identity;
pub mod library_copy;
pub mod listing;
pub mod loader;
pub mod loader_words;
pub mod name;
pub mod permissions;
pub mod probe;
pub mod probe_result;
pub mod probe_session;
pub mod rejection;
mod rejection_kind;
pub mod report;
pub mod scan;
mod serde_path;
mod served_versions;
pub mod siblings;
pub mod state_file;
pub mod store;
pub mod stored;
pub mod version_records;
pub mod watcher;
