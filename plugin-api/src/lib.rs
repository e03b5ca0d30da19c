//! What the author of a plugin sees.

pub mod abi;
mod context;
mod failure;
#[cfg(feature = "log")]
mod forward_log;
#[cfg(feature = "tracing")]
mod forward_tracing;
mod glue;
mod job;
#[cfg(feature = "json")]
mod json;
mod logging;
mod output;
mod panics;
#[cfg(feature = "serde")]
mod settings;
pub mod testing;

pub use gm_plugin_macros::function;

pub use crate::context::Context;
pub use crate::failure::Failure;
pub use crate::glue::Object;
pub use crate::job::{Job, Reporter};
#[cfg(feature = "json")]
pub use crate::json::Json;
pub use crate::logging::Log;
pub use crate::output::{JobResult, Output, Reply};

/// What `#[function]` writes down stands on this. Not for use by hand: it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::__about as about;
    pub use crate::glue::{About, Made, ObjectFunction, Plain, PlainFunction};
}
