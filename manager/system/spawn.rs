//! Starts a child: this program again, or the smaller one beside it ([`super::worker_program`]), from descriptors
//! opened at start, so that replacing a binary on disk never mixes versions.
//!
//! Only the main thread may spawn: PDEATHSIG, which the child asks for, follows the *thread* that made it.

mod launch;

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::resource::rlim_t;
use nix::unistd::{Pid, dup3};

use self::launch::{CStringArray, Launch};
use super::limits;
use super::worker_program::{self, NoWorkerProgram};

/// The descriptor on which a child finds its [`Channel`](super::channel::Channel); [`ChildCommand::extra`] follow it.
pub(crate) const CHANNEL_FD: RawFd = 3;
/// The first of [`ChildCommand::extra`].
pub(crate) const EXTRA_FD: RawFd = 4;

/// How many bytes a child's `argv[0]` reserves for the title it gives itself.
const TITLE_ROOM: usize = 200;
/// Above the numbers that a child's descriptors get, so that none is overwritten before its turn.
const FIRST_SLOT: RawFd = 16;
/// How many descriptors a child can get: its output, its channel, and up to four of [`ChildCommand::extra`].
const SLOTS: usize = 7;

/// The running program, and the settings it changed for itself and restores in its children.
#[derive(Debug)]
pub(crate) struct Program {
    own: Executable,
    /// A smaller one of the same build, for children that need no more.
    worker: Option<Executable>,
    slots: Slots,
    descriptors: (rlim_t, rlim_t),
}

/// An opened program, and the path by which this process and its children reach it.
#[derive(Debug)]
struct Executable {
    path: CString,
    file: File,
}

impl Executable {
    fn lift(file: File) -> io::Result<Self> {
        let file = File::from(lift(&file.into())?);
        Ok(Self { path: CString::new(format!("/proc/self/fd/{}", file.as_raw_fd()))?, file })
    }
}

/// Descriptors with low numbers that stand for those of the next child. A child copies our table of descriptors only up
/// to the last of them: what a start costs does not depend on how many workers there are.
#[derive(Debug)]
struct Slots {
    /// A child's standard input, and what lies in a slot that is not in use.
    null: OwnedFd,
    slots: [OwnedFd; SLOTS],
}

impl Slots {
    fn reserve() -> io::Result<Self> {
        let null = lift(&File::options().read(true).write(true).open("/dev/null")?.into())?;
        let slots: Vec<OwnedFd> = (0..SLOTS).map(|_| lift(&null)).collect::<io::Result<_>>()?;
        let slots = slots.try_into().map_err(|_| io::ErrorKind::InvalidInput)?;
        Ok(Self { null, slots })
    }

    /// Puts the descriptors into slots. Returns where each of a child's descriptors comes from: its standard input,
    /// then these.
    fn fill(&mut self, descriptors: &[OwnedFd]) -> io::Result<Vec<RawFd>> {
        if descriptors.len() > self.slots.len() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        for (slot, descriptor) in self.slots.iter_mut().zip(descriptors) {
            dup3(descriptor, slot, OFlag::O_CLOEXEC)?;
        }
        let used = self.slots.iter().take(descriptors.len());
        Ok(std::iter::once(&self.null).chain(used).map(AsRawFd::as_raw_fd).collect())
    }

    /// Closes our copies, or we would never see the end of what the child holds.
    fn clear(&mut self) {
        for slot in &mut self.slots {
            // Both are open, so this cannot fail.
            let _ = dup3(&self.null, slot, OFlag::O_CLOEXEC);
        }
    }

    fn highest(&self) -> RawFd {
        self.slots.iter().chain([&self.null]).map(AsRawFd::as_raw_fd).fold(0, RawFd::max)
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
        Ok(Self { own, worker: None, slots: Slots::reserve()?, descriptors: limits::lift_descriptors()? })
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
    /// of its own, and is killed when this process ends unless it outlives us or asks for another signal. It starts
    /// with all signals blocked, and unblocks them first of all. Reap it with [`super::reap`].
    ///
    /// # Errors
    /// The system's: out of processes, memory or descriptors.
    pub(crate) fn spawn(&mut self, child: ChildCommand<'_>) -> io::Result<Pid> {
        let descriptors: Vec<OwnedFd> =
            [child.output.0, child.output.1, child.channel].into_iter().chain(child.extra).collect();
        let filled = self.slots.fill(&descriptors);
        let started = filled.and_then(|sources| self.launch(child.role, child.program, child.outlives_us, &sources));
        self.slots.clear();
        started
    }

    fn launch(&self, role: &str, program: ChildProgram, outlives_us: bool, sources: &[RawFd]) -> io::Result<Pid> {
        let executable = match program {
            ChildProgram::Own => &self.own,
            ChildProgram::Worker => self.worker.as_ref().unwrap_or(&self.own),
        };
        let title = format!("{:<TITLE_ROOM$}", format!("gm-native: {role}"));
        let (soft, hard) = self.descriptors;
        let launch = Launch {
            path: &executable.path,
            arguments: CStringArray::new([title, role.to_owned()])?,
            environment: CStringArray::new(super::tunables::environment_of_children())?,
            outlives_us,
            descriptor_limit: libc::rlimit { rlim_cur: soft, rlim_max: hard },
            sources,
            highest: self.slots.highest().max(executable.file.as_raw_fd()),
        };
        launch.start()
    }
}

/// A copy of the descriptor, above every number that a child's descriptors get.
fn lift(fd: &OwnedFd) -> io::Result<OwnedFd> {
    let copy = fcntl(fd.as_fd(), FcntlArg::F_DUPFD_CLOEXEC(FIRST_SLOT)).map_err(|error| match error {
        // The kernel's error if the limit of descriptors is below that number.
        Errno::EINVAL => Errno::EMFILE,
        other => other,
    })?;
    // SAFETY: the kernel has just made it for us.
    Ok(unsafe { OwnedFd::from_raw_fd(copy) })
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

#[cfg(test)]
mod tests;
