//! Files that a manager keeps locked while it runs, and that say which manager.
//!
//! The kernel holds the lock and releases it however the process ends, so a dead manager's file stops nobody. The
//! file's content is for people and messages; only the lock decides.
//!
//! It is a *write* lock (`F_OFD_SETLK`), which takes write access to the file. Anyone who may read a pid file could
//! hold its `flock`, or a read lock: this module never asks for the first, and replaces a file that has the second.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::libc;
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::errors::reason;
use super::plain_file::FileLocation;

/// A manager that is just ending may replace the path while it is being locked. Not this many times in a row.
const ATTEMPTS: u32 = 100;

/// The pause between two attempts to lock a file whose holder has ended: a second in all.
const PAUSE: Duration = Duration::from_millis(10);

/// A lock file's content is never longer: a pid, and some paths.
const LONGEST: usize = 64 << 10;

/// Why a file was not locked.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Another process holds it: this one, if the file names it.
    Held(Option<u32>),
    Failed(io::Error),
}

impl From<io::Error> for NotLocked {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

/// A file this process has locked.
#[derive(Debug)]
pub(super) struct LockedFile {
    pub(super) file: File,
    /// Where it was: in an open directory, since the working directory and links can change.
    pub(super) place: FileLocation,
}

/// What a check of a file that has to be at its path found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathCheck {
    /// It is where it was.
    InPlace,
    /// It had been removed or replaced; a new one was made.
    MadeAgain,
}

/// Whether a locked file can be used, or must be removed and made again.
pub(super) enum LockFileCheck {
    Yes,
    No,
}

impl LockedFile {
    /// Creates the file if needed and locks it without waiting; replaces one that is not suitable. Descendants that
    /// exec do not hold the lock. Fork before you call this: a fork shares the lock.
    pub(super) fn take(path: &Path, suits: impl Fn(&File) -> io::Result<LockFileCheck>) -> Result<Self, NotLocked> {
        let mut held_by = None;
        for _ in 0..ATTEMPTS {
            let place = FileLocation::of(path)?;
            // Not truncated on opening: before it is locked the content belongs to another manager. No one else can
            // open a file that we create before we have locked it.
            let file = place.open(OFlag::O_RDWR, Mode::S_IRUSR | Mode::S_IWUSR)?;
            match lock(&file)? {
                Locked::Ours => {}
                Locked::Held => {
                    let pid = LockContent::of(&file).pid;
                    // A child of a killed manager has a copy of its descriptor until the child has executed its
                    // program.
                    if !pid.is_some_and(has_ended) {
                        return Err(NotLocked::Held(pid));
                    }
                    held_by = Some(pid);
                    std::thread::sleep(PAUSE);
                    continue;
                }
                // Not held by a manager: another process with read access blocks it. The path may hold another file by
                // now.
                Locked::ByReaders if place.holds(&file) => {
                    place.remove().map_err(|error| locked_by_readers(&error))?;
                    continue;
                }
                Locked::ByReaders => continue,
            }
            // Its last holder may have removed it between our open and our lock: then a third process could lock a new
            // file at this path while we hold one without a name.
            if !place.holds(&file) {
                continue;
            }
            match suits(&file)? {
                LockFileCheck::Yes => return Ok(Self { file, place }),
                LockFileCheck::No => place.remove()?,
            }
        }
        Err(held_by.map_or_else(
            || NotLocked::Failed(io::Error::other("it is being replaced again and again")),
            NotLocked::Held,
        ))
    }

    /// Whether a path still leads to this file, which is false once someone has removed or replaced it. If the path
    /// cannot be examined, a file that still has a name is taken to be there.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let Ok(open) = self.file.metadata() else { return true };
        match path.metadata() {
            Ok(found) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && open.nlink() > 0,
        }
    }

    /// Writes this process's pid, and what else people or another manager need.
    pub(super) fn write(&self, more: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        let pid = format!("{}\n", std::process::id());
        self.file.write_all_at(&[pid.as_bytes(), more].concat(), 0)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing is not enough: a child between fork and exec has a copy of the descriptor.
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
    }
}

/// The outcome of an attempt to lock a file.
enum Locked {
    Ours,
    /// By a process that may write it: a manager.
    Held,
    /// By a process that may only read it.
    ByReaders,
}

/// Whether there is no such process, or it has ended and was not reaped yet.
pub(crate) fn has_ended(pid: u32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else {
        return i32::try_from(pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH));
    };
    stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with(['Z', 'X']))
}

/// Tries to lock a file that is open for writing.
fn lock(file: &File) -> Result<Locked, NotLocked> {
    if !file.metadata()?.is_file() {
        return Err(NotLocked::Failed(io::Error::other("it is no regular file")));
    }
    match fcntl(file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_WRLCK))) {
        Ok(_) => Ok(Locked::Ours),
        Err(Errno::EAGAIN | Errno::EACCES) if is_locked(file)? => Ok(Locked::Held),
        Err(Errno::EAGAIN | Errno::EACCES) => Ok(Locked::ByReaders),
        Err(error) => Err(NotLocked::Failed(error.into())),
    }
}

/// Whether a manager holds the lock of an open file: whether a read lock would have to wait. Takes no lock.
pub(super) fn is_locked(file: &File) -> io::Result<bool> {
    let mut found = whole_file(libc::F_RDLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

/// A lock of this kind on all of a file, however long it is.
pub(super) fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn locked_by_readers(error: &io::Error) -> io::Error {
    let reason = reason(error);
    io::Error::new(
        error.kind(),
        format!("somebody who may only read it has locked it, and it cannot be replaced: {reason}"),
    )
}

/// The content of a lock file.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct LockContent {
    /// None if the holder has not written it yet, or the content is something else.
    pub(super) pid: Option<u32>,
    pub(super) more: Vec<u8>,
}

impl LockContent {
    pub(super) fn of(file: &File) -> Self {
        let mut bytes = vec![0; LONGEST];
        let length = file.read_at(&mut bytes, 0).unwrap_or_default();
        bytes.truncate(length);
        let (first, more) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (&bytes[..end], &bytes[end + 1..]),
            None => (bytes.as_slice(), [].as_slice()),
        };
        let pid = std::str::from_utf8(first).ok().and_then(|text| text.trim().parse().ok());
        Self { pid, more: more.to_vec() }
    }
}

/// How messages name a holder.
pub(super) fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("another gm-native (pid {pid})"))
}
