//! Opens the files that a manager keeps at paths someone else chose: its log, its pid file, its locks.
//!
//! A manager that was started as root opens them with root's rights in directories that others may write to. So as root
//! it follows no link that someone may have planted there, symbolic (to `/etc/passwd`, say) or hard.

use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, geteuid, unlinkat};

use super::directory;
use super::errors::reason_at;
use super::owner::{named, owner};

/// A name that keeps appearing and disappearing is tried this often.
const ATTEMPTS: u32 = 100;

/// Whether a link at the path may lead to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LinkPolicy {
    Followed,
    Refused,
}

impl LinkPolicy {
    /// As root: no one who may write to a directory may choose what root opens.
    fn for_us() -> Self {
        if geteuid().is_root() { Self::Refused } else { Self::Followed }
    }
}

/// Opens a file for the manager to keep, creating it with `mode` less the umask.
///
/// Never waits, not even for the reader of a FIFO, and never makes a terminal the controlling one. The descriptor is
/// closed on exec.
///
/// # Errors
///
/// The system's; as root also a link at the path, or a link on the way to it that is not root's; anything but a regular
/// file, a character device or a FIFO.
pub(crate) fn open(path: &Path, access: OFlag, mode: Mode) -> io::Result<File> {
    FileLocation::of(path)?.open(access, mode)
}

/// Where a file is or will be: a name in an open directory, which stays the same directory whatever happens to the path
/// that led to it.
#[derive(Debug)]
pub(crate) struct FileLocation {
    dir: OwnedFd,
    name: OsString,
    /// For messages.
    path: PathBuf,
    links: LinkPolicy,
}

impl FileLocation {
    /// The location a path leads to. If links are followed, a link at the path itself is followed first.
    ///
    /// # Errors
    ///
    /// Its directory cannot be opened; as root also a link on the way that is not root's.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        Self::with(path, LinkPolicy::for_us())
    }

    fn with(path: &Path, links: LinkPolicy) -> io::Result<Self> {
        let target = (links == LinkPolicy::Followed).then(|| path.canonicalize().ok()).flatten();
        let path = target.unwrap_or_else(|| path.to_owned());
        let (dir, name) = directory::of(&path).map_err(|error| match error.kind() {
            ErrorKind::NotFound => and(&path, &error, "create its directory, or name another file"),
            ErrorKind::PermissionDenied => denied(&path, error),
            _ => error,
        })?;
        let name = name.to_owned();
        Ok(Self { dir, name, path, links })
    }

    /// As [`open`].
    ///
    /// # Errors
    ///
    /// As [`open`].
    pub(crate) fn open(&self, access: OFlag, mode: Mode) -> io::Result<File> {
        let file = self.open_or_create(access, mode).map_err(|errno| match errno {
            Errno::ELOOP if self.links == LinkPolicy::Refused => {
                let to = readlinkat(&self.dir, self.name.as_os_str());
                let to = to.map(|to| format!(" to {}", to.display())).unwrap_or_default();
                io::Error::other(format!(
                    "it is a symbolic link{to}, which is not followed as root; name the file it leads to"
                ))
            }
            Errno::EISDIR => and(&self.path, &errno.into(), "name a file"),
            // The file would have been created: something above it is missing.
            Errno::ENOENT => and(&self.path, &errno.into(), "create its directory, or name another file"),
            Errno::EACCES => denied(&self.path, errno.into()),
            errno => errno.into(),
        })?;
        check(&file.metadata()?, self.links)?;
        Ok(file)
    }

    fn open_or_create(&self, access: OFlag, mode: Mode) -> nix::Result<File> {
        let mut access = access | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        if self.links == LinkPolicy::Refused {
            access |= OFlag::O_NOFOLLOW;
        }
        // Opening and creating are two steps: with O_CREAT the kernel may refuse root another user's file in a sticky
        // directory (fs.protected_regular), such as a log that was given to that user.
        let create = match self.links {
            LinkPolicy::Followed => OFlag::O_CREAT,
            LinkPolicy::Refused => OFlag::O_CREAT | OFlag::O_EXCL,
        };
        for _ in 0..ATTEMPTS {
            match openat(&self.dir, self.name.as_os_str(), access, Mode::empty()) {
                Err(Errno::ENOENT) => {}
                opened => return opened.map(File::from),
            }
            match openat(&self.dir, self.name.as_os_str(), access | create, mode) {
                Err(Errno::EEXIST) => {}
                created => return created.map(File::from),
            }
        }
        Err(Errno::EEXIST)
    }

    /// Whether `file` is what is at this location, which is false once it was moved, removed or replaced. Does not
    /// follow a link.
    pub(crate) fn holds(&self, file: &File) -> bool {
        match (file.metadata(), directory::stat_entry(&self.dir, &self.name)) {
            (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.st_dev, found.st_ino),
            _ => false,
        }
    }

    /// Removes what is at this location.
    ///
    /// # Errors
    ///
    /// The system's error.
    pub(crate) fn remove(&self) -> io::Result<()> {
        Ok(unlinkat(&self.dir, self.name.as_os_str(), UnlinkatFlags::NoRemoveDir)?)
    }
}

/// The error, and who owns the file.
fn denied(path: &Path, error: io::Error) -> io::Error {
    // If the file does not exist, the owner of its directory.
    match owner(path).or_else(|| owner(path.parent()?)) {
        Some(owner) => and(path, &error, &format!("it, or its directory, belongs to {}", named(owner))),
        None => error,
    }
}

/// The error, with advice.
fn and(path: &Path, error: &io::Error, advice: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{}; {advice}", reason_at(path, error)))
}

fn check(found: &Metadata, links: LinkPolicy) -> io::Result<()> {
    let kind = found.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::other("it is no regular file"));
    }
    if links == LinkPolicy::Refused && kind.is_file() && found.nlink() > 1 {
        return Err(io::Error::other("it is one file under several names (hard links), which is not used as root"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn open_with(path: &Path, links: LinkPolicy) -> io::Result<File> {
        let mode = Mode::from_bits_truncate(0o640);
        FileLocation::with(path, links)?.open(OFlag::O_WRONLY | OFlag::O_APPEND, mode)
    }

    /// H3.
    #[test]
    fn links_are_followed_only_where_they_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, name) = (dir.path().join("target"), dir.path().join("link"), dir.path().join("name"));
        fs::write(&target, "").unwrap();
        symlink(&target, &link).unwrap();
        open_with(&link, LinkPolicy::Followed).unwrap();
        let refused = open_with(&link, LinkPolicy::Refused).unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");

        open_with(&target, LinkPolicy::Refused).unwrap();
        fs::hard_link(&target, &name).unwrap();
        open_with(&name, LinkPolicy::Followed).unwrap();
        let refused = open_with(&name, LinkPolicy::Refused).unwrap_err();
        assert!(refused.to_string().contains("several names"), "{refused}");
    }

    #[test]
    fn a_dangling_link_creates_nothing_where_it_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        symlink(&target, &link).unwrap();
        open_with(&link, LinkPolicy::Refused).unwrap_err();
        assert!(!target.exists());
        open_with(&link, LinkPolicy::Followed).unwrap();
        assert!(target.exists());
    }

    #[test]
    fn a_fifo_without_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, Mode::S_IRWXU).unwrap();
        for links in [LinkPolicy::Followed, LinkPolicy::Refused] {
            let error = open_with(&fifo, links).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(Errno::ENXIO as i32));
        }
    }

    #[test]
    fn what_is_no_file_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        for links in [LinkPolicy::Followed, LinkPolicy::Refused] {
            let error = open_with(dir.path(), links).unwrap_err();
            assert!(error.to_string().contains("name a file"), "{error}");
            let error = open_with(&dir.path().join("none/file"), links).unwrap_err();
            assert!(error.to_string().contains("create its directory"), "{error}");
        }
    }

    #[test]
    fn knows_whether_the_place_still_holds_it_and_removes_what_it_holds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let place = FileLocation::of(&path).unwrap();
        let file = place.open(OFlag::O_RDWR, Mode::S_IRWXU).unwrap();
        assert!(place.holds(&file));
        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(!place.holds(&file));
        fs::write(&path, "another").unwrap();
        assert!(!place.holds(&file));
        place.remove().unwrap();
        assert!(!path.exists());
    }

    #[test]
    fn a_directory_that_was_moved_is_still_the_place() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        let place = FileLocation::of(&dir.path().join("run/file")).unwrap();
        let file = place.open(OFlag::O_RDWR, Mode::S_IRWXU).unwrap();
        fs::rename(dir.path().join("run"), dir.path().join("moved")).unwrap();
        fs::create_dir(dir.path().join("run")).unwrap();
        fs::write(dir.path().join("run/file"), "another one's").unwrap();
        assert!(place.holds(&file));
        place.remove().unwrap();
        assert!(dir.path().join("run/file").exists() && !dir.path().join("moved/file").exists());
    }
}
