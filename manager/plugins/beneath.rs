//! Opens files below a directory that is open already, and nowhere else.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, readlinkat};
use nix::sys::stat::Mode;

/// As many links as the kernel follows.
const MAX_LINKS: usize = 40;

/// The outcome of [`open`].
#[derive(Debug)]
pub(super) enum OpenBeneath {
    /// It is open for reading, without waiting: it may be a FIFO.
    Opened(File),
    /// Nothing has that name.
    Missing,
    /// A link or `..` on the way leads out of the directory, to this path.
    Escapes(PathBuf),
    /// Any other error.
    Failed(io::Error),
}

/// Opens a path below a directory, each step below what the previous step opened. Follows links that stay inside.
pub(super) fn open(dir: &File, path: &Path) -> OpenBeneath {
    let mut to_go = steps(path);
    let mut passed: Vec<OwnedFd> = Vec::new();
    let mut links = 0;
    while let Some(step) = to_go.pop() {
        if step == ".." {
            if passed.pop().is_none() {
                return OpenBeneath::Escapes("..".into());
            }
            continue;
        }
        let at = passed.last().map_or(dir.as_fd(), AsFd::as_fd);
        let last = to_go.is_empty();
        let what = if last { OFlag::O_RDONLY | OFlag::O_NONBLOCK } else { OFlag::O_PATH | OFlag::O_DIRECTORY };
        let flags = what | OFlag::O_NOFOLLOW | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
        let error = match openat(at, step.as_os_str(), flags, Mode::empty()) {
            Ok(opened) if last => return OpenBeneath::Opened(opened.into()),
            Ok(opened) => {
                passed.push(opened);
                continue;
            }
            Err(error) => error,
        };
        let target = match readlinkat(at, step.as_os_str()) {
            Ok(target) if matches!(error, Errno::ELOOP | Errno::ENOTDIR) => PathBuf::from(target),
            _ if error == Errno::ENOENT => return OpenBeneath::Missing,
            _ => return OpenBeneath::Failed(error.into()),
        };
        links += 1;
        if links > MAX_LINKS {
            return OpenBeneath::Failed(Errno::ELOOP.into());
        }
        if target.is_absolute() {
            return OpenBeneath::Escapes(target);
        }
        if leads_out(&target, passed.len()) {
            return OpenBeneath::Escapes(target);
        }
        to_go.extend(steps(&target));
    }
    OpenBeneath::Failed(Errno::EISDIR.into())
}

/// Whether a relative target leads above the directory from this depth below it: only for the message, which names the
/// link's target; each step is checked when it is taken.
fn leads_out(target: &Path, mut depth: usize) -> bool {
    target.components().any(|component| match component {
        Component::ParentDir if depth == 0 => true,
        Component::ParentDir => {
            depth -= 1;
            false
        }
        Component::Normal(_) => {
            depth += 1;
            false
        }
        _ => false,
    })
}

/// The steps of a path, the last one first.
fn steps(path: &Path) -> Vec<OsString> {
    let say = |component: Component<'_>| match component {
        Component::Normal(name) => Some(name.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    };
    path.components().rev().filter_map(say).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_what_is_below_is_opened() {
        let tmp = tempfile::tempdir().unwrap();
        let root = tmp.path().join("root");
        fs::create_dir_all(root.join("lib/deep")).unwrap();
        fs::create_dir(tmp.path().join("root2")).unwrap();
        for (path, content) in [("root/x", "x"), ("root/lib/y", "y"), ("root2/z", "z"), ("secret", "s")] {
            fs::write(tmp.path().join(path), content).unwrap();
        }
        let absolute = tmp.path().join("secret");
        for (to, link) in [
            ("x", "near"),
            ("near", "far"),
            ("lib", "current"),
            ("../../x", "lib/deep/up"),
            ("../secret", "out"),
            ("../root/x", "out_and_in"),
            (absolute.to_str().unwrap(), "absolute"),
            ("../root2", "other"),
            ("lib/../../secret", "winding"),
            ("loop", "loop"),
            ("gone", "dangling"),
        ] {
            symlink(to, root.join(link)).unwrap();
        }
        let dir = File::open(&root).unwrap();
        let outcome = |path: &str| match open(&dir, Path::new(path)) {
            OpenBeneath::Opened(mut file) => {
                let mut text = String::new();
                file.read_to_string(&mut text).map_or_else(|e| format!("{:?}", e.kind()), |_| text)
            }
            OpenBeneath::Missing => "missing".into(),
            OpenBeneath::Escapes(to) => format!("escapes to {}", to.display()),
            OpenBeneath::Failed(error) => format!("{:?}", error.kind()),
        };
        for (path, expected) in [
            ("x", "x"),
            ("./x", "x"),
            ("lib/y", "y"),
            ("lib/../x", "x"),
            ("near", "x"),
            ("far", "x"),
            ("current/y", "y"),
            ("lib/deep/up", "x"),
            ("gone", "missing"),
            ("gone/x", "missing"),
            ("dangling", "missing"),
            ("..", "escapes to .."),
            ("../secret", "escapes to .."),
            ("lib/../../secret", "escapes to .."),
            ("out", "escapes to ../secret"),
            ("out_and_in", "escapes to ../root/x"),
            ("other/z", "escapes to ../root2"),
            ("winding", "escapes to lib/../../secret"),
            ("x/y", "NotADirectory"),
            ("loop", "FilesystemLoop"),
            ("lib", "IsADirectory"),
        ] {
            assert_eq!(outcome(path), expected, "{path}");
        }
        assert_eq!(outcome("absolute"), format!("escapes to {}", absolute.display()));
    }
}
