//! The handler of signals that end a worker: it saves what is known of the thread, then lets the signal do its work.
//!
//! It runs on a stack of its own where the thread has one, calls only what is async-signal-safe, takes no lock and
//! allocates nothing. It never hangs: a crash inside it kills the process, since all signals are blocked meanwhile, and
//! so does the kernel after [`MAX_TIME`]. It never returns into code that would crash again for ever, either: see
//! [`end_here`]. Whatever is saved is for the manager, in the [crash area](super::crash_area).
//!
//! No SA_RESETHAND: a second thread that crashes would end the process while the first is being saved.

use std::io;
use std::num::NonZeroUsize;
use std::sync::OnceLock;
use std::sync::atomic::{
    AtomicI32, AtomicPtr, AtomicU64, AtomicUsize,
    Ordering::{AcqRel, Acquire, Relaxed, Release},
};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc::{self, c_int, c_void, siginfo_t};
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, mprotect};

use super::crash_area::{Cause, CrashArea};
use super::{handlers, stop_signal};

mod dispositions;
mod save;

pub(crate) use dispositions::Dispositions;

/// The signals that end a process which makes a mistake.
pub(crate) const SIGNALS: [c_int; 7] =
    [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGABRT, libc::SIGTRAP, libc::SIGSYS];

/// The kernel kills a process whose handler takes longer.
const MAX_TIME: Duration = Duration::from_secs(5);
/// How often, 10 ms apart, a thread that crashes looks whether another has been saved.
const LOOKS: u32 = 100;
/// What the handler may use of its stack, beside what the kernel saves there.
const STACK: usize = 64 << 10;
const PAGE: usize = 4096;

/// Where to save, from [`install`] on.
static AREA: OnceLock<CrashArea> = OnceLock::new();
/// The thread that is being saved. It stays after a crash: the first crash is the one that explains the others.
static SAVING: AtomicI32 = AtomicI32::new(0);
/// The lowest address of the main thread's alternate stack.
static ALTERNATE_STACK: AtomicUsize = AtomicUsize::new(0);
static ALTERNATE_STACK_SIZE: AtomicUsize = AtomicUsize::new(0);

/// The job in hand; 0 for none.
static JOB: AtomicU64 = AtomicU64::new(0);
static WORKLOAD: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static WORKLOAD_LENGTH: AtomicUsize = AtomicUsize::new(0);

/// Sets the handler for this process, but not for its forked children, and an alternate stack for this thread, which
/// is the one that runs plugins. Of that stack no page is touched before a crash.
///
/// # Errors
/// The system's: out of memory.
pub(crate) fn install(area: CrashArea) -> io::Result<()> {
    let _ = AREA.set(area);
    make_alternate_stack()?;
    for signal in SIGNALS {
        handlers::set_with_context(signal, on_crash, 0)?;
    }
    handlers::set_with_context(handlers::request_signal(), on_request, libc::SA_RESTART)
}

/// A job begins; its workload stays where it is until [`job_ends`]. Three stores.
pub(crate) fn job_begins(number: u64, workload: &[u8]) {
    WORKLOAD.store(workload.as_ptr().cast_mut(), Relaxed);
    WORKLOAD_LENGTH.store(workload.len(), Relaxed);
    JOB.store(number, Relaxed);
}

/// The job's function has returned.
pub(crate) fn job_ends() {
    JOB.store(0, Relaxed);
}

/// The alternate stack has a page below it that no one may touch.
fn make_alternate_stack() -> io::Result<()> {
    // SAFETY: no arguments that could be wrong.
    let kernels_part = unsafe { libc::getauxval(libc::AT_MINSIGSTKSZ) } as usize;
    let size = STACK.saturating_add(kernels_part.max(libc::MINSIGSTKSZ)).next_multiple_of(PAGE);
    let whole = NonZeroUsize::new(size.saturating_add(PAGE)).ok_or(io::ErrorKind::InvalidInput)?;
    // SAFETY: a fresh private mapping, never unmapped; its first page is given up.
    unsafe {
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_NORESERVE | MapFlags::MAP_STACK;
        let start = mmap_anonymous(None, whole, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE, flags)?;
        // A huge page would be touched as a whole.
        let _ = madvise(start, whole.get(), MmapAdvise::MADV_NOHUGEPAGE);
        mprotect(start, PAGE, ProtFlags::PROT_NONE)?;
        ALTERNATE_STACK.store(start.as_ptr().addr().saturating_add(PAGE), Relaxed);
    }
    ALTERNATE_STACK_SIZE.store(size, Relaxed);
    use_alternate_stack()
}

/// Makes the alternate stack that of this thread, which has to be the one that [`install`]ed it.
fn use_alternate_stack() -> io::Result<()> {
    let stack = libc::stack_t {
        ss_sp: std::ptr::with_exposed_provenance_mut(ALTERNATE_STACK.load(Relaxed)),
        ss_flags: 0,
        ss_size: ALTERNATE_STACK_SIZE.load(Relaxed),
    };
    // SAFETY: the range is mapped for good, and nothing else uses it.
    match unsafe { libc::sigaltstack(&raw const stack, std::ptr::null_mut()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// A signal that ends the process.
extern "C" fn on_crash(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = Errno::last_raw();
    if handlers::is_childs(signal) {
        if !handlers::set_default(signal) {
            end_here();
        }
    } else {
        let watchdog = stop_signal::kill_after(MAX_TIME);
        if wait_for_turn() {
            save(Cause::Crash, info, context);
        }
        // A core dump may take its time.
        watchdog.into_iter().for_each(stop_signal::cancel_kill);
        raise_again(signal, info);
    }
    Errno::set_raw(errno);
}

/// The manager asks what the thread is doing.
extern "C" fn on_request(signal: c_int, info: *mut siginfo_t, context: *mut c_void) {
    let errno = Errno::last_raw();
    if !handlers::is_childs(signal) && thread() == process() && take_turn(thread()).is_ok() {
        save(Cause::Request, info, context);
        SAVING.store(0, Release);
    }
    Errno::set_raw(errno);
}

/// Whether this thread is to be saved. Where another is at it, waits for a bounded time: it will end the process.
fn wait_for_turn() -> bool {
    let own = thread();
    for _ in 0..LOOKS {
        match take_turn(own) {
            Ok(()) => return true,
            // It crashed while it was being saved.
            Err(other) if other == own => return false,
            Err(_) => pause(),
        }
    }
    false
}

/// Fails with the thread whose turn it is.
fn take_turn(own: i32) -> Result<(), i32> {
    SAVING.compare_exchange(0, own, AcqRel, Acquire).map(drop)
}

fn pause() {
    let time = libc::timespec { tv_sec: 0, tv_nsec: 10_000_000 };
    // SAFETY: a plain system call on a live value.
    unsafe { libc::nanosleep(&raw const time, std::ptr::null_mut()) };
}

/// Gives the signal its default action as soon as the handler returns, before the thread executes anything: it is
/// blocked until then. So a core dump shows the thread as it was, with the same `siginfo`.
fn raise_again(signal: c_int, info: *const siginfo_t) {
    let is_default = handlers::set_default(signal);
    // SAFETY: plain system calls; `info` is what the kernel gave to the handler. A thread may send anything to itself.
    let is_sent = unsafe {
        libc::syscall(libc::SYS_rt_tgsigqueueinfo, process(), thread(), signal, info) == 0
            || libc::syscall(libc::SYS_tgkill, process(), thread(), signal) == 0
    };
    if !is_default || !is_sent {
        end_here();
    }
}

/// Where a filter of the library's forbids the system calls that would end the process: a fault while its signal is
/// blocked, which the kernel answers without asking the handler.
fn end_here() -> ! {
    loop {
        // SAFETY: none: it ends the process.
        unsafe { std::ptr::without_provenance_mut::<u8>(std::hint::black_box(1)).write_volatile(0) };
    }
}

fn save(cause: Cause, info: *const siginfo_t, context: *const c_void) {
    // SAFETY: the kernel gives a handler a `siginfo_t` and, with SA_SIGINFO, a `ucontext_t`, both valid until it returns.
    let (info, context) = unsafe { (info.as_ref(), context.cast::<libc::ucontext_t>().as_ref()) };
    if let (Some(area), Some(info), Some(context)) = (AREA.get(), info, context) {
        let job = JOB.load(Relaxed);
        let workload = (job != 0).then(|| (WORKLOAD.load(Relaxed).cast_const(), WORKLOAD_LENGTH.load(Relaxed)));
        save::Snapshot { cause, info, context, process: process(), thread: thread(), job, workload }.save(area);
    }
}

fn process() -> i32 {
    // SAFETY: no arguments, no errors.
    unsafe { libc::getpid() }
}

fn thread() -> i32 {
    // SAFETY: no arguments, no errors.
    unsafe { libc::gettid() }
}

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests;
