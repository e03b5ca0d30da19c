//! What this binary is.

use gm_plugin_api::abi::{INTERFACE_MAJOR, INTERFACE_MINOR};

/// The version alone.
pub const SHORT: &str = env!("CARGO_PKG_VERSION");

/// Version and revision, for messages.
pub const WITH_REVISION: &str = concat!(env!("CARGO_PKG_VERSION"), " (", env!("GM_REVISION"), ")");

/// What `-V` prints behind the program's name.
pub fn long() -> String {
    format!(
        "{WITH_REVISION}\ntarget: {}\ncompiler: {}\nplugin interface: {INTERFACE_MAJOR}.{INTERFACE_MINOR}",
        env!("GM_TARGET"),
        env!("GM_COMPILER"),
    )
}
