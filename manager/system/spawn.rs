//! Starts a child: this program again, or the smaller one beside it ([`super::worker_program`]), from descriptors opened
//! at start, so that replacing a binary on disk never mixes versions.
//!
//! Only the main thread may spawn: PDEATHSIG, which the child asks for, follows the *thread* that made it.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, rlim_t, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid, setpgid};

use super::limits;
use super::worker_program::{self, NoWorkerProgram};

/// The descriptor on which a child finds its [`Channel`](super::channel::Channel); [`ChildCommand::extra`] follow it.
pub(crate) const CHANNEL_FD: RawFd = 3;
/// The first of [`ChildCommand::extra`].
pub(crate) const EXTRA_FD: RawFd = 4;

/// How many bytes a child's `argv[0]` reserves for the title it gives itself.
const TITLE_ROOM: usize = 200;

/// The running program, and the settings it changed for itself and restores in its children.
#[derive(Debug)]
pub(crate) struct Program {
    own: Executable,
    /// A smaller one of the same build, for children that need no more.
    worker: Option<Executable>,
    descriptors: (rlim_t, rlim_t),
}

/// An opened program, and the path by which this process reaches it.
#[derive(Debug)]
struct Executable {
    path: String,
    file: File,
}

impl Executable {
    /// Moves its descriptor up: a child finds its descriptors on low numbers, which must not be that of its program.
    fn lift(file: File) -> io::Result<Self> {
        let file = File::from(lift(&file.into())?);
        Ok(Self { path: format!("/proc/self/fd/{}", file.as_raw_fd()), file })
    }
}

/// Which program a child runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ChildProgram {
    /// This one.
    Own,
    /// The smaller one, where there is one.
    Worker,
}

/// A child to start.
#[derive(Debug)]
pub(crate) struct ChildCommand<'a> {
    /// The hidden first argument that selects what it does.
    pub role: &'a str,
    /// What it runs.
    pub program: ChildProgram,
    /// Its end of the channel.
    pub channel: OwnedFd,
    /// Further descriptors, numbered from [`EXTRA_FD`].
    pub extra: Vec<OwnedFd>,
    /// Where its standard output and error go.
    pub output: (OwnedFd, OwnedFd),
    /// Whether it lives on when this process dies.
    pub outlives_us: bool,
}

impl Program {
    /// Opens the running program and raises the soft limit of descriptors to the hard one: a manager needs a few for
    /// each worker.
    ///
    /// # Errors
    /// `/proc` is not mounted.
    pub(crate) fn open() -> io::Result<Self> {
        let own = Executable::lift(File::open("/proc/self/exe")?)?;
        Ok(Self { own, worker: None, descriptors: limits::lift_descriptors()? })
    }

    /// Opens the worker program beside the running one. From then on, children that need no more run it.
    ///
    /// # Errors
    /// Why it is not used: all children run the whole program.
    pub(crate) fn open_worker_program(&mut self) -> Result<(), NoWorkerProgram> {
        let file = worker_program::open_beside(&self.own.file)?;
        self.worker = Some(Executable::lift(file).map_err(NoWorkerProgram::NotKept)?);
        Ok(())
    }

    /// Starts a child with room for libraries that want static TLS (see [`super::tunables`]). It leads a process group
    /// of its own, and is killed when this process ends unless it outlives us or asks for another signal. Reap it with
    /// [`super::reap`].
    ///
    /// # Errors
    /// The system's: out of processes, memory or descriptors.
    pub(crate) fn spawn(&self, child: ChildCommand<'_>) -> io::Result<Pid> {
        let executable = match child.program {
            ChildProgram::Own => &self.own,
            ChildProgram::Worker => self.worker.as_ref().unwrap_or(&self.own),
        };
        let mut command = Command::new(&executable.path);
        command.arg0(format!("{:<TITLE_ROOM$}", format!("gm-native: {}", child.role))).arg(child.role);
        command.envs(super::tunables::for_children());
        command.stdin(Stdio::null()).stdout(child.output.0).stderr(child.output.1);
        let mut inherited: Vec<OwnedFd> = vec![child.channel];
        inherited.extend(child.extra);
        // Lifted above the numbers they are to get, so that none is overwritten before its turn.
        let lifted = inherited.iter().map(lift).collect::<io::Result<Vec<OwnedFd>>>()?;
        let numbers: Vec<RawFd> = lifted.iter().map(AsRawFd::as_raw_fd).collect();
        let (soft, hard) = self.descriptors;
        let parent = getpid();
        let outlives_us = child.outlives_us;
        // SAFETY: what runs between fork and exec is only system calls on plain numbers: no allocation, no lock.
        unsafe {
            command.pre_exec(move || {
                if !outlives_us {
                    set_pdeathsig(Signal::SIGKILL)?;
                }
                if getppid() != parent {
                    // It ended before the call.
                    return Err(io::ErrorKind::NotFound.into());
                }
                setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
                setrlimit(Resource::RLIMIT_NOFILE, soft, hard)?;
                hand_over(&numbers)
            });
        }
        let started = command.spawn()?;
        Ok(Pid::from_raw(started.id() as i32))
    }
}

/// A copy of the descriptor, above every number that a child's descriptors get.
fn lift(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(64)).map_err(|error| match error {
        // The kernel's error if the limit of descriptors is below that number.
        Errno::EINVAL => Errno::EMFILE,
        other => other,
    })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
}

/// Moves the descriptors to their numbers and marks all others close-on-exec. Closing them here would close the pipe
/// through which std learns of a failed exec.
fn hand_over(numbers: &[RawFd]) -> io::Result<()> {
    let mut next = CHANNEL_FD;
    for &number in numbers {
        // SAFETY: plain system call on two descriptor numbers.
        if unsafe { libc::dup2(number, next) } < 0 {
            return Err(io::Error::last_os_error());
        }
        next += 1;
    }
    // SAFETY: plain system call; an old kernel's ENOSYS is harmless, since all of ours are close-on-exec already.
    unsafe { libc::syscall(libc::SYS_close_range, next, libc::c_uint::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Ok(())
}

/// Takes an inherited descriptor by its number; `None` if it is not open (no manager started this program). Marks it
/// close-on-exec, so that nothing a plugin starts gets it.
pub(crate) fn inherited(number: RawFd) -> Option<OwnedFd> {
    // SAFETY: plain system calls; a number that is not open gives an error.
    let open = unsafe { libc::fcntl(number, libc::F_SETFD, libc::FD_CLOEXEC) } == 0;
    // SAFETY: it is open, and each number is taken once, by the one place that knows what it means.
    open.then(|| unsafe { OwnedFd::from_raw_fd(number) })
}

/// An anonymous file with these bytes, positioned at its start: for a configuration too long for a message.
///
/// # Errors
/// The system's: out of descriptors or memory.
pub(crate) fn file_holding(bytes: &[u8]) -> io::Result<OwnedFd> {
    let mut file = File::from(memfd_create(c"gm-native-orders", MFdFlags::MFD_CLOEXEC)?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file.into())
}
