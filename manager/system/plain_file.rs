//! Opens the files a manager keeps at paths that somebody named: its log, its pid file, its locks.
//!
//! Started as root, the manager opens them with root's rights in directories that others may write to. So as root a
//! link that somebody planted there is not followed, be it a symbolic one (to `/etc/passwd`, say) or a second name.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::errors::reason_at;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;

/// Whether a link at the path may lead to another file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Links {
    Followed,
    Refused,
}

/// Opens a file for the manager to keep, creating it as `options` say.
///
/// Never waits, also not for a reader of a FIFO, and never makes a terminal the controlling one. The descriptor is
/// closed on exec.
///
/// # Errors
///
/// What the system says; as root also a link at the path; anything that is no regular file, character device or FIFO.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let links = if geteuid().is_root() { Links::Refused } else { Links::Followed };
    open_with(path, options, links)
}

/// Whether the file at `path` is still the one that is open: false once it was moved, removed or replaced. A link at
/// the path is looked at itself and not followed.
pub fn is_still_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.symlink_metadata()) {
        (Ok(open), Ok(found)) => (open.dev(), open.ino()) == (found.dev(), found.ino()),
        _ => false,
    }
}

fn open_with(path: &Path, options: &mut OpenOptions, links: Links) -> io::Result<File> {
    let mut flags = OFlag::O_NOCTTY | OFlag::O_NONBLOCK;
    if links == Links::Refused {
        flags |= OFlag::O_NOFOLLOW;
    }
    let file = options.custom_flags(flags.bits()).open(path).map_err(|error| match error.raw_os_error() {
        Some(errno) if errno == Errno::ELOOP as i32 && links == Links::Refused => {
            let to = std::fs::read_link(path).map(|to| format!(" to {}", to.display())).unwrap_or_default();
            io::Error::other(format!(
                "it is a symbolic link{to}, which is not followed as root; name the file it leads to"
            ))
        }
        _ => match error.kind() {
            // It would have been created: what is missing is above it.
            ErrorKind::NotFound => and(path, &error, "create its directory, or name another file"),
            ErrorKind::IsADirectory => and(path, &error, "name a file"),
            _ => error,
        },
    })?;
    check(&file.metadata()?, links)?;
    Ok(file)
}

/// The error, and what to do about it.
fn and(path: &Path, error: &io::Error, advice: &str) -> io::Error {
    io::Error::new(error.kind(), format!("{}; {advice}", reason_at(path, error)))
}

fn check(found: &Metadata, links: Links) -> io::Result<()> {
    let kind = found.file_type();
    if !(kind.is_file() || kind.is_char_device() || kind.is_fifo()) {
        return Err(io::Error::other("it is no regular file"));
    }
    if links == Links::Refused && kind.is_file() && found.nlink() > 1 {
        return Err(io::Error::other("it is one file under several names (hard links), which is not used as root"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn options() -> OpenOptions {
        let mut options = OpenOptions::new();
        options.append(true).create(true);
        options
    }

    /// H3.
    #[test]
    fn links_are_followed_only_where_they_may_be() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link, name) = (dir.path().join("target"), dir.path().join("link"), dir.path().join("name"));
        fs::write(&target, "").unwrap();
        symlink(&target, &link).unwrap();
        open_with(&link, &mut options(), Links::Followed).unwrap();
        let refused = open_with(&link, &mut options(), Links::Refused).unwrap_err();
        assert!(refused.to_string().contains("symbolic link"), "{refused}");

        open_with(&target, &mut options(), Links::Refused).unwrap();
        fs::hard_link(&target, &name).unwrap();
        open_with(&name, &mut options(), Links::Followed).unwrap();
        let refused = open_with(&name, &mut options(), Links::Refused).unwrap_err();
        assert!(refused.to_string().contains("several names"), "{refused}");
    }

    #[test]
    fn a_dangling_link_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        symlink(&target, &link).unwrap();
        open_with(&link, &mut options(), Links::Refused).unwrap_err();
        assert!(!target.exists());
    }

    #[test]
    fn a_fifo_without_reader_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let error = open(&fifo, &mut options()).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(Errno::ENXIO as i32));
    }

    #[test]
    fn a_directory_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path(), &mut options()).unwrap_err();
    }

    #[test]
    fn knows_whether_the_path_still_leads_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let file = open(&path, &mut options()).unwrap();
        assert!(is_still_at(&file, &path));
        fs::rename(&path, dir.path().join("moved")).unwrap();
        assert!(!is_still_at(&file, &path));
        fs::write(&path, "another").unwrap();
        assert!(!is_still_at(&file, &path));
    }
}
