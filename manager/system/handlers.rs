//! Signal handlers of a process that runs plugins. They do not apply in a forked child: the child is the plugin's, and
//! a signal to it must neither be ignored nor be taken for one to its parent.

use std::io;
use std::sync::Once;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use nix::libc::{self, c_int, c_void, siginfo_t};

use super::fork;

/// A handler. It must be async-signal-safe, and call [`is_childs`] first.
pub(crate) type Handler = extern "C" fn(c_int);

/// A handler that also gets what the kernel knows of the signal, and the `ucontext_t` of the interrupted thread.
pub(crate) type ContextHandler = extern "C" fn(c_int, *mut siginfo_t, *mut c_void);

/// One more than the highest signal there is.
const SIGNALS: usize = 65;

/// The handlers set here, by signal; 0 means none.
static SET: [AtomicUsize; SIGNALS] = [const { AtomicUsize::new(0) }; SIGNALS];

/// The real-time signal with which the manager asks what a worker's thread is doing. All handlers set here put it off:
/// what it interrupts is then the plugin, not another handler.
pub(crate) fn request_signal() -> c_int {
    libc::SIGRTMIN() + 4
}

/// Sets a handler for this process, but not for its forked children.
///
/// # Errors
/// The system's: no such signal, or out of memory.
pub(crate) fn set(signal: c_int, handler: Handler, flags: c_int) -> io::Result<()> {
    set_address(signal, handler as *const () as usize, flags, |mask| {
        // SAFETY: the mask is a valid one.
        unsafe { libc::sigaddset(mask, request_signal()) };
    })
}

/// As [`set`], on the thread's alternate stack where it has one, and with all other signals blocked.
///
/// # Errors
/// See [`set`].
pub(crate) fn set_with_context(signal: c_int, handler: ContextHandler, flags: c_int) -> io::Result<()> {
    let flags = flags | libc::SA_SIGINFO | libc::SA_ONSTACK;
    set_address(signal, handler as *const () as usize, flags, |mask| {
        // SAFETY: the mask is a valid one.
        unsafe { libc::sigfillset(mask) };
    })
}

fn set_address(signal: c_int, address: usize, flags: c_int, block: impl Fn(&mut libc::sigset_t)) -> io::Result<()> {
    static REGISTERED: Once = Once::new();
    let mut registered = Ok(());
    REGISTERED.call_once(|| registered = fork::in_each_child(set_defaults));
    registered?;
    // SAFETY: a zeroed sigaction is a valid one with an empty mask; the handler is async-signal-safe, and takes the
    // arguments that the flags ask for.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = address;
        action.sa_flags = flags;
        block(&mut action.sa_mask);
        if libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    if let Some(slot) = usize::try_from(signal).ok().and_then(|signal| SET.get(signal)) {
        slot.store(address, Relaxed);
    }
    Ok(())
}

/// In a forked child: restores the defaults, unless a plugin has set something of its own.
extern "C" fn set_defaults() {
    for (signal, ours) in SET.iter().enumerate() {
        let ours = ours.load(Relaxed);
        if ours != 0 && current(signal as c_int) == Some(ours) {
            set_default(signal as c_int);
        }
    }
}

fn current(signal: c_int) -> Option<usize> {
    // SAFETY: a zeroed sigaction is a valid one, and only written to.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        (libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0).then_some(action.sa_sigaction)
    }
}

/// Whether this process ignores a signal, which it may have inherited: `nohup` ignores SIGHUP.
pub(crate) fn is_ignored(signal: c_int) -> bool {
    current(signal) == Some(libc::SIG_IGN)
}

/// Makes SIGINT and SIGQUIT end this process, unless it handles them. A shell script starts `command &` with both
/// ignored: then `kill -INT` would do nothing, although every command says that Ctrl-C ends it.
pub(crate) fn restore_interrupts() {
    for signal in [libc::SIGINT, libc::SIGQUIT] {
        set_default(signal);
    }
}

/// Gives a signal its default action. False if a filter of system calls forbids that. Async-signal-safe.
pub(crate) fn set_default(signal: c_int) -> bool {
    // SAFETY: the default needs no handler; signal(2) is async-signal-safe.
    unsafe { libc::signal(signal, libc::SIG_DFL) != libc::SIG_ERR }
}

/// For the first line of a handler: whether the signal is for a child that was made without glibc's `fork` (or has not
/// returned from it yet). The child then gets the signal's default action as soon as the handler returns.
pub(crate) fn is_childs(signal: c_int) -> bool {
    let childs = fork::is_any_child();
    if childs {
        set_default(signal);
        // SAFETY: plain system calls; the signal is blocked while its handler runs. A filter of system calls may answer
        // with -1, to which nobody must send a signal.
        unsafe {
            let process = libc::getpid();
            if process > 0 {
                libc::kill(process, signal);
            }
        }
    }
    childs
}

/// Makes a write to a pipe without a reader an error in this process, as std does, and leaves it the usual death in
/// programs that this one starts. std ignores the signal, which survives exec, and C's `system()` runs no code of ours
/// in between.
///
/// # Errors
/// The system's: out of memory.
pub(crate) fn catch_broken_pipes() -> io::Result<()> {
    set(libc::SIGPIPE, on_broken_pipe, libc::SA_RESTART)
}

extern "C" fn on_broken_pipe(signal: c_int) {
    let saved = nix::errno::Errno::last_raw();
    is_childs(signal);
    nix::errno::Errno::set_raw(saved);
}
