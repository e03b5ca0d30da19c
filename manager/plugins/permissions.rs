//! Who else could change a library: checks its owner and mode, and those of everything on the way to it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fmt;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::Uid;
use serde::{Deserialize, Serialize};

use super::display_path::DisplayPath;
use super::rejection::Rejection;
use crate::system::errors::reason;
use crate::system::owner;

/// Who may own libraries if permissions are strict: root, or the user that the workers run as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilePolicy {
    /// The user the workers run as.
    pub run_uid: u32,
}

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FileKind {
    File,
    Directory,
    Link,
}

/// What is wrong with a file or directory.
#[derive(Debug, PartialEq, Eq)]
enum PermissionProblem {
    /// Its owner is neither root nor the user that the workers run as.
    Owner { owner: Uid, run_uid: u32 },
    /// Others may write to it.
    Mode { mode: u32 },
}

impl FilePolicy {
    /// Checks an opened file and everything on the way to it: each directory, each link.
    ///
    /// # Errors
    /// [`Rejection::Distrusted`] names the path, its owner or mode, and the remedy; [`Rejection::Changing`] if the path
    /// does not lead to the opened file any more.
    pub fn check(&self, path: &Path, opened: &Metadata) -> Result<(), Rejection> {
        // The common part of many paths comes first, so that many libraries have one cause.
        let reached = self.walk(path)?;
        self.check_one(FileKind::File, path, opened)?;
        // The path must still lead to the opened file; otherwise a name was swapped meanwhile.
        if (reached.dev(), reached.ino()) != (opened.dev(), opened.ino()) {
            return Err(Rejection::Changing);
        }
        Ok(())
    }

    /// Follows a path from the root step by step, so that each step is checked.
    fn walk(&self, path: &Path) -> Result<Metadata, Rejection> {
        let mut to_go = steps(path);
        let mut at = PathBuf::from("/");
        let mut reached = lstat(&at)?;
        let mut links = 0;
        while let Some(step) = to_go.pop_front() {
            self.check_one(FileKind::Directory, &at, &reached)?;
            let next = if step == ".." { at.parent().unwrap_or(&at).to_owned() } else { at.join(&step) };
            let meta = lstat(&next)?;
            if !meta.is_symlink() {
                (at, reached) = (next, meta);
                continue;
            }
            self.check_one(FileKind::Link, &next, &meta)?;
            links += 1;
            if links > MAX_LINKS {
                return Err(Rejection::CannotOpen("too many links".into()));
            }
            let target = fs::read_link(&next).map_err(|e| Rejection::cannot_open(reason(&e), &e))?;
            if target.is_absolute() {
                at = PathBuf::from("/");
                reached = lstat(&at)?;
            }
            for step in steps(&target).into_iter().rev() {
                to_go.push_front(step);
            }
        }
        Ok(reached)
    }

    fn check_one(&self, kind: FileKind, path: &Path, meta: &Metadata) -> Result<(), Rejection> {
        let Some(problem) = judge(kind, meta.uid(), meta.mode() & 0o7777, self.run_uid) else { return Ok(()) };
        let path = DisplayPath(path).to_string();
        let remedy = match problem {
            PermissionProblem::Owner { owner, .. } => match owner::user_name(owner).filter(|_| self.run_uid == 0) {
                Some(name) if kind == FileKind::Directory => {
                    format!("start with -u {name}, or keep the libraries in a directory that is root's")
                }
                Some(name) => format!("start with -u {name}, or chown root {path}"),
                None => format!("chown root {path}"),
            },
            PermissionProblem::Mode { .. } => format!("chmod go-w {path}"),
        };
        let is_place = kind == FileKind::Directory;
        Err(Rejection::Distrusted { path, problem: problem.to_string(), remedy, is_place })
    }
}

/// The rule for one file or directory. A link's own mode means nothing: its directory decides who may replace it.
fn judge(kind: FileKind, owner: u32, mode: u32, run_uid: u32) -> Option<PermissionProblem> {
    if owner != 0 && owner != run_uid {
        return Some(PermissionProblem::Owner { owner: Uid::from_raw(owner), run_uid });
    }
    // In a sticky directory such as /tmp no one can rename or remove what belongs to someone else.
    let sticky = kind == FileKind::Directory && mode & 0o1000 != 0 && owner == 0;
    (kind != FileKind::Link && !sticky && mode & 0o022 != 0).then_some(PermissionProblem::Mode { mode })
}

impl fmt::Display for PermissionProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Owner { owner, run_uid: 0 } => write!(f, "belongs to uid {owner}, not to root"),
            Self::Owner { owner, run_uid } => write!(f, "belongs to uid {owner}, not to root or uid {run_uid}"),
            Self::Mode { mode } => {
                let who = if mode & 0o002 != 0 { "everybody" } else { "its group" };
                write!(f, "is writable by {who} (mode {mode:04o})")
            }
        }
    }
}

fn steps(path: &Path) -> VecDeque<OsString> {
    path.components()
        .filter_map(|component| match component {
            Component::Normal(name) => Some(name.to_owned()),
            Component::ParentDir => Some("..".into()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => None,
        })
        .collect()
}

fn lstat(path: &Path) -> Result<Metadata, Rejection> {
    fs::symlink_metadata(path).map_err(|e| Rejection::cannot_open(format!("{}: {}", DisplayPath(path), reason(&e)), &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    /// H2.
    #[test]
    fn which_owners_and_modes_are_trusted() {
        use FileKind::{Directory, File, Link};
        let cases = [
            (File, 0, 0o644, 33, None),
            (File, 33, 0o755, 33, None),
            (File, 34, 0o644, 33, Some("belongs to uid 34, not to root or uid 33")),
            (File, 34, 0o644, 0, Some("belongs to uid 34, not to root")),
            (File, 0, 0o664, 33, Some("is writable by its group (mode 0664)")),
            (File, 0, 0o666, 33, Some("is writable by everybody (mode 0666)")),
            (File, 0, 0o1666, 33, Some("is writable by everybody (mode 1666)")),
            (File, 0, 0o4755, 33, None),
            (Directory, 0, 0o755, 33, None),
            (Directory, 33, 0o775, 33, Some("is writable by its group (mode 0775)")),
            (Directory, 0, 0o1777, 33, None),
            (Directory, 33, 0o1777, 33, Some("is writable by everybody (mode 1777)")),
            (Link, 33, 0o777, 33, None),
            (Link, 34, 0o777, 33, Some("belongs to uid 34, not to root or uid 33")),
        ];
        for (kind, owner, mode, run_uid, problem) in cases {
            let found = judge(kind, owner, mode, run_uid).map(|found| found.to_string());
            assert_eq!(found.as_deref(), problem, "{kind:?} of {owner} mode {mode:o}");
        }
    }

    /// H2. Every case in a directory that this test owns; the user who runs it is the run user.
    #[test]
    fn the_whole_way_is_looked_at() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().canonicalize().unwrap();
        let file_policy = FilePolicy { run_uid: fs::metadata(&root).unwrap().uid() };
        let chmod = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        for dir in ["workers", "releases", "releases/7"] {
            fs::create_dir(root.join(dir)).unwrap();
            chmod(&root.join(dir), 0o755);
        }
        let file = root.join("releases/7/x.so");
        fs::write(&file, "").unwrap();
        chmod(&file, 0o644);
        symlink("../releases/current/x.so", root.join("workers/x.so")).unwrap();
        symlink("7/.", root.join("releases/current")).unwrap();
        let check = || {
            let path = root.join("workers/x.so");
            file_policy
                .check(&path, &fs::metadata(&path).unwrap())
                .map_err(|e| e.to_string().replace(root.to_str().unwrap(), ""))
        };
        assert_eq!(check(), Ok(()));
        for (path, mode) in [("workers", 0o775), ("releases", 0o777), ("releases/7", 0o757), ("releases/7/x.so", 0o666)]
        {
            let path = root.join(path);
            let before = fs::metadata(&path).unwrap().mode();
            chmod(&path, mode);
            let shown = path.display().to_string().replace(root.to_str().unwrap(), "");
            let who = if mode & 2 == 0 { "its group" } else { "everybody" };
            let expected = format!(
                "cannot be trusted: {} is writable by {who} (mode {mode:04o}); chmod go-w {}",
                // The file is checked as opened, under the name it was opened by.
                if mode == 0o666 { "/workers/x.so" } else { &shown },
                if mode == 0o666 { "/workers/x.so" } else { &shown },
            );
            assert_eq!(check(), Err(expected));
            chmod(&path, before & 0o7777);
        }
        let other = fs::metadata(root.join("releases")).unwrap();
        assert_eq!(file_policy.check(&root.join("workers/x.so"), &other), Err(Rejection::Changing));
    }
}
