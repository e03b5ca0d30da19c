//! Whether this process is the one that was started. A plugin may fork, and the child may return from the plugin's
//! function: it would become a second worker on the same connections.
//!
//! A page that the kernel wipes in every forked child answers with one load, for any kind of fork: glibc's, `_Fork`,
//! the bare system call. A child of `vfork` shares its parent's memory, so this cannot recognise it; POSIX forbids it
//! to return.

use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU32,
    Ordering::{Acquire, Relaxed, Release},
};

use nix::libc;
use nix::sys::mman::{MapFlags, ProtFlags, mmap_anonymous};

use super::child_exit;

/// Exit code of a forked child that returned from a plugin (sysexits' "internal software error").
pub(crate) const CAME_BACK: i32 = 70;

/// The first word of the wiped page; null until [`watch`].
static MARK: AtomicPtr<AtomicU32> = AtomicPtr::new(std::ptr::null_mut());
/// The process that called [`watch`].
static PID: AtomicI32 = AtomicI32::new(0);
/// What a returned child does before it ends.
static ON_RETURN: OnceLock<fn()> = OnceLock::new();

unsafe extern "C" {
    fn pthread_atfork(
        prepare: Option<extern "C" fn()>,
        parent: Option<extern "C" fn()>,
        child: Option<extern "C" fn()>,
    ) -> libc::c_int;
}

/// From now on this process can be distinguished from its children. A child that returns from a plugin runs `on_return`
/// before it ends; that must take no lock that another thread may have held at the fork. Call it once, before loading
/// plugins.
///
/// # Errors
/// The system's: out of memory.
pub(crate) fn watch(on_return: fn()) -> io::Result<()> {
    const PAGE: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");
    // SAFETY: a fresh private mapping, never unmapped.
    let scoreboard =
        unsafe { mmap_anonymous(None, PAGE, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, MapFlags::MAP_PRIVATE)? };
    // SAFETY: the mapping just made. If the kernel cannot wipe it, `in_child` does, though only for glibc's fork.
    unsafe { libc::madvise(scoreboard.as_ptr(), PAGE.get(), libc::MADV_WIPEONFORK) };
    let mark = scoreboard.cast::<AtomicU32>().as_ptr();
    // SAFETY: the page is mapped, writable and aligned, and any bytes are an atomic.
    unsafe { &*mark }.store(1, Relaxed);
    let _ = ON_RETURN.set(on_return);
    PID.store(std::process::id().cast_signed(), Relaxed);
    MARK.store(mark, Release);
    in_each_child(in_child)
}

/// Has glibc call `handler` in every child of its `fork`, before `fork` returns. It must be async-signal-safe.
///
/// # Errors
/// The system's: out of memory.
pub(crate) fn in_each_child(handler: extern "C" fn()) -> io::Result<()> {
    // SAFETY: the handler stays, as this program is never unloaded.
    match unsafe { pthread_atfork(None, None, Some(handler)) } {
        0 => Ok(()),
        error => Err(io::Error::from_raw_os_error(error)),
    }
}

extern "C" fn in_child() {
    // SAFETY: null, or the page of `watch`, which is never unmapped.
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

/// As [`is_child`], by a system call: also recognises children of `vfork`. Not where a filter of system calls answers
/// with -1. Async-signal-safe.
pub(crate) fn is_any_child() -> bool {
    let watched = PID.load(Relaxed);
    // SAFETY: no arguments.
    let own = unsafe { libc::getpid() };
    watched != 0 && own > 0 && watched != own
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
    child_exit::now(CAME_BACK)
}

/// Reports a returned child on standard error, in case anything reads it. Takes no lock and allocates nothing.
pub(crate) fn report_on_stderr() {
    use io::Write;
    let mut line = [0; 160];
    let mut rest = &mut line[..];
    // It fits.
    let _ = writeln!(
        rest,
        "gm-native: process {} was forked by the library and came back from it; it is ended: a forked child has to exec or to _exit",
        std::process::id()
    );
    let left = rest.len();
    let length = line.len() - left;
    // SAFETY: a plain system call on bytes of ours; there is nothing to do about an error.
    unsafe { libc::write(libc::STDERR_FILENO, line.as_ptr().cast(), length) };
}
