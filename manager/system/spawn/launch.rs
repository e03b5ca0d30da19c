//! The system calls that start a child.
//!
//! The child is a `vfork`: until it execs, it runs in this process's memory and this process waits. A fork would copy
//! the table of every mapping, and a manager has one for each worker. For the same reason the child shares our
//! descriptors until it has copied the few it needs.

use std::ffi::{CStr, CString, OsString, c_char};
use std::io;
use std::os::fd::RawFd;
use std::os::unix::ffi::OsStringExt;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use nix::errno::Errno;
use nix::libc;
use nix::sched::{CloneFlags, clone, unshare};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::{SigSet, SigmaskHow, Signal};
use nix::sys::wait::waitpid;
use nix::unistd::{Pid, getpid, getppid, setpgid};

/// Far more than a few system calls need.
const STACK: usize = 64 * 1024;
/// What a child exits with that could not exec; nothing sees it.
const NOT_STARTED: isize = 127;

/// Strings in the form that `execve` takes.
pub(super) struct CStringArray {
    _strings: Vec<CString>,
    pointers: Vec<*const c_char>,
}

impl CStringArray {
    /// # Errors
    /// A string contains a NUL.
    pub(super) fn new<S: Into<OsString>>(strings: impl IntoIterator<Item = S>) -> io::Result<Self> {
        let strings = strings.into_iter().map(|string| Ok(CString::new(string.into().into_vec())?));
        let strings = strings.collect::<io::Result<Vec<CString>>>()?;
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Ok(Self { _strings: strings, pointers })
    }
}

/// A child about to be started.
pub(super) struct Launch<'a> {
    pub path: &'a CStr,
    pub arguments: CStringArray,
    pub environment: CStringArray,
    pub outlives_us: bool,
    pub descriptor_limit: libc::rlimit,
    /// The descriptors that the child gets as 0, 1, 2 and so on. Each has a higher number now than any of them gets.
    pub sources: &'a [RawFd],
    /// The highest descriptor that the child needs until it execs.
    pub highest: RawFd,
}

impl Launch<'_> {
    /// Starts the child. Returns once it has exec'd or failed to.
    ///
    /// # Errors
    /// The system's, of the child too: then there is no child.
    pub(super) fn start(&self) -> io::Result<Pid> {
        let mut stack = vec![0; STACK];
        let parent = getpid();
        let failure = AtomicI32::new(0);
        let child = Box::new(|| {
            failure.store(self.exec(parent) as i32, Relaxed);
            NOT_STARTED
        });
        let flags = CloneFlags::CLONE_VM | CloneFlags::CLONE_VFORK | CloneFlags::CLONE_FILES;
        // A handler of ours must not run in the child, in our memory. It execs with all signals blocked.
        let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK)?;
        // SAFETY: the child has a stack of its own and runs only system calls on plain numbers and on memory that this
        // call borrows: no allocation, no lock, no panic. This thread waits until the child has exec'd or ended.
        let started = unsafe { clone(child, &mut stack, flags, Some(libc::SIGCHLD)) };
        // It cannot fail: the mask is one that this thread had.
        let _ = mask.thread_set_mask();
        let pid = started?;
        match failure.load(Relaxed) {
            0 => Ok(pid),
            error => {
                // It has ended, so this does not wait.
                let _ = waitpid(pid, None);
                Err(io::Error::from_raw_os_error(error))
            }
        }
    }

    /// What the child does. Returns only if it fails.
    fn exec(&self, parent: Pid) -> Errno {
        if let Err(error) = self.prepare(parent) {
            return error;
        }
        // SAFETY: the path ends in a NUL, and both arrays in a null pointer; all of them outlive the call.
        unsafe {
            libc::execve(self.path.as_ptr(), self.arguments.pointers.as_ptr(), self.environment.pointers.as_ptr())
        };
        Errno::last()
    }

    fn prepare(&self, parent: Pid) -> nix::Result<()> {
        if !self.outlives_us {
            set_pdeathsig(Signal::SIGKILL)?;
        }
        if getppid() != parent {
            // It ended before the call.
            return Err(Errno::ESRCH);
        }
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
        // SAFETY: a plain system call that reads one struct.
        Errno::result(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const self.descriptor_limit) })?;
        copy_descriptors_up_to(self.highest)?;
        self.hand_over()
    }

    /// Moves the descriptors to their numbers. No other survives the exec.
    fn hand_over(&self) -> nix::Result<()> {
        let mut next = 0;
        for &source in self.sources {
            // SAFETY: a plain system call on two numbers; the table is this process's own by now.
            Errno::result(unsafe { libc::dup2(source, next) })?;
            next += 1;
        }
        // An old kernel's ENOSYS is harmless, since all of ours are close-on-exec already.
        let _ = close_range(next, libc::CLOSE_RANGE_CLOEXEC);
        Ok(())
    }
}

/// Gives this process a table of descriptors of its own, with the lower ones of its parent's.
fn copy_descriptors_up_to(highest: RawFd) -> nix::Result<()> {
    // An old kernel copies all of them.
    close_range(highest + 1, libc::CLOSE_RANGE_UNSHARE).or_else(|_| unshare(CloneFlags::CLONE_FILES))
}

/// `close_range(2)`, from this descriptor to the last.
fn close_range(first: RawFd, flags: libc::c_uint) -> nix::Result<()> {
    // SAFETY: a plain system call on numbers. What it closes belongs to a process that is about to exec.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, libc::c_uint::MAX, flags) }).map(drop)
}
