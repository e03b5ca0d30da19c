//! Files that are locked while a manager runs, and that say which one.
//!
//! The lock is the kernel's (`flock`): it goes with the process however that ends, so what a dead manager left behind
//! stops nobody. What the file says is for people; nothing is ever decided by it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, fchown};

use super::errors::reason;
use super::plain_file;

/// The lock's name in the state directory.
const STATE_LOCK: &str = "lock";

/// A path may be replaced while it is being locked, by a manager that is just ending. Not so many times in a row.
const ATTEMPTS: u32 = 100;

/// Why a file was not locked.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Another process holds it; this one, where the file says so.
    Held(Option<u32>),
    Failed(io::Error),
}

/// A file this process has locked and written its pid to.
#[derive(Debug)]
pub(super) struct LockedFile {
    pub(super) file: File,
    /// Absolute, since the working directory changes, and without links.
    pub(super) path: PathBuf,
}

impl LockedFile {
    /// Creates the file where needed, locks it without waiting and writes this process's pid into it. Descendants that
    /// exec do not hold the lock. A process that forks first must fork first: a lock is shared over a fork.
    pub(super) fn take(path: &Path) -> Result<Self, NotLocked> {
        for _ in 0..ATTEMPTS {
            let locked = lock(path)?;
            // Its last holder may have removed it between our open and our lock: then a third process could lock a new
            // file at this path while we hold one that has no name.
            if let Ok(path) = path.canonicalize()
                && plain_file::is_still_at(&locked, &path)
            {
                write_pid(&locked).map_err(NotLocked::Failed)?;
                return Ok(Self { file: locked, path });
            }
        }
        Err(NotLocked::Failed(io::Error::other("it is being replaced again and again")))
    }

    /// Gives the file to the user the manager is going to run as.
    pub(super) fn hand_over(&self, uid: Uid, gid: Gid) -> io::Result<()> {
        Ok(fchown(&self.file, Some(uid), Some(gid))?)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing is not enough at once: a child between fork and exec has a copy of the descriptor.
        let _ = self.file.unlock();
    }
}

fn lock(path: &Path) -> Result<File, NotLocked> {
    // Not truncated on opening: before it is locked the content is another's.
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).mode(0o644);
    let file = plain_file::open(path, &mut options).map_err(NotLocked::Failed)?;
    if !file.metadata().map_err(NotLocked::Failed)?.is_file() {
        return Err(NotLocked::Failed(io::Error::other("it is no regular file")));
    }
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(NotLocked::Held(read_pid(&file))),
        Err(TryLockError::Error(error)) => Err(NotLocked::Failed(error)),
    }
}

fn write_pid(file: &File) -> io::Result<()> {
    file.set_len(0)?;
    file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0)
}

/// The pid in the file; none where the holder has not written it yet, or somebody else wrote something else.
fn read_pid(file: &File) -> Option<u32> {
    let mut content = [0; 16];
    let length = file.read_at(&mut content, 0).ok()?;
    std::str::from_utf8(&content[..length]).ok()?.trim().parse().ok()
}

/// The words for a holder in messages.
pub(super) fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("another gm-native (pid {pid})"))
}

/// The lock on a state directory, held as long as this value lives. Its file stays: unlike a pid file, which anybody
/// may tidy away, it has only this purpose.
#[derive(Debug)]
pub struct StateLock(LockedFile);

/// The state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum StateLockError {
    /// A manager runs on it.
    #[error("{} uses state directory {}; stop it, or name another one with state_dir", holder(*pid), dir.display())]
    Held {
        /// The state directory.
        dir: PathBuf,
        /// The manager's pid, where it is known.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot lock state directory {place} by its file {place}/{STATE_LOCK}: {}", reason(.source), place = dir.display())]
    Failed {
        /// The state directory.
        dir: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl StateLock {
    /// Locks an existing state directory, without waiting. To be called after daemonizing.
    ///
    /// # Errors
    ///
    /// A manager runs on it, or the lock file cannot be opened, locked or written.
    pub fn take(dir: &Path) -> Result<Self, StateLockError> {
        LockedFile::take(&dir.join(STATE_LOCK)).map(Self).map_err(|error| match error {
            NotLocked::Held(pid) => StateLockError::Held { dir: dir.to_owned(), pid },
            NotLocked::Failed(source) => StateLockError::Failed { dir: dir.to_owned(), source },
        })
    }

    /// Gives the lock file to the user the manager is going to run as; the lock stays.
    ///
    /// # Errors
    ///
    /// The system refuses to change the owner.
    pub fn hand_over(&self, uid: Uid, gid: Gid) -> io::Result<()> {
        self.0.hand_over(uid, gid)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::{Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;
    use crate::system::reexec;

    #[test]
    fn a_second_manager_is_refused_and_told_the_pid() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateLock::take(dir.path()).unwrap();
        let error = StateLock::take(dir.path()).unwrap_err();
        let pid = std::process::id();
        assert!(matches!(error, StateLockError::Held { pid: Some(found), .. } if found == pid));
        assert_eq!(
            error.to_string(),
            format!(
                "another gm-native (pid {pid}) uses state directory {}; stop it, or name another one with state_dir",
                dir.path().display()
            )
        );
        drop(lock);
        assert!(dir.path().join("lock").exists(), "the lock file stays");
        StateLock::take(dir.path()).unwrap();
    }

    #[test]
    fn what_a_dead_manager_left_stops_nobody() {
        for left in ["1\n", "", "4194304999", "rubbish \0\u{ff}", &"9".repeat(10_000)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("lock"), left).unwrap();
            let _lock = StateLock::take(dir.path()).unwrap();
            assert_eq!(fs::read_to_string(dir.path().join("lock")).unwrap(), format!("{}\n", std::process::id()));
        }
    }

    #[test]
    fn a_holder_without_a_pid_is_still_a_holder() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = StateLock::take(dir.path()).unwrap();
        fs::write(dir.path().join("lock"), "rubbish").unwrap();
        let error = StateLock::take(dir.path()).unwrap_err();
        assert!(error.to_string().starts_with("another process uses state directory"), "{error}");
    }

    #[test]
    fn free_at_once_though_a_child_still_has_a_copy_of_the_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateLock::take(dir.path()).unwrap();
        // As a child has between fork and exec.
        let _copy = lock.0.file.try_clone().unwrap();
        drop(lock);
        StateLock::take(dir.path()).unwrap();
    }

    #[test]
    fn no_directory_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = StateLock::take(&missing).unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot lock state directory {}", missing.display())));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the child is killed; its own child ends with the test's pipe")]
    fn gone_with_a_killed_holder_though_its_children_live() {
        let path = |dir: &Path| dir.join("child");
        if reexec::is_child() {
            let dir = PathBuf::from(std::env::var_os("GM_TEST_DIR").unwrap());
            std::mem::forget(StateLock::take(&dir).unwrap());
            // Lives as long as the test's end of our stdin does.
            let worker = Command::new("cat").stdin(Stdio::inherit()).spawn().unwrap();
            fs::write(path(&dir), worker.id().to_string()).unwrap();
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let mut holder = reexec::child("system::lock::tests::gone_with_a_killed_holder_though_its_children_live");
        holder.stdin(Stdio::piped()).stdout(Stdio::null()).env("GM_TEST_DIR", dir.path());
        let mut holder = holder.spawn().unwrap();
        let stdin = holder.stdin.take();
        holder.wait().unwrap();
        let worker: i32 = fs::read_to_string(path(dir.path())).unwrap().parse().unwrap();
        kill(Pid::from_raw(worker), None).unwrap();
        StateLock::take(dir.path()).unwrap();
        drop(stdin);
    }
}
