//! Whether this process is still the one that was started. A plugin may fork, and the child may come back from the
//! plugin's function: a second worker on the same connections, if nobody noticed.
//!
//! A page that the kernel wipes in every forked child answers with one load, for any kind of fork: glibc's, `_Fork`,
//! the bare system call. A child of `vfork` shares its parent's memory and cannot be told apart so; POSIX forbids it to
//! return.

use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::exit;

/// Exit code of a forked child that came back from a plugin (sysexits' "internal software error").
pub(crate) const CAME_BACK: i32 = 70;

/// The first word of the scoreboard; null until [`watch`].
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
/// Who called [`watch`].
static PID: AtomicI32 = AtomicI32::new(0);
/// What a child that came back does before it ends.
static ON_RETURN: OnceLock<fn()> = OnceLock::new();

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

/// From now on this process can be distinguished from its children. `on_return` is what one does that came back from a
/// plugin, before it ends; it must take no lock that another thread may have held at the fork. Once, before plugins are
/// loaded.
///
/// # Errors
/// The system's, out of memory.
pub(crate) fn watch(on_return: fn()) -> io::Result<()> {
    const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
    // SAFETY: a fresh private mapping, never unmapped.
    let scoreboard =
        unsafe { mmap_anonymous(None, PAGE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)? };
    // SAFETY: the mapping just made. A kernel that cannot wipe it leaves that to `in_child`, for glibc's fork alone.
    unsafe { libc::madvise(scoreboard.as_ptr(), PAGE.get(), libc::MADV_WIPEONFORK) };
    let mark = scoreboard.cast::<AtomicU32>().as_ptr();
    // SAFETY: the scoreboard is mapped, writable, aligned, and any bytes are an atomic.
    unsafe { &*mark }.store(1, Relaxed);
    let _ = ON_RETURN.set(on_return);
    PID.store(std::process::id().cast_signed(), Relaxed);
    MARK.store(mark, Release);
    in_each_child(in_child)
}

/// Has glibc call `handler` in every child that is made by its `fork`, before that returns. It must be
/// async-signal-safe.
///
/// # Errors
/// The system's, out of memory.
pub(crate) fn in_each_child(handler: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the handler stays, as this program is never unloaded.
    match unsafe { pthread_atfork(None, None, Some(handler)) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

extern "C" fn in_child() {
    // SAFETY: null, or the scoreboard of `watch`, which is never unmapped.
    if let Some(mark) = unsafe { MARK.load(Acquire).as_ref() } {
        mark.store(0, Relaxed);
    }
}

/// Whether this is a forked child of the process that called [`watch`]. Costs two loads and no system call.
#[inline]
pub(crate) fn is_child() -> bool {
    // SAFETY: as in `in_child`.
    unsafe { MARK.load(Acquire).as_ref() }.is_some_and(|mark| mark.load(Relaxed) == 0)
}

/// As [`is_child`], by a system call: knows children of `vfork`, too. Async-signal-safe.
pub(crate) fn is_any_child() -> bool {
    let watched = PID.load(Relaxed);
    // SAFETY: no arguments, no errors.
    watched != 0 && watched != unsafe { libc::getpid() }
}

/// Called whenever a plugin's code has returned: ends the process if it is a forked child.
#[inline]
pub(crate) fn exit_if_child() {
    if is_child() {
        exit_child();
    }
}

#[cold]
fn exit_child() -> ! {
    if let Some(on_return) = ON_RETURN.get() {
        on_return();
    }
    exit::now(CAME_BACK)
}

/// Reports a returned child on standard error, where somebody reads that. It takes no lock and no memory.
pub(crate) fn report_on_stderr() {
    use io::Write;
    let mut line = [0; 160];
    let mut rest = &mut line[..];
    // Fits.
    let _ = writeln!(
        rest,
        "gm-native: process {} was forked by the library and came back from it; it is ended: a forked child has to exec or to _exit",
        std::process::id()
    );
    let left = rest.len();
    let length = line.len() - left;
    // SAFETY: a plain system call on bytes of ours; nothing can be done about an error.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length) };
}
