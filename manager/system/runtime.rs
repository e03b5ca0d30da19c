//! The tokio runtime, of one thread.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};

use tokio::runtime::{Builder, Runtime};

/// Builds it. tokio panics if the system gives it no socket pair for signals; here that is an error like any other.
/// Call it while the process has one thread: the panic's message is suppressed.
///
/// # Errors
/// The system's: mostly out of descriptors.
pub(crate) fn build(builder: &mut Builder) -> io::Result<Runtime> {
    let hook = take_hook();
    set_hook(Box::new(|_| {}));
    let built = catch_unwind(AssertUnwindSafe(|| builder.enable_all().build()));
    set_hook(hook);
    built.unwrap_or_else(|_| Err(io::Error::other("no socket pair could be made: out of file descriptors or memory")))
}
