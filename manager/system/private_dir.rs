//! A directory that only one user may use: the state directory, and the directories in it.
//!
//! Owner and mode are checked and changed through the directory's descriptor: its path may lead to another one a moment
//! later.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::dir::Dir;
use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::{Mode, fchmod, fstat, mkdirat};
use nix::unistd::{Gid, Uid, User, fchown, geteuid};

use super::directory;
use super::errors::{reason, shown};
use super::privileges::RunUser;
use super::shell::for_shell;

/// What a state directory contains once a manager has used it.
const OURS: [&str; 4] = ["lock", "store", "control.sock", "versions.json"];

/// What every directory, or the root of a new file system, contains.
const IN_ANY: [&str; 3] = [".", "..", "lost+found"];

/// Why a directory is refused, without its name.
#[derive(Debug)]
pub(crate) enum DirectoryError {
    /// The system refused, or a link is in the way.
    Failed(io::Error),
    /// A file is in its place.
    NoDirectory,
    /// A link is in its place.
    Link {
        /// Where it leads.
        to: PathBuf,
    },
    /// It belongs to another user, who could replace anything in it.
    Foreign {
        owner: Uid,
        /// Who must own it.
        keeper: Uid,
    },
    /// It belongs to root, a manager without `-u` has used it, and what is in it is root's too.
    Roots {
        /// Who must own it.
        keeper: Uid,
    },
    /// It holds someone's files, so it is not made private.
    Shared { mode: u32 },
}

impl From<io::Error> for DirectoryError {
    fn from(error: io::Error) -> Self {
        Self::Failed(error)
    }
}

impl From<Errno> for DirectoryError {
    fn from(errno: Errno) -> Self {
        Self::Failed(errno.into())
    }
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(error) => write!(f, "cannot be made or used: {}", reason(error)),
            Self::NoDirectory => f.write_str("is no directory"),
            Self::Link { to } => {
                let to = shown(to);
                write!(f, "is a link to {to}, which is not followed")
            }
            Self::Foreign { owner, keeper } if keeper.is_root() => {
                let name = name(*owner);
                write!(f, "belongs to uid {owner}, not to uid {keeper}, as after a start with -u {name}")
            }
            Self::Foreign { owner, keeper } => write!(f, "belongs to uid {owner}, not to uid {keeper}"),
            Self::Roots { keeper } => {
                write!(f, "belongs to uid 0, not to uid {keeper}, as after a start without -u")
            }
            Self::Shared { mode } => write!(
                f,
                "is open to others (mode {mode:04o}) and has files that are not gm-native's, so it is left as it is"
            ),
        }
    }
}

impl DirectoryError {
    /// What to do, if the directory can stay where it is.
    pub(crate) fn remedy(&self, path: &Path) -> Option<String> {
        let path = for_shell(path.as_os_str());
        match self {
            Self::Foreign { owner, keeper } if keeper.is_root() => {
                Some(format!("start with -u {}, or run `chown -R root {path}`", name(*owner)))
            }
            Self::Foreign { keeper, .. } => Some(format!("run `chown -R {} {path}`", name(*keeper))),
            Self::Roots { keeper } => Some(format!("start without -u, or run `chown -R {} {path}`", name(*keeper))),
            Self::Shared { .. } => Some(format!("make it yours alone with chown and `chmod 700 {path}`")),
            Self::Failed(_) | Self::NoDirectory | Self::Link { .. } => None,
        }
    }
}

/// A user's name for a message, or the id if there is no name.
fn name(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| uid.to_string(), |user| user.name)
}

/// Creates the state directory or checks it: it must belong to the user that the manager runs as, and be closed to
/// others. Creates what is missing above it.
///
/// # Errors
///
/// See [`DirectoryError`]. A refused directory is left as it was.
pub(crate) fn state(path: &Path, user: Option<&RunUser>) -> Result<OwnedFd, DirectoryError> {
    let (parent, name) = directory::split(path)?;
    let parent = directory::make(parent)?;
    let keeper = user.map_or_else(geteuid, RunUser::uid);
    settle(&parent, name, keeper, user.map(RunUser::gid), holds)
}

/// Creates or checks a directory in the state directory, for us alone. What is above it has to exist.
///
/// # Errors
///
/// See [`DirectoryError`].
pub(crate) fn inside(path: &Path) -> Result<OwnedFd, DirectoryError> {
    let (parent, name) = directory::of(path)?;
    settle(&parent, name, geteuid(), None, |_| Ok(DirectoryContent::Ours))
}

fn settle(
    parent: &OwnedFd,
    name: &OsStr,
    keeper: Uid,
    group: Option<Gid>,
    holds: impl FnOnce(&OwnedFd) -> io::Result<DirectoryContent>,
) -> Result<OwnedFd, DirectoryError> {
    match mkdirat(parent, name, Mode::S_IRWXU) {
        Ok(()) | Err(Errno::EEXIST) => {}
        Err(errno) => return Err(errno.into()),
    }
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let dir = openat(parent, name, flags, Mode::empty()).map_err(|errno| not_opened(parent, name, errno, keeper))?;
    let stat = fstat(&dir)?;
    let found = DirectoryState { owner: Uid::from_raw(stat.st_uid), mode: stat.st_mode & 0o7777, holds: holds(&dir)? };
    let changes = changes(&found, geteuid(), keeper)?;
    if changes.mode {
        fchmod(&dir, Mode::S_IRWXU)?;
    }
    if changes.owner {
        fchown(&dir, Some(keeper), group)?;
    }
    Ok(dir)
}

/// Why what is at the path could not be opened as a directory.
fn not_opened(parent: &OwnedFd, name: &OsStr, errno: Errno, keeper: Uid) -> DirectoryError {
    match errno {
        Errno::ELOOP | Errno::ENOTDIR => match readlinkat(parent, name) {
            Ok(to) => DirectoryError::Link { to: to.into() },
            Err(_) => DirectoryError::NoDirectory,
        },
        Errno::EACCES => match directory::stat_entry(parent, name).map(|found| Uid::from_raw(found.st_uid)) {
            Ok(owner) if owner != keeper => DirectoryError::Foreign { owner, keeper },
            _ => errno.into(),
        },
        errno => errno.into(),
    }
}

/// What is in a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DirectoryContent {
    Nothing,
    Ours,
    Others,
}

fn holds(dir: &OwnedFd) -> io::Result<DirectoryContent> {
    let mut listing = Dir::openat(dir.as_fd(), ".", OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?;
    let mut all = DirectoryContent::Nothing;
    for entry in listing.iter() {
        let entry = entry?;
        let name = OsStr::from_bytes(entry.file_name().to_bytes());
        if OURS.iter().any(|ours| *ours == name) {
            return Ok(DirectoryContent::Ours);
        }
        if !IN_ANY.iter().any(|any| *any == name) {
            all = DirectoryContent::Others;
        }
    }
    Ok(all)
}

/// A directory as it was found.
struct DirectoryState {
    owner: Uid,
    mode: u32,
    holds: DirectoryContent,
}

/// What has to change about it.
#[derive(Debug, PartialEq, Eq)]
struct DirectoryChanges {
    owner: bool,
    mode: bool,
}

/// The changes that make a directory private to its keeper, if any may.
fn changes(found: &DirectoryState, us: Uid, keeper: Uid) -> Result<DirectoryChanges, DirectoryError> {
    let owner = found.owner != keeper;
    if owner && found.owner != us {
        return Err(DirectoryError::Foreign { owner: found.owner, keeper });
    }
    if owner && found.holds == DirectoryContent::Ours {
        return Err(DirectoryError::Roots { keeper });
    }
    let open = found.mode & 0o077 != 0;
    if (owner || open) && found.holds == DirectoryContent::Others {
        return Err(DirectoryError::Shared { mode: found.mode });
    }
    // Nor unusable for its keeper, as one created under an odd umask.
    let mode = open || found.mode & 0o700 != 0o700;
    Ok(DirectoryChanges { owner, mode })
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};

    use super::*;
    use crate::system::reexec;

    #[test]
    fn the_owner_of_an_existing_directory() {
        let (root, user, third) = (0, 1000, 1001);
        let (nothing, ours, others) = (DirectoryContent::Nothing, DirectoryContent::Ours, DirectoryContent::Others);
        // Who we are, and who its keeper is; owner, mode and content as found; the changes of owner and mode.
        let cases = [
            (root, root, (root, 0o700, others), Ok((false, false))),
            (root, root, (root, 0o755, nothing), Ok((false, true))),
            (root, root, (root, 0o600, ours), Ok((false, true))),
            (root, root, (root, 0o777, ours), Ok((false, true))),
            (root, root, (root, 0o755, others), Err("is open to others (mode 0755)")),
            (root, root, (user, 0o700, nothing), Err("belongs to uid 1000, not to uid 0")),
            (root, user, (user, 0o700, ours), Ok((false, false))),
            (root, user, (user, 0o750, ours), Ok((false, true))),
            (root, user, (root, 0o700, nothing), Ok((true, false))),
            (root, user, (root, 0o755, nothing), Ok((true, true))),
            (root, user, (root, 0o700, ours), Err("belongs to uid 0, not to uid 1000, as after a start without -u")),
            (root, user, (root, 0o700, others), Err("has files that are not gm-native's")),
            (root, user, (third, 0o700, nothing), Err("belongs to uid 1001, not to uid 1000")),
            (user, user, (user, 0o755, nothing), Ok((false, true))),
            (user, user, (root, 0o777, nothing), Err("belongs to uid 0, not to uid 1000")),
        ];
        for (us, keeper, (owner, mode, holds), expected) in cases {
            let found = DirectoryState { owner: Uid::from_raw(owner), mode, holds };
            let case = format!("{us} for {keeper}: {owner} {mode:o} {holds:?}");
            match (changes(&found, Uid::from_raw(us), Uid::from_raw(keeper)), expected) {
                (Ok(changes), Ok((owner, mode))) => assert_eq!(changes, DirectoryChanges { owner, mode }, "{case}"),
                (Err(refusal), Err(text)) => assert!(refusal.to_string().contains(text), "{case}: {refusal}"),
                (changes, expected) => panic!("{case}: {changes:?}, not {expected:?}"),
            }
        }
    }

    #[test]
    fn a_start_without_u_after_one_with_it_suggests_u() {
        let refusal = DirectoryError::Foreign { owner: Uid::from_raw(65534), keeper: Uid::from_raw(0) };
        assert!(refusal.to_string().ends_with("as after a start with -u nobody"), "{refusal}");
        let remedy = refusal.remedy(Path::new("/var/lib/gm 1")).unwrap();
        assert_eq!(remedy, "start with -u nobody, or run `chown -R root '/var/lib/gm 1'`");
    }

    #[test]
    fn made_for_its_owner_only_below_directories_for_all() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("var/lib/gm");
        state(&path, None).unwrap();
        let mode = |path: &Path| path.metadata().unwrap().mode() & 0o7777;
        assert_eq!(mode(&path), 0o700);
        assert_eq!(mode(path.parent().unwrap()), if geteuid().is_root() { 0o755 } else { 0o700 });
        state(&path, None).unwrap();
    }

    /// H13: a directory that is closed to us belongs to someone else.
    #[test]
    fn an_inaccessible_directory_is_reported_as_another_users() {
        if !reexec::is_root_child("system::private_dir::tests::an_inaccessible_directory_is_reported_as_another_users")
        {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let path = dir.path().join("state");
        state(&path, None).unwrap();
        let nobody = RunUser::lookup("nobody").unwrap();
        let error = nobody.try_out(|| state(&path, None).unwrap_err().to_string()).unwrap();
        assert!(error.starts_with(&format!("belongs to uid 0, not to uid {}", nobody.uid())), "{error}");
    }

    /// H3.
    #[test]
    fn a_link_is_no_directory_and_what_it_leads_to_stays_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        fs::create_dir(&target).unwrap();
        fs::set_permissions(&target, Permissions::from_mode(0o755)).unwrap();
        symlink(&target, &link).unwrap();
        for refused in [state(&link, None), inside(&link)] {
            let expected = format!("is a link to {}, which is not followed", target.display());
            assert_eq!(refused.unwrap_err().to_string(), expected);
        }
        fs::write(dir.path().join("file"), "").unwrap();
        assert!(matches!(state(&dir.path().join("file"), None), Err(DirectoryError::NoDirectory)));
        assert_eq!(target.metadata().unwrap().mode() & 0o777, 0o755);
    }

    #[test]
    fn what_is_refused_is_left_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("shared");
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        fs::write(path.join("somebodys"), "").unwrap();
        assert!(matches!(state(&path, None), Err(DirectoryError::Shared { mode: 0o755 })));
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o755);
        fs::create_dir(path.join("store")).unwrap();
        state(&path, None).unwrap();
        assert_eq!(path.metadata().unwrap().mode() & 0o7777, 0o700);
    }

    #[test]
    fn a_new_file_system_is_empty() {
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(dir.path().join("lost+found")).unwrap();
        state(dir.path(), None).unwrap();
    }

    #[test]
    fn given_to_the_user_the_manager_runs_as() {
        if !geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let user = RunUser::lookup("nobody").unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a/state");
        state(&path, Some(&user)).unwrap();
        let owner = |path: &Path| path.metadata().unwrap().uid();
        assert_eq!((owner(&path), owner(&dir.path().join("a"))), (user.uid().as_raw(), 0));
        state(&path, Some(&user)).unwrap();
        assert!(matches!(state(&path, None), Err(DirectoryError::Foreign { .. })));
        chown(&path, Some(0), None).unwrap();
        fs::write(path.join("lock"), "").unwrap();
        assert!(matches!(state(&path, Some(&user)), Err(DirectoryError::Roots { .. })));
        assert_eq!(owner(&path), 0, "left as it was");
    }
}
