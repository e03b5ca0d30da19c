//! The lock on a state directory: at most one manager uses it, and other processes can see which one.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::errors::reason;
use super::lock::{LockContent, LockFileCheck, LockedFile, NotLocked, PathCheck, holder, is_locked};
use super::private_dir;

/// The lock's name in the state directory.
const STATE_LOCK: &str = "lock";

/// The lock on a state directory, held as long as this value lives. Its file stays, empty: unlike a pid file, which
/// others may tidy away, it has only this purpose. A file with a pid in it was left by a manager that was killed.
#[derive(Debug)]
pub(crate) struct StateLock {
    file: LockedFile,
    dir: PathBuf,
    record: Vec<u8>,
    left_by: Option<u32>,
}

/// Why the state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateLockError {
    /// A running manager uses it.
    #[error("{} uses state directory {}; stop it, or name another one with state_dir", holder(*pid), dir.display())]
    Held {
        dir: PathBuf,
        /// That manager's pid, if known.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot lock state directory {place} by its file {place}/{STATE_LOCK}: {}", reason(.source), place = dir.display())]
    Failed { dir: PathBuf, source: io::Error },
}

impl StateLock {
    /// Locks an existing state directory without waiting, and records after the pid whose it is. Call it after
    /// daemonizing and as the user the manager will run as, who owns the file then.
    ///
    /// # Errors
    ///
    /// A running manager uses it, or the lock file cannot be opened, locked or written.
    pub(crate) fn take(dir: &Path, record: &[u8]) -> Result<Self, StateLockError> {
        let locked = LockedFile::take(&dir.join(STATE_LOCK), |_| Ok(LockFileCheck::Yes));
        let written = locked.and_then(|file| {
            let left_by = LockContent::of(&file.file).pid;
            file.write(record).map_err(NotLocked::Failed)?;
            Ok((file, left_by))
        });
        let (file, left_by) = written.map_err(|error| match error {
            NotLocked::Held(pid) => StateLockError::Held { dir: dir.to_owned(), pid },
            NotLocked::Failed(source) => StateLockError::Failed { dir: dir.to_owned(), source },
        })?;
        Ok(Self { file, dir: dir.to_owned(), record: record.to_owned(), left_by })
    }

    /// The pid of the manager that used the directory last, if that did not stop but was killed or crashed.
    pub(crate) fn left_by(&self) -> Option<u32> {
        self.left_by
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Creates the directory and the lock again if someone has removed either: without them a second manager could
    /// start on them, and nothing new could be stored.
    ///
    /// # Errors
    ///
    /// A sentence: it cannot be created, or another manager has it by now.
    pub(crate) fn renew(&mut self) -> Result<PathCheck, String> {
        if self.file.is_at(&self.dir.join(STATE_LOCK)) {
            return Ok(PathCheck::InPlace);
        }
        let dir = self.dir.display();
        private_dir::state(&self.dir, None).map_err(|refusal| {
            let uid = nix::unistd::geteuid();
            format!(
                "the state directory {dir} was removed or replaced, and {refusal}; make it, mode 0700, for uid {uid}, or \
                 stop and start the manager"
            )
        })?;
        let taken = Self::take(&self.dir, &self.record);
        *self = taken
            .map_err(|error| format!("the state directory {dir}, or its lock, was removed: {}", reason(&error)))?;
        Ok(PathCheck::MadeAgain)
    }
}

impl Drop for StateLock {
    fn drop(&mut self) {
        // If that fails, the next manager takes this one for killed, and says so. Nothing else follows from it.
        let _ = self.file.file.set_len(0);
    }
}

/// A state directory's lock as another process sees it.
#[derive(Debug)]
pub(crate) struct LockSeen {
    file: File,
    /// The pid of the manager that wrote it.
    pub pid: Option<u32>,
    /// What that manager recorded. Anyone who may write there can have written it.
    pub record: Vec<u8>,
}

impl LockSeen {
    /// Examines the lock in a directory; `None` if there is none that can be read.
    pub(crate) fn inspect(dir: &Path) -> Option<Self> {
        let dir = super::directory::open(dir).ok()?;
        // Whatever the directory's owner has put there, it neither leads elsewhere nor blocks us.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(openat(&dir, STATE_LOCK, flags, Mode::empty()).ok()?);
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let LockContent { pid, more } = LockContent::of(&file);
        Some(Self { file, pid, record: more })
    }

    /// Whether a manager holds it now.
    pub(crate) fn is_held(&self) -> bool {
        is_locked(&self.file).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::os::unix::fs::FileExt as _;
    use std::process::{Command, Stdio};

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;
    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;
    use crate::system::lock::whole_file;
    use crate::system::reexec;

    #[test]
    fn a_second_manager_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateLock::take(dir.path(), b"").unwrap();
        let error = StateLock::take(dir.path(), b"").unwrap_err();
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
        assert_eq!(StateLock::take(dir.path(), b"").unwrap().left_by(), None, "the first one has stopped");
    }

    #[test]
    fn what_a_dead_manager_left_does_not_stop_the_next() {
        for (left, pid) in [
            ("1\n", Some(1)),
            ("17\nof an ini", Some(17)),
            ("", None),
            ("4194304999", Some(4_194_304_999)),
            ("rubbish \0\u{ff}", None),
            (&"9".repeat(10_000), None),
        ] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("lock"), left).unwrap();
            let lock = StateLock::take(dir.path(), b"").unwrap();
            assert_eq!(lock.left_by(), pid, "{left:?}");
            assert_eq!(fs::read_to_string(dir.path().join("lock")).unwrap(), format!("{}\n", std::process::id()));
        }
    }

    #[test]
    fn another_process_sees_who_holds_it_and_what_it_recorded() {
        let dir = tempfile::tempdir().unwrap();
        assert!(LockSeen::inspect(dir.path()).is_none());
        let lock = StateLock::take(dir.path(), b"config /etc/gm.ini\n").unwrap();
        let seen = LockSeen::inspect(dir.path()).unwrap();
        assert_eq!((seen.pid, seen.record.as_slice()), (Some(std::process::id()), b"config /etc/gm.ini\n".as_slice()));
        assert!(seen.is_held());
        drop(lock);
        let seen = LockSeen::inspect(dir.path()).unwrap();
        assert!(!seen.is_held());
        // A process that may only read it keeps no one out, whatever it locks, and is not taken for a manager.
        seen.file.try_lock().unwrap();
        fcntl(&seen.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_RDLCK))).unwrap();
        assert!(!seen.is_held());
        let lock = StateLock::take(dir.path(), b"").unwrap();
        assert!(LockSeen::inspect(dir.path()).unwrap().is_held());
        StateLock::take(dir.path(), b"").unwrap_err();
        drop(lock);
    }

    #[test]
    fn what_is_planted_at_its_name_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let lock = dir.path().join("lock");
        nix::unistd::mkfifo(&lock, Mode::S_IRWXU).unwrap();
        assert!(LockSeen::inspect(dir.path()).is_none());
        fs::remove_file(&lock).unwrap();
        fs::write(dir.path().join("elsewhere"), "1\n").unwrap();
        std::os::unix::fs::symlink("elsewhere", &lock).unwrap();
        assert!(LockSeen::inspect(dir.path()).is_none());
    }

    /// M1: for a moment a child of a killed manager holds the lock.
    #[test]
    fn the_lock_of_a_holder_that_has_ended_is_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let take = || LockedFile::take(&path, |_| Ok(LockFileCheck::Yes));
        let held = take().unwrap();
        let mut ended = std::process::Command::new("true").spawn().unwrap();
        ended.wait().unwrap();
        held.file.write_all_at(format!("{}\n", ended.id()).as_bytes(), 0).unwrap();
        let opened = || {
            let descriptors = fs::read_dir("/proc/self/fd").unwrap().filter_map(Result::ok);
            descriptors.filter(|entry| fs::read_link(entry.path()).is_ok_and(|to| to == path)).count()
        };
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while opened() < 2 {
                    std::thread::yield_now();
                }
                drop(held);
            });
            take().unwrap();
        });
    }

    #[test]
    fn a_holder_without_a_pid_is_still_a_holder() {
        let dir = tempfile::tempdir().unwrap();
        let _lock = StateLock::take(dir.path(), b"").unwrap();
        fs::write(dir.path().join("lock"), "rubbish").unwrap();
        let error = StateLock::take(dir.path(), b"").unwrap_err();
        assert!(error.to_string().starts_with("another process uses state directory"), "{error}");
    }

    #[test]
    fn free_at_once_though_a_child_still_has_a_copy_of_the_descriptor() {
        let dir = tempfile::tempdir().unwrap();
        let lock = StateLock::take(dir.path(), b"").unwrap();
        // As a child has between fork and exec.
        let _copy = lock.file.file.try_clone().unwrap();
        drop(lock);
        StateLock::take(dir.path(), b"").unwrap();
    }

    /// M5: otherwise a second manager could start on a new directory.
    #[test]
    fn removed_it_is_made_again_with_its_directory() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let made = || drop(private_dir::state(&state, None).unwrap());
        made();
        let mut lock = StateLock::take(&state, b"config /etc/gm.ini\n").unwrap();
        assert_eq!(lock.renew(), Ok(PathCheck::InPlace));
        let file = || fs::remove_file(state.join("lock")).unwrap();
        let all = || fs::remove_dir_all(&state).unwrap();
        let moved = || fs::rename(&state, dir.path().join("moved")).unwrap();
        for remove in [&file as &dyn Fn(), &all, &moved] {
            remove();
            assert_eq!(lock.renew(), Ok(PathCheck::MadeAgain));
            assert_eq!(lock.renew(), Ok(PathCheck::InPlace));
            assert!(StateLock::take(&state, b"").is_err());
            assert_eq!(LockSeen::inspect(&state).unwrap().record, b"config /etc/gm.ini\n");
        }
        all();
        made();
        let other = StateLock::take(&state, b"").unwrap();
        let error = lock.renew().unwrap_err();
        assert!(error.contains("another gm-native (pid "), "{error}");
        drop(other);
        all();
        fs::write(&state, "in the way").unwrap();
        let error = lock.renew().unwrap_err();
        assert!(error.contains("was removed or replaced, and is no directory"), "{error}");
    }

    #[test]
    fn no_directory_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = StateLock::take(&missing, b"").unwrap_err();
        assert!(error.to_string().starts_with(&format!("cannot lock state directory {}", missing.display())));
    }

    #[test]
    #[expect(clippy::zombie_processes, reason = "the child is killed; its own child ends with the test's pipe")]
    fn gone_with_a_killed_holder_though_its_children_live() {
        let path = |dir: &Path| dir.join("child");
        if reexec::is_child() {
            let dir = PathBuf::from(std::env::var_os("GM_TEST_DIR").unwrap());
            std::mem::forget(StateLock::take(&dir, b"").unwrap());
            // It lives as long as the test's end of our stdin.
            let mut worker = Command::new("cat").stdin(Stdio::inherit()).stdout(Stdio::piped()).spawn().unwrap();
            // `spawn` returns a moment before the kernel closes what exec closes: an echo shows that this is done.
            worker.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
            fs::write(path(&dir), worker.id().to_string()).unwrap();
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let mut holder = reexec::child("system::state_lock::tests::gone_with_a_killed_holder_though_its_children_live");
        holder.stdin(Stdio::piped()).stdout(Stdio::null()).env("GM_TEST_DIR", dir.path());
        let mut holder = holder.spawn().unwrap();
        let mut stdin = holder.stdin.take().unwrap();
        stdin.write_all(b"x").unwrap();
        holder.wait().unwrap();
        let worker: i32 = fs::read_to_string(path(dir.path())).unwrap().parse().unwrap();
        kill(Pid::from_raw(worker), None).unwrap();
        StateLock::take(dir.path(), b"").unwrap();
        drop(stdin);
    }
}
