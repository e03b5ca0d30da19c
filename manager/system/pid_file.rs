//! The manager's pid file (`-P`): locked, so that its content need not be believed.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid};

use super::errors::reason;
use super::lock::{LockedFile, NotLocked, holder};
use super::plain_file;

/// A pid file that holds this process's pid. Dropping it removes the file; a process that ends without dropping it
/// leaves a stale one, which stops nobody.
#[derive(Debug)]
pub struct PidFile(LockedFile);

/// The pid file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum PidFileError {
    /// A manager runs with it.
    #[error("{} holds pid file {}; stop it, or name another file with -P", holder(*pid), path.display())]
    Held {
        /// The pid file.
        path: PathBuf,
        /// The manager's pid, where it is known.
        pid: Option<u32>,
    },
    /// The system refused.
    #[error("cannot write pid file {}: {}", path.display(), reason(.source))]
    Failed {
        /// The pid file.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
}

impl PidFile {
    /// Creates the file or takes a stale one over, and writes this process's pid. To be called after daemonizing, whose
    /// forks change the pid. Does not wait.
    ///
    /// # Errors
    ///
    /// A manager runs with this file; it cannot be opened, locked or written; as root also where the path is a link.
    pub fn create(path: &Path) -> Result<Self, PidFileError> {
        LockedFile::take(path).map(Self).map_err(|error| match error {
            NotLocked::Held(pid) => PidFileError::Held { path: path.to_owned(), pid },
            NotLocked::Failed(source) => PidFileError::Failed { path: path.to_owned(), source },
        })
    }

    /// Gives the file to the user the manager is going to run as, who has to empty or remove it in the end.
    ///
    /// # Errors
    ///
    /// The system refuses to change the owner.
    pub fn hand_over(&self, uid: Uid, gid: Gid) -> io::Result<()> {
        self.0.hand_over(uid, gid)
    }

    /// Whether the path still leads to this file. It does not once somebody has removed or replaced it.
    pub fn is_in_place(&self) -> bool {
        plain_file::is_still_at(&self.0.file, &self.0.path)
    }

    /// Removes the file, or empties it where the directory does not allow that (it is root's, and we no longer are).
    /// A file that somebody else put in its place is left alone.
    fn remove(&self) -> io::Result<()> {
        if !self.is_in_place() {
            return Ok(());
        }
        self.0.file.set_len(0)?;
        match std::fs::remove_file(&self.0.path) {
            Err(error) if matches!(error.kind(), ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => Ok(()),
            removed => removed,
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        // Nothing is left to do about a file that will not go: it is stale from now on, which is harmless.
        let _ = self.remove();
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};
    use std::sync::atomic::{AtomicUsize, Ordering};

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
    fn a_second_manager_is_refused_and_told_the_pid() {
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

    #[test]
    fn emptied_where_it_may_not_be_removed() {
        if !nix::unistd::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        if reexec::is_child() {
            let path = std::env::var_os("GM_TEST_PATH").unwrap();
            let user = RunUser::lookup("nobody").unwrap();
            let file = PidFile::create(Path::new(&path)).unwrap();
            file.hand_over(user.uid(), user.gid()).unwrap();
            user.drop_privileges().unwrap();
            file.remove().unwrap();
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("gm.pid");
        let mut child = reexec::child("system::pid_file::tests::emptied_where_it_may_not_be_removed");
        child.env("GM_TEST_PATH", &path);
        // Only root may enter the temporary directory: let the run user look, but not remove.
        fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        reexec::passes(&mut child);
        assert_eq!(fs::read_to_string(&path).unwrap(), "");
        assert_eq!(path.metadata().unwrap().uid(), RunUser::lookup("nobody").unwrap().uid().as_raw());
    }
}
