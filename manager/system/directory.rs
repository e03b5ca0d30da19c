//! Opens directories name by name, so that no one who may write to one of them can redirect root.
//!
//! This module resolves a path with openat(2) instead of leaving it to the kernel. As root it follows a symbolic link
//! only if root owns the link and its directory: anyone else may have planted it, to have root write to or give away
//! something else. It creates a missing directory and changes it through its descriptor.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, open as open_path, openat, readlinkat};
use nix::sys::stat::{FileStat, Mode, SFlag, fchmod, fstat, fstatat, mkdirat, stat};
use nix::unistd::{Gid, Uid, getegid, geteuid, getgroups};

use super::errors::reason;

/// As many links in one path as the kernel follows.
const MAX_LINKS: usize = 40;

/// What to do if a directory is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MissingPolicy {
    Refused,
    Made,
}

/// Opens an existing directory, to name files in it: the descriptor is `O_PATH`.
///
/// # Errors
///
/// The system's; as root also a link on the way that is not root's.
pub(crate) fn open(path: &Path) -> io::Result<OwnedFd> {
    walk(path, MissingPolicy::Refused)
}

/// As [`open`], and creates what is missing: as root, open for all to enter, so that the user the manager runs as can
/// reach what is below; otherwise for us alone.
///
/// # Errors
///
/// As [`open`]; or a directory cannot be created.
pub(crate) fn make(path: &Path) -> io::Result<OwnedFd> {
    walk(path, MissingPolicy::Made)
}

/// The directory that holds a path's last name, and that name. The name itself is not looked up.
///
/// # Errors
///
/// As [`open`]; or the path ends without a name.
pub(crate) fn of(path: &Path) -> io::Result<(OwnedFd, &OsStr)> {
    let (parent, name) = split(path)?;
    Ok((open(parent)?, name))
}

/// A path's last name, and what precedes it.
///
/// # Errors
///
/// The path ends without a name, as `/` and `..` do.
pub(crate) fn split(path: &Path) -> io::Result<(&Path, &OsStr)> {
    match (path.parent(), path.file_name()) {
        (Some(parent), Some(name)) => Ok((parent, name)),
        _ => Err(io::Error::other("it does not end in a name")),
    }
}

/// The first directory on the way to `path`, itself included, that this process may not enter.
pub(crate) fn closed_on_the_way(path: &Path) -> Option<&Path> {
    let mut all: Vec<&Path> = path.ancestors().collect();
    all.reverse();
    // By trying, since access(2) checks the real user.
    all.into_iter().find(|dir| stat(&dir.join(".")).err() == Some(Errno::EACCES))
}

/// A directory above `path` in which this process may replace what is on the way to it.
pub(crate) fn replaceable_in(path: &Path) -> Option<&Path> {
    let mut groups = getgroups().unwrap_or_default();
    groups.push(getegid());
    path.ancestors().skip(1).find(|dir| stat(*dir).is_ok_and(|found| may_replace_in(&found, geteuid(), &groups)))
}

/// Whether a user may replace another user's entry in a directory, by its mode. In a sticky directory only its owner
/// may.
fn may_replace_in(dir: &FileStat, user: Uid, groups: &[Gid]) -> bool {
    let mode = Mode::from_bits_truncate(dir.st_mode);
    let may = |write: Mode, search: Mode| mode.contains(write | search);
    // Its owner could change the mode.
    if user.is_root() || dir.st_uid == user.as_raw() {
        true
    } else if mode.contains(Mode::S_ISVTX) {
        false
    } else if groups.contains(&Gid::from_raw(dir.st_gid)) {
        may(Mode::S_IWGRP, Mode::S_IXGRP)
    } else {
        may(Mode::S_IWOTH, Mode::S_IXOTH)
    }
}

fn walk(path: &Path, missing: MissingPolicy) -> io::Result<OwnedFd> {
    let path = std::path::absolute(path)?;
    let (mut dir, mut at) = (root()?, PathBuf::from("/"));
    let mut ahead = names(&path);
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        match step(dir.as_fd(), &name, missing).map_err(|error| match error.kind() {
            // The caller names the path.
            io::ErrorKind::NotFound if ahead.is_empty() && at.join(&name) == path => error,
            _ => with_path(&at.join(&name), &error),
        })? {
            NameTarget::Into(next) => {
                dir = next;
                at.push(&name);
            }
            NameTarget::Elsewhere(target) => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::ELOOP.into());
                }
                if target.is_absolute() {
                    (dir, at) = (root()?, PathBuf::from("/"));
                }
                ahead.extend(names(&target));
            }
        }
    }
    Ok(dir)
}

fn root() -> io::Result<OwnedFd> {
    Ok(open_path("/", OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC, Mode::empty())?)
}

/// The names in a path, the first one last.
fn names(path: &Path) -> Vec<OsString> {
    let name = |part: Component<'_>| match part {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
    };
    path.components().rev().filter_map(name).collect()
}

/// Where a name leads.
enum NameTarget {
    Into(OwnedFd),
    Elsewhere(PathBuf),
}

fn step(dir: std::os::fd::BorrowedFd<'_>, name: &OsStr, missing: MissingPolicy) -> io::Result<NameTarget> {
    let flags = OFlag::O_PATH | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = match openat(dir, name, flags, Mode::empty()) {
        Err(Errno::ENOENT) if missing == MissingPolicy::Made => return make_one(dir, name).map(NameTarget::Into),
        found => found?,
    };
    let is = fstat(&found)?;
    match SFlag::from_bits_truncate(is.st_mode & SFlag::S_IFMT.bits()) {
        SFlag::S_IFDIR => Ok(NameTarget::Into(found)),
        SFlag::S_IFLNK if geteuid().is_root() && !is_roots(&is, &fstat(dir)?) => Err(io::Error::other(
            "it is a symbolic link, which as root is followed only where it and its directory are root's; name the \
             directory it leads to",
        )),
        // Read from the very link that was examined.
        SFlag::S_IFLNK => Ok(NameTarget::Elsewhere(readlinkat(&found, "")?.into())),
        _ => Err(Errno::ENOTDIR.into()),
    }
}

/// Whether nobody but root can have put a link there.
fn is_roots(link: &FileStat, dir: &FileStat) -> bool {
    link.st_uid == 0 && dir.st_uid == 0
}

/// Creates a directory, or opens the one that someone else creates at this moment.
fn make_one(dir: std::os::fd::BorrowedFd<'_>, name: &OsStr) -> io::Result<OwnedFd> {
    let root = geteuid().is_root();
    let (private, shared) = (Mode::S_IRWXU, Mode::from_bits_truncate(0o755));
    let made = match mkdirat(dir, name, private) {
        Err(Errno::EEXIST) => false,
        made => made.map(|()| true)?,
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let found = openat(dir, name, flags, Mode::empty())?;
    // Whatever the umask; and only our own, in case someone else has put another directory there.
    if made && root && Uid::from_raw(fstat(&found)?.st_uid).is_root() {
        fchmod(&found, shared)?;
    }
    Ok(found)
}

/// The error, with the path on the way that it is about.
fn with_path(place: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {}", place.display(), reason(error)))
}

/// Stats a name in an open directory; does not follow a link.
///
/// # Errors
///
/// The system's error.
pub(crate) fn stat_entry(dir: &OwnedFd, name: &OsStr) -> io::Result<FileStat> {
    Ok(fstatat(dir, name, AtFlags::AT_SYMLINK_NOFOLLOW)?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};

    use super::*;
    use crate::system::privileges::RunUser;
    use crate::system::reexec;

    fn inode(dir: &OwnedFd) -> (u64, u64) {
        let found = fstat(dir).unwrap();
        (found.st_dev, found.st_ino)
    }

    #[track_caller]
    fn leads_to(path: &Path, expected: &Path) {
        let found = expected.metadata().unwrap();
        assert_eq!(inode(&open(path).unwrap()), (found.dev(), found.ino()), "{}", path.display());
    }

    #[test]
    fn a_path_resolves_as_in_the_kernel() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b/c")).unwrap();
        symlink("b/c", at("a/relative")).unwrap();
        symlink(at("a/b"), at("absolute")).unwrap();
        symlink("..", at("a/up")).unwrap();
        symlink("loop", at("loop")).unwrap();
        for path in ["a/b/c", "a/./b//c/", "a/relative", "absolute/c", "a/up/a/b/c", "a/b/../relative", "absolute/.."] {
            leads_to(&at(path), &at(path).canonicalize().unwrap());
        }
        leads_to(Path::new("/"), Path::new("/"));
        assert_eq!(open(&at("loop")).unwrap_err().raw_os_error(), Some(Errno::ELOOP as i32));
        assert_eq!(open(&at("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
        let above = open(&at("none/below")).unwrap_err();
        assert!(above.to_string().starts_with(&at("none").display().to_string()), "{above}");
        fs::write(at("file"), "").unwrap();
        assert_eq!(open(&at("file")).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn what_is_missing_is_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/c");
        let made = make(&path).unwrap();
        leads_to(&path, &path);
        assert_eq!(inode(&made), inode(&make(&path).unwrap()));
        let expected = if geteuid().is_root() { 0o755 } else { 0o700 };
        for path in path.ancestors().take(3) {
            assert_eq!(path.metadata().unwrap().mode() & 0o7777, expected, "{}", path.display());
        }
    }

    /// H3, for the directories above a file.
    #[test]
    fn as_root_a_link_of_anybody_elses_is_not_followed() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::create_dir(&target).unwrap();
        symlink(&target, &link).unwrap();
        let cases = [(0, 0, true), (0, 65534, false), (65534, 0, false), (65534, 65534, false)];
        for (of_directory, of_link, followed) in cases {
            std::os::unix::fs::chown(dir.path(), Some(of_directory), None).unwrap();
            lchown(&link, Some(of_link), None).unwrap();
            let opened = open(&link);
            assert_eq!(opened.is_ok(), followed, "directory of {of_directory}, link of {of_link}: {opened:?}");
            let below = make(&link.join("below/it"));
            assert_eq!(below.is_ok(), followed, "{below:?}");
            assert_eq!(target.join("below").exists(), followed);
            let _ = fs::remove_dir_all(target.join("below"));
            if let Err(error) = below {
                assert!(
                    error.to_string().starts_with(&format!("{}: it is a symbolic link", link.display())),
                    "{error}"
                );
            }
        }
    }

    #[test]
    fn what_is_closed_to_a_user_and_what_is_open_to_it() {
        if !reexec::is_root_child("system::directory::tests::what_is_closed_to_a_user_and_what_is_open_to_it") {
            return;
        }
        let user = RunUser::lookup("nobody").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/b/file");
        fs::create_dir_all(dir.path().join("a/b")).unwrap();
        let chmod =
            |name: &str, mode| fs::set_permissions(dir.path().join(name), Permissions::from_mode(mode)).unwrap();
        let closed = || user.try_out(|| closed_on_the_way(&path).map(Path::to_owned)).unwrap();
        let replaceable = || user.try_out(|| replaceable_in(&path).map(Path::to_owned)).unwrap();
        chmod("", 0o700);
        assert_eq!(closed(), Some(dir.path().to_owned()));
        chmod("", 0o755);
        assert_eq!((closed(), replaceable()), (None, None));
        chmod("a", 0o711);
        chmod("a/b", 0o700);
        assert_eq!(closed(), Some(dir.path().join("a/b")));
        chmod("a/b", 0o755);
        for (name, mode, expected) in
            [("a/b", 0o777, true), ("a/b", 0o1777, false), ("a", 0o777, true), ("", 0o1777, false)]
        {
            chmod(name, mode);
            assert_eq!(replaceable(), expected.then(|| dir.path().join(name)), "{name} {mode:o}");
            chmod(name, 0o755);
        }
        std::os::unix::fs::chown(dir.path().join("a"), Some(user.uid().as_raw()), None).unwrap();
        chmod("a", 0o1755);
        assert_eq!(replaceable(), Some(dir.path().join("a")), "its own, sticky or not");
    }
}
