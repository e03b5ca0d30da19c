//! A worker's memory: gives back what only loading needed before the worker is ready; and sets its limit.

use nix::libc;
use nix::sys::resource::{Resource, setrlimit};

use super::mappings::Mappings;

/// Limits the data of this process and of each of its children to this many bytes: heap, writable private mappings,
/// thread stacks. An allocation beyond that fails, which ends most programs.
///
/// # Errors
/// The system's: its present limit may be lower.
pub(crate) fn limit(bytes: u64) -> std::io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_DATA, bytes, bytes)?)
}

/// Returns free heap and the unused part of the main thread's stack to the system. Only for the main thread.
pub(crate) fn give_back() {
    // Read first: the text takes heap, too.
    let stack = stack_range();
    // SAFETY: no arguments that could be wrong.
    unsafe { libc::malloc_trim(0) };
    stack.into_iter().for_each(drop_stack_below);
}

/// Drops what is below the current frame of a stack from `low` to `high`. It holds no live value; its pages are resident
/// only because loading needed a deep stack.
#[inline(never)]
fn drop_stack_below((low, high): (usize, usize)) {
    const PAGE: usize = 4096;
    const KEEP: usize = 4 * PAGE;
    const MAX_DEPTH: usize = 1 << 20;
    let mark = 0_u8;
    let top = ((&raw const mark).addr() & !(PAGE - 1)) - KEEP;
    if !(low..high).contains(&top) {
        return;
    }
    let start = low.max(top.saturating_sub(MAX_DEPTH));
    // SAFETY: the range lies inside this thread's stack, whole pages and at least three pages below this frame, where
    // no live value and no red zone can be; such pages read as zero when they are next touched.
    unsafe { libc::madvise(start as *mut libc::c_void, top - start, libc::MADV_DONTNEED) };
}

/// Where the mapping of the main thread's stack begins and ends.
fn stack_range() -> Option<(usize, usize)> {
    let mappings = Mappings::current().ok()?;
    let stack = mappings.named("[stack]")?;
    Some((usize::try_from(stack.start).ok()?, usize::try_from(stack.end).ok()?))
}
