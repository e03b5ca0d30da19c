//! A directory that the members of one group may enter, beside the state directory, which is closed to them.
//!
//! Owner, group and mode are checked and changed through its descriptor, as those of a private directory.

use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::{FileStat, Mode, fchmod, fstat, mkdirat, stat};
use nix::unistd::{Gid, Group, Uid, fchown, getegid, geteuid};

use super::directory;
use super::errors::reason;
use super::privileges::RunUser;

/// A group, by its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ReaderGroup {
    name: String,
    gid: Gid,
}

impl ReaderGroup {
    /// Looks it up. May block as long as the machine's group database does.
    ///
    /// # Errors
    ///
    /// One sentence: there is no such group, or the database cannot be asked.
    pub(crate) fn lookup(name: &str) -> Result<Self, String> {
        match Group::from_name(name) {
            Ok(Some(group)) => Ok(Self { name: name.into(), gid: group.gid }),
            Ok(None) => Err(format!("there is no group {name:?}; create it, or name another")),
            Err(errno) => Err(format!("group {name:?} cannot be looked up: {}", errno.desc())),
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

/// Why a directory cannot be the group's, without its name.
#[derive(Debug)]
pub(crate) enum GroupDirError {
    /// The system refused, or a link is in the way.
    Failed(io::Error),
    /// Something else is in its place: a file, or a link.
    NoDirectory,
    /// It belongs to another user, who could put another socket there.
    Foreign(Uid),
    /// It cannot be given to the group, of which this user is no member.
    NoMember,
}

impl fmt::Display for GroupDirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "cannot be made or used: {}", reason(error)),
            Self::NoDirectory => f.write_str("is no directory; remove it"),
            Self::Foreign(owner) => write!(f, "belongs to uid {owner}; remove it"),
            Self::NoMember => write!(
                f,
                "cannot be given to the group, of which uid {} is no member: add that user to it, or start as root",
                geteuid()
            ),
        }
    }
}

impl From<io::Error> for GroupDirError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Errno> for GroupDirError {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno.into())
    }
}

/// Creates the directory, or takes the one that is there: it belongs to the user that the manager runs as, and the
/// group may enter it. A socket in it is the group's, too, whether or not that user is a member.
///
/// # Errors
///
/// See [`GroupDirError`]. What is another user's is left as it was.
pub(crate) fn make(path: &Path, user: Option<&RunUser>, group: &ReaderGroup) -> Result<(), GroupDirError> {
    let (parent, name) = directory::of(path)?;
    let made = match mkdirat(&parent, name, Mode::S_IRWXU) {
        Ok(()) => true,
        Err(Errno::EEXIST) => false,
        Err(errno) => return Err(errno.into()),
    };
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = openat(&parent, name, flags, Mode::empty()).map_err(|errno| match errno {
        Errno::ELOOP | Errno::ENOTDIR => GroupDirError::NoDirectory,
        // Whoever may not open it does not own it.
        Errno::EACCES => directory::stat_entry(&parent, name)
            .map_or(errno.into(), |found| GroupDirError::Foreign(Uid::from_raw(found.st_uid))),
        errno => errno.into(),
    })?;
    let found = fstat(&dir)?;
    let (keeper, primary) = user.map_or_else(|| (geteuid(), getegid()), |user| (user.uid(), user.gid()));
    let owner = Uid::from_raw(found.st_uid);
    // Root's own, as after a start without -u, may be given away while it is empty.
    let may_take = owner == keeper || (owner == geteuid() && (made || is_empty(&dir)?));
    if !may_take {
        return Err(GroupDirError::Foreign(owner));
    }
    if owner != keeper || found.st_gid != group.gid.as_raw() {
        fchown(&dir, Some(keeper), Some(group.gid)).map_err(|errno| match errno {
            Errno::EPERM | Errno::EINVAL => GroupDirError::NoMember,
            errno => errno.into(),
        })?;
    }
    let mode = mode_for(group.gid, primary);
    if found.st_mode & 0o7777 != mode.bits() || owner != keeper {
        fchmod(&dir, mode)?;
    }
    Ok(())
}

/// What is made in a directory with the set-group-id bit has the directory's group. The bit is not set where that is the
/// user's own group: systemd's RestrictSUIDSGID forbids it.
fn mode_for(group: Gid, primary: Gid) -> Mode {
    let mode = Mode::S_IRWXU | Mode::S_IRGRP | Mode::S_IXGRP;
    if group == primary { mode } else { mode | Mode::S_ISGID }
}

fn is_empty(dir: &OwnedFd) -> io::Result<bool> {
    let mut listing = Dir::openat(dir.as_fd(), ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    for entry in listing.iter() {
        if !matches!(entry?.file_name().to_bytes(), b"." | b"..") {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The first directory above `path` that the group may not enter.
pub(crate) fn closed_to<'a>(path: &'a Path, group: &ReaderGroup) -> Option<&'a Path> {
    let mut above: Vec<&Path> = path.ancestors().skip(1).collect();
    above.reverse();
    above.into_iter().find(|dir| stat(*dir).is_ok_and(|found| !may_enter(&found, group.gid)))
}

fn may_enter(dir: &FileStat, group: Gid) -> bool {
    let needed = if dir.st_gid == group.as_raw() { Mode::S_IXGRP } else { Mode::S_IXOTH };
    Mode::from_bits_truncate(dir.st_mode).contains(needed)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;

    fn own() -> ReaderGroup {
        ReaderGroup { name: "own".into(), gid: getegid() }
    }

    #[test]
    fn what_is_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let mode = |name: &str| at(name).metadata().unwrap().mode() & 0o7777;
        make(&at("new"), None, &own()).unwrap();
        assert_eq!(mode("new"), 0o750);
        make(&at("new"), None, &own()).unwrap();
        fs::create_dir(at("open")).unwrap();
        fs::set_permissions(at("open"), Permissions::from_mode(0o777)).unwrap();
        make(&at("open"), None, &own()).unwrap();
        assert_eq!(mode("open"), 0o750);

        fs::write(at("file"), "precious").unwrap();
        fs::create_dir(at("elsewhere")).unwrap();
        fs::set_permissions(at("elsewhere"), Permissions::from_mode(0o700)).unwrap();
        symlink(at("elsewhere"), at("link")).unwrap();
        for name in ["file", "link"] {
            assert!(matches!(make(&at(name), None, &own()), Err(GroupDirError::NoDirectory)), "{name}");
        }
        assert_eq!(mode("elsewhere"), 0o700, "a link is not followed");
        assert!(make(&at("nowhere/new"), None, &own()).is_err());
    }

    /// H18.
    #[test]
    fn as_root_it_is_given_to_the_group_and_what_is_anothers_is_refused() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let group = ReaderGroup { name: "other".into(), gid: Gid::from_raw(12345) };
        let user = RunUser::lookup("nobody").unwrap();
        for name in ["new", "empty"] {
            let _ = (name == "empty").then(|| fs::create_dir(at(name)).unwrap());
            make(&at(name), Some(&user), &group).unwrap();
            let found = at(name).metadata().unwrap();
            let expected = (user.uid().as_raw(), 12345, 0o2750);
            assert_eq!((found.uid(), found.gid(), found.mode() & 0o7777), expected, "{name}");
        }
        fs::create_dir_all(at("full/of/things")).unwrap();
        fs::create_dir(at("anothers")).unwrap();
        chown(at("anothers"), Some(1), None).unwrap();
        for name in ["full", "anothers"] {
            let before = at(name).metadata().unwrap();
            assert!(matches!(make(&at(name), Some(&user), &group), Err(GroupDirError::Foreign(_))), "{name}");
            let after = at(name).metadata().unwrap();
            assert_eq!((before.uid(), before.gid(), before.mode()), (after.uid(), after.gid(), after.mode()));
        }
        assert!(matches!(make(&at("anothers"), None, &group), Err(GroupDirError::Foreign(_))));
    }

    #[test]
    fn who_may_enter() {
        let mut dir = stat("/").unwrap();
        dir.st_gid = 7;
        for (mode, group, may) in
            [(0o755, 8, true), (0o750, 8, false), (0o750, 7, true), (0o705, 7, false), (0o700, 7, false)]
        {
            dir.st_mode = mode;
            assert_eq!(may_enter(&dir, Gid::from_raw(group)), may, "{mode:o} {group}");
        }
    }

    #[test]
    fn a_group_that_does_not_exist() {
        let error = ReaderGroup::lookup("no such group").unwrap_err();
        assert_eq!(error, "there is no group \"no such group\"; create it, or name another");
    }
}
