//! The manager's pid file (`-P`), which is locked, so that no one has to trust its content.
//!
//! But root's `kill $(cat gm.pid)`, start-stop-daemon and killproc do trust it. So a manager that was started as root
//! never gives the file away: only root may write it, and in the end it is emptied through the descriptor that root
//! opened.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::sys::stat::{Mode, fchmod};
use nix::unistd::{Gid, fchown, geteuid};

use super::directory;
use super::errors::reason;
use super::lock::{LockFileCheck, LockedFile, NotLocked, PathCheck, holder};

/// A pid file that holds this process's pid. Dropping it empties and removes the file; a process that ends without
/// dropping it leaves a stale file, which stops no later manager.
#[derive(Debug)]
pub(crate) struct PidFile {
    file: LockedFile,
    path: PathBuf,
    /// Whether root made it.
    is_roots: bool,
}

/// Why the pid file could not be taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PidFileError {
    /// A running manager uses it.
    #[error("{} holds pid file {}; stop it, or name another file with -P", holder(*pid), path.display())]
    Held {
        path: PathBuf,
        /// That manager's pid, if known.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot write pid file {}: {}", path.display(), reason(.source))]
    Failed { path: PathBuf, source: io::Error },
}

impl PidFile {
    /// Creates the file or takes over a stale one, and writes this process's pid. Call it after daemonizing, since a
    /// fork changes the pid. Does not wait.
    ///
    /// # Errors
    ///
    /// A running manager uses this file; it cannot be opened, locked or written; as root also: the path is a link.
    pub(crate) fn create(path: &Path) -> Result<Self, PidFileError> {
        let failed = |source| PidFileError::Failed { path: path.to_owned(), source };
        let file = LockedFile::take(path, suits).map_err(|error| match error {
            NotLocked::Held(pid) => PidFileError::Held { path: path.to_owned(), pid },
            NotLocked::Failed(source) => failed(source),
        })?;
        let file = Self { file, path: std::path::absolute(path).map_err(failed)?, is_roots: geteuid().is_root() };
        // If it cannot be written, it is removed.
        file.file.write(b"").map_err(failed)?;
        Ok(file)
    }

    /// Creates the file again, with its directory, if someone has removed or replaced it. If root created it, only root
    /// does so again: root's tools would not trust another.
    ///
    /// # Errors
    ///
    /// A sentence: it was removed, and why it could not be created again.
    pub(crate) fn renew(&mut self) -> Result<PathCheck, String> {
        if self.file.is_at(&self.path) {
            return Ok(PathCheck::InPlace);
        }
        let path = self.path.display();
        if self.is_roots && !geteuid().is_root() {
            return Err(format!(
                "pid file {path} was removed or replaced; only root may make it again: stop the manager by its pid, {}, \
                 and start it",
                std::process::id()
            ));
        }
        let cannot = |text: &str| format!("pid file {path} was removed or replaced, and cannot be made again: {text}");
        if let Some(dir) = self.path.parent() {
            directory::make(dir).map_err(|error| cannot(&reason(&error)))?;
        }
        let made = Self::create(&self.path);
        *self = made.map_err(|error| cannot(&error.to_string()))?;
        Ok(PathCheck::MadeAgain)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    fn is_in_place(&self) -> bool {
        self.file.place.holds(&self.file.file)
    }

    /// Empties the file, wherever it is by now, and removes it if we may: its directory may be root's, and we may not
    /// be root any more. A file that someone else put in its place is left alone.
    fn remove(&self) -> io::Result<()> {
        let emptied = self.file.file.set_len(0);
        if self.is_in_place() && self.file.place.remove().is_ok() {
            return Ok(());
        }
        emptied
    }
}

/// Whether root can take over a stale file: one that only root may write, and that no one else ever could, since they
/// might have it open still. Any other user takes over what is there. From now on everyone may read it.
fn suits(file: &File) -> io::Result<LockFileCheck> {
    let found = file.metadata()?;
    if !geteuid().is_root() {
        if found.uid() == geteuid().as_raw() {
            fchmod(file, Mode::from_bits_truncate(0o644))?;
        }
        return Ok(LockFileCheck::Yes);
    }
    if found.uid() != 0 || found.mode() & 0o022 != 0 {
        return Ok(LockFileCheck::No);
    }
    // Whatever the umask, and whatever group the directory gives its files: start-stop-daemon wants root's.
    if found.gid() != 0 {
        fchown(file, None, Some(Gid::from_raw(0)))?;
    }
    fchmod(file, Mode::from_bits_truncate(0o644))?;
    Ok(LockFileCheck::Yes)
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // There is nothing to do about a file that cannot be removed: it is stale, which is harmless.
        let _ = self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
    use std::process::Stdio;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::{Duration, Instant};

    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc;

    use super::*;
    use crate::system::privileges::RunUser;
    use crate::system::reexec;

    #[test]
    fn holds_our_pid_and_goes_with_us() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gm.pid");
        let file = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn a_second_manager_is_refused_with_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gm.pid");
        let _file = PidFile::create(&path).unwrap();
        let error = PidFile::create(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "another gm-native (pid {}) holds pid file {}; stop it, or name another file with -P",
                std::process::id(),
                path.display()
            )
        );
        assert!(path.exists(), "a refused manager removes nothing");
    }

    #[test]
    fn stale_and_foreign_pids_are_harmless() {
        for left in ["1\n", &format!("{}\n", nix::unistd::getppid()), "not a pid", "", "-1"] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("gm.pid");
            fs::write(&path, left).unwrap();
            let _file = PidFile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        }
    }

    #[test]
    fn another_ones_file_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gm.pid");
        let first = PidFile::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert!(!first.is_in_place());
        let second = PidFile::create(&path).unwrap();
        drop(first);
        assert!(second.is_in_place());
    }

    #[test]
    fn managers_that_come_and_go_at_once_never_hold_it_together() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gm.pid");
        let holders = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..500 {
                        let Ok(file) = PidFile::create(&path) else { continue };
                        assert_eq!(holders.fetch_add(1, Ordering::SeqCst), 0);
                        assert!(file.is_in_place());
                        holders.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
    }

    #[test]
    fn already_gone_is_no_trouble() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/gm.pid");
        fs::create_dir(dir.path().join("run")).unwrap();
        let file = PidFile::create(&path).unwrap();
        fs::remove_dir_all(dir.path().join("run")).unwrap();
        file.remove().unwrap();
    }

    #[test]
    fn only_regular_files_are_used() {
        let dir = tempfile::tempdir().unwrap();
        for path in [Path::new("/dev/null"), dir.path(), Path::new("/dev/full")] {
            let error = PidFile::create(path).unwrap_err();
            assert!(error.to_string().starts_with("cannot write pid file"), "{error}");
        }
    }

    /// H3.
    #[test]
    fn a_planted_link_is_not_followed_as_root() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (victim, path) = (dir.path().join("victim"), dir.path().join("gm.pid"));
        fs::write(&victim, "precious").unwrap();
        symlink(&victim, &path).unwrap();
        let error = PidFile::create(&path).unwrap_err();
        assert!(error.to_string().contains("symbolic link"), "{error}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
    }

    /// H11.
    #[test]
    fn after_root_is_dropped_it_is_roots_and_emptied_where_it_may_not_be_removed() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        if reexec::is_child() {
            let path = PathBuf::from(std::env::var_os("GM_TEST_PATH").unwrap());
            nix::sys::stat::umask(Mode::from_bits_truncate(0o077));
            let file = PidFile::create(&path).unwrap();
            RunUser::lookup("nobody").unwrap().drop_privileges().unwrap();
            assert!(File::options().write(true).open(&path).is_err(), "the run user can write another pid into it");
            drop(file);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o2755)).unwrap();
        chown(dir.path(), None, Some(12)).unwrap();
        let name = "system::pid_file::tests::after_root_is_dropped_it_is_roots_and_emptied_where_it_may_not_be_removed";
        let path = dir.path().join("gm.pid");
        reexec::passes(reexec::child(name).env("GM_TEST_PATH", &path));
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777, found.len()), (0, 0, 0o644, 0));
        // If the directory is the user's, the file goes too.
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        chown(&theirs, Some(RunUser::lookup("nobody").unwrap().uid().as_raw()), None).unwrap();
        reexec::passes(reexec::child(name).env("GM_TEST_PATH", theirs.join("gm.pid")));
        assert_eq!(fs::read_dir(&theirs).unwrap().count(), 0);
    }

    /// M7: someone who may only read the file cannot block a manager before its start, during it, or after its end.
    #[test]
    fn another_user_cannot_lock_it() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        if reexec::is_child() {
            let path = PathBuf::from(std::env::var_os("GM_TEST_PATH").unwrap());
            RunUser::lookup("nobody").unwrap().drop_privileges().unwrap();
            let file = File::open(&path).unwrap();
            let lock = |kind: i32| libc::flock {
                l_type: kind as i16,
                l_whence: libc::SEEK_SET as i16,
                l_start: 0,
                l_len: 0,
                l_pid: 0,
            };
            fcntl(&file, FcntlArg::F_OFD_SETLK(&lock(libc::F_WRLCK))).unwrap_err();
            // What another user can hold: a flock of either kind, and a read lock while no one writes.
            file.try_lock().unwrap();
            let _ = fcntl(&file, FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK)));
            fs::write(std::env::var_os("GM_TEST_SEEN").unwrap(), "").unwrap();
            // It lives as long as the test's end of our stdin.
            let _ = io::Read::read(&mut io::stdin(), &mut [0]);
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let theirs = dir.path().join("theirs");
        fs::create_dir(&theirs).unwrap();
        fs::set_permissions(&theirs, Permissions::from_mode(0o777)).unwrap();
        let path = dir.path().join("gm.pid");
        let name = "system::pid_file::tests::another_user_cannot_lock_it";
        let locked = |number: u32| {
            let seen = theirs.join(number.to_string());
            let mut child = reexec::child(name);
            child.env("GM_TEST_PATH", &path).env("GM_TEST_SEEN", &seen).stdin(Stdio::piped());
            let child = child.spawn().unwrap();
            let deadline = Instant::now() + Duration::from_secs(60);
            while !seen.exists() {
                assert!(Instant::now() < deadline, "no lock");
                std::thread::sleep(Duration::from_millis(2));
            }
            child
        };
        fs::write(&path, "1\n").unwrap();
        let mut strangers = vec![locked(0)];
        let file = PidFile::create(&path).unwrap();
        assert!(file.is_in_place());
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
        strangers.push(locked(1));
        assert!(matches!(PidFile::create(&path), Err(PidFileError::Held { pid: Some(_), .. })));
        drop(file);
        fs::write(&path, "").unwrap();
        strangers.push(locked(2));
        let file = PidFile::create(&path).unwrap();
        let found = path.metadata().unwrap();
        assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), (0, 0, 0o644));
        drop(file);
        for mut stranger in strangers {
            drop(stranger.stdin.take());
            assert!(stranger.wait().unwrap().success());
        }
    }

    /// H11: a user who may write the file may still have it open, so it is not used again.
    #[test]
    fn a_stale_file_that_is_not_roots_alone_is_replaced() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        for (uid, mode, replaced) in [(0, 0o644, false), (0, 0o600, false), (0, 0o664, true), (65534, 0o644, true)] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("gm.pid");
            fs::write(&path, "1\n").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            chown(&path, Some(uid), None).unwrap();
            let theirs = File::options().write(true).open(&path).unwrap();
            let file = PidFile::create(&path).unwrap();
            assert!(file.is_in_place());
            assert_ne!(file.file.place.holds(&theirs), replaced, "{uid} {mode:o}");
            let found = path.metadata().unwrap();
            assert_eq!((found.uid(), found.mode() & 0o7777), (0, 0o644), "{uid} {mode:o}");
        }
    }

    /// M5.
    #[test]
    fn removed_or_replaced_it_is_made_again_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/gm.pid");
        fs::create_dir(dir.path().join("run")).unwrap();
        let mut file = PidFile::create(&path).unwrap();
        assert_eq!(file.renew(), Ok(PathCheck::InPlace));
        let away = || fs::rename(&path, dir.path().join("away")).unwrap();
        let replace = || fs::rename(dir.path().join("away"), &path).unwrap();
        for remove in [&away as &dyn Fn(), &|| fs::remove_dir_all(dir.path().join("run")).unwrap(), &replace] {
            if !dir.path().join("away").exists() {
                fs::write(dir.path().join("away"), "17\n").unwrap();
            }
            remove();
            assert_eq!(file.renew(), Ok(PathCheck::MadeAgain));
            assert_eq!(file.renew(), Ok(PathCheck::InPlace));
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", std::process::id()));
            PidFile::create(&path).unwrap_err();
        }
        fs::remove_file(&path).unwrap();
        let other = PidFile::create(&path).unwrap();
        let error = file.renew().unwrap_err();
        assert!(error.contains("was removed or replaced") && error.contains("holds pid file"), "{error}");
        drop(file);
        assert!(other.is_in_place());
    }

    /// M5, H11: the run user creates no file that root's tools would trust.
    #[test]
    fn one_that_root_has_made_only_root_makes_again() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        if reexec::is_child() {
            let path = PathBuf::from(std::env::var_os("GM_TEST_PATH").unwrap());
            let mut file = PidFile::create(&path).unwrap();
            RunUser::lookup("nobody").unwrap().drop_privileges().unwrap();
            assert_eq!(file.renew(), Ok(PathCheck::InPlace));
            fs::remove_file(&path).unwrap();
            let error = file.renew().unwrap_err();
            assert!(error.contains("only root may make it again"), "{error}");
            assert!(!path.exists());
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(RunUser::lookup("nobody").unwrap().uid().as_raw()), None).unwrap();
        let name = "system::pid_file::tests::one_that_root_has_made_only_root_makes_again";
        reexec::passes(reexec::child(name).env("GM_TEST_PATH", dir.path().join("gm.pid")));
    }

    #[test]
    fn moved_away_it_is_emptied_and_what_took_its_place_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("gm.pid"), dir.path().join("moved"));
        let file = PidFile::create(&path).unwrap();
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "another one's").unwrap();
        drop(file);
        assert_eq!(fs::read_to_string(&moved).unwrap(), "");
        assert_eq!(fs::read_to_string(&path).unwrap(), "another one's");
    }
}
