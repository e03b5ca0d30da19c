//! Files that are locked while a manager runs, and that say which one.
//!
//! The lock is the kernel's: it goes with the process however that ends, so what a dead manager left behind stops nobody.
//! What the file says is for people and for messages; that it is held decides.
//!
//! It is a *write* lock (`F_OFD_SETLK`), which only who may write the file can hold. Anybody who may read a pid file
//! could hold its `flock`, and a read lock: the first is not asked for, and a file with the second is replaced.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, openat};
use nix::libc;
use nix::sys::signal::kill;
use nix::sys::stat::Mode;
use nix::unistd::Pid;

use super::errors::reason;
use super::plain_file::FileLocation;
use super::private_dir;

/// The lock's name in the state directory.
const STATE_LOCK: &str = "lock";

/// A path may be replaced while it is being locked, by a manager that is just ending. Not this many times in a row.
const ATTEMPTS: u32 = 100;

/// Between two attempts to lock a file whose holder has ended: a second in all.
const PAUSE: Duration = Duration::from_millis(10);

/// A lock file's content is not longer than this: a pid, and some paths.
const LONGEST: usize = 64 << 10;

/// Why a file was not locked.
#[derive(Debug)]
pub(super) enum NotLocked {
    /// Another process holds it; this one, where the file says so.
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
    /// Where it was: in a directory that is open, since the working directory changes and links do too.
    pub(super) place: FileLocation,
}

/// What a look after something that has to be at its path has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PathCheck {
    /// It is where it was.
    InPlace,
    /// Somebody had removed or replaced it: there is a new one.
    MadeAgain,
}

/// Whether a file that was locked will do, or is to be removed and made again.
pub(super) enum LockFileCheck {
    Yes,
    No,
}

impl LockedFile {
    /// Creates the file where needed and locks it without waiting; one that does not suit is replaced. Descendants that
    /// exec do not hold the lock. A process that forks first must fork first: a lock is shared over a fork.
    pub(super) fn take(path: &Path, suits: impl Fn(&File) -> io::Result<LockFileCheck>) -> Result<Self, NotLocked> {
        let mut held_by = None;
        for _ in 0..ATTEMPTS {
            let place = FileLocation::of(path)?;
            // Not truncated on opening: before it is locked the content is another's. Nobody else can open one that we
            // make before we have locked it.
            let file = place.open(OFlag::O_RDWR, Mode::S_IRUSR | Mode::S_IWUSR)?;
            match lock(&file)? {
                Locked::Ours => {}
                Locked::Held => {
                    let pid = LockContent::of(&file).pid;
                    // A child of a manager that was killed has a copy of its descriptor until it has executed its program.
                    if !pid.is_some_and(has_ended) {
                        return Err(NotLocked::Held(pid));
                    }
                    held_by = Some(pid);
                    std::thread::sleep(PAUSE);
                    continue;
                }
                // No manager: another process that may read it keeps us from it. What is there by now may be another's.
                Locked::ByReaders if place.holds(&file) => {
                    place.remove().map_err(|error| locked_by_readers(&error))?;
                    continue;
                }
                Locked::ByReaders => continue,
            }
            // Its last holder may have removed it between our open and our lock: then a third process could lock a new
            // file at this path while we hold one that has no name.
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

    /// Whether a path still leads to this file: not once somebody has removed or replaced it. Where it may not be looked
    /// at, a file that has a name is believed to be where it was.
    pub(super) fn is_at(&self, path: &Path) -> bool {
        let Ok(open) = self.file.metadata() else { return true };
        match path.metadata() {
            Ok(found) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
            Err(error) => !matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) && open.nlink() > 0,
        }
    }

    /// Writes this process's pid, and what else people or another manager may want to know.
    pub(super) fn write(&self, more: &[u8]) -> io::Result<()> {
        self.file.set_len(0)?;
        let pid = format!("{}\n", std::process::id());
        self.file.write_all_at(&[pid.as_bytes(), more].concat(), 0)
    }
}

impl Drop for LockedFile {
    fn drop(&mut self) {
        // Closing is not enough at once: a child between fork and exec has a copy of the descriptor.
        let _ = fcntl(&self.file, FcntlArg::F_OFD_SETLK(&whole_file(libc::F_UNLCK)));
    }
}

/// What an attempt to lock a file came to.
enum Locked {
    Ours,
    /// By who may write it: a manager.
    Held,
    /// By who may only read it.
    ByReaders,
}

/// Whether there is no such process, or it has ended and nobody has asked how.
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

/// Whether a manager holds the lock of a file that is open: whether a read lock would have to wait. None is taken.
fn is_locked(file: &File) -> io::Result<bool> {
    let mut found = whole_file(libc::F_RDLCK);
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut found))?;
    Ok(i32::from(found.l_type) != libc::F_UNLCK)
}

/// A lock of this kind on all of a file, however long it is.
fn whole_file(kind: i32) -> libc::flock {
    libc::flock { l_type: kind as i16, l_whence: libc::SEEK_SET as i16, l_start: 0, l_len: 0, l_pid: 0 }
}

fn locked_by_readers(error: &io::Error) -> io::Error {
    let reason = reason(error);
    io::Error::new(
        error.kind(),
        format!("somebody who may only read it has locked it, and it cannot be replaced: {reason}"),
    )
}

/// What a lock file says.
#[derive(Debug, Default, PartialEq, Eq)]
struct LockContent {
    /// None where the holder has not written it yet, or somebody else wrote something else.
    pid: Option<u32>,
    more: Vec<u8>,
}

impl LockContent {
    fn of(file: &File) -> Self {
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

/// The words for a holder in messages.
pub(super) fn holder(pid: Option<u32>) -> String {
    pid.map_or_else(|| "another process".into(), |pid| format!("another gm-native (pid {pid})"))
}

/// The lock on a state directory, held as long as this value lives. Its file stays: unlike a pid file, which anybody
/// may tidy away, it has only this purpose.
#[derive(Debug)]
pub(crate) struct StateLock {
    file: LockedFile,
    dir: PathBuf,
    record: Vec<u8>,
}

/// The state directory could not be locked.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StateLockError {
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
    /// Locks an existing state directory, without waiting, and records whose it is beside the pid. To be called after
    /// daemonizing, and as the user the manager is going to run as, whose the file becomes.
    ///
    /// # Errors
    ///
    /// A manager runs on it, or the lock file cannot be opened, locked or written.
    pub(crate) fn take(dir: &Path, record: &[u8]) -> Result<Self, StateLockError> {
        let locked = LockedFile::take(&dir.join(STATE_LOCK), |_| Ok(LockFileCheck::Yes));
        let written = locked.and_then(|file| file.write(record).map(|()| file).map_err(NotLocked::Failed));
        let file = written.map_err(|error| match error {
            NotLocked::Held(pid) => StateLockError::Held { dir: dir.to_owned(), pid },
            NotLocked::Failed(source) => StateLockError::Failed { dir: dir.to_owned(), source },
        })?;
        Ok(Self { file, dir: dir.to_owned(), record: record.to_owned() })
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Makes the directory and the lock again where somebody has removed one of them: without them a second manager
    /// could start on them, and nothing new could be stored.
    ///
    /// # Errors
    ///
    /// A sentence: it cannot be made, or another manager has it by now.
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

/// A state directory's lock as another process sees it.
#[derive(Debug)]
pub(crate) struct LockSeen {
    file: File,
    /// The pid of the manager that wrote it.
    pub pid: Option<u32>,
    /// What that manager recorded. Anybody can have written it who may write there.
    pub record: Vec<u8>,
}

impl LockSeen {
    /// Looks at the lock in a directory; `None` where there is none that can be read.
    pub(crate) fn inspect(dir: &Path) -> Option<Self> {
        let dir = super::directory::open(dir).ok()?;
        // Whatever the user who owns the directory has put there: it neither leads elsewhere nor holds us up.
        let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let file = File::from(openat(&dir, STATE_LOCK, flags, Mode::empty()).ok()?);
        file.metadata().ok().filter(std::fs::Metadata::is_file)?;
        let LockContent { pid, more } = LockContent::of(&file);
        Some(Self { file, pid, record: more })
    }

    /// Whether a manager holds it at this moment.
    pub(crate) fn is_held(&self) -> bool {
        is_locked(&self.file).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::{Read as _, Write as _};
    use std::process::{Command, Stdio};

    use nix::sys::signal::{Signal, kill};
    use nix::unistd::Pid;

    use super::*;
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
        StateLock::take(dir.path(), b"").unwrap();
    }

    #[test]
    fn what_a_dead_manager_left_does_not_stop_the_next() {
        for left in ["1\n", "", "4194304999", "rubbish \0\u{ff}", &"9".repeat(10_000)] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join("lock"), left).unwrap();
            let _lock = StateLock::take(dir.path(), b"").unwrap();
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
        // Who may only read it keeps nobody out, whatever he locks, and is taken for no manager.
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

    /// M1: the lock of a manager that was killed is its child's for a moment.
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

    /// M5: else a second manager could start on what is there then.
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
        let told = lock.renew().unwrap_err();
        assert!(told.contains("another gm-native (pid "), "{told}");
        drop(other);
        all();
        fs::write(&state, "in the way").unwrap();
        let told = lock.renew().unwrap_err();
        assert!(told.contains("was removed or replaced, and is no directory"), "{told}");
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
            // Lives as long as the test's end of our stdin does.
            let mut worker = Command::new("cat").stdin(Stdio::inherit()).stdout(Stdio::piped()).spawn().unwrap();
            // `spawn` is back a moment before the kernel closes what exec closes: an echo says that this is over.
            worker.stdout.take().unwrap().read_exact(&mut [0]).unwrap();
            fs::write(path(&dir), worker.id().to_string()).unwrap();
            kill(Pid::this(), Signal::SIGKILL).unwrap();
        }
        let dir = tempfile::tempdir().unwrap();
        let mut holder = reexec::child("system::lock::tests::gone_with_a_killed_holder_though_its_children_live");
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
