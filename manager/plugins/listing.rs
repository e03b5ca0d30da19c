//! Reads one worker directory: names and what they stand for. Opens no file in it.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::display_path::DisplayPath;
use super::identity::FileIdentity;
use super::name::{self, SkippedFile};
use super::rejection::is_transient;
use crate::system::errors::{dangling, reason};

/// What a name in a directory stands for, links followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathKind {
    /// A regular file.
    File(FileIdentity),
    /// No file: why it is no candidate.
    Not(SkipReason),
}

/// One directory as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// As configured.
    pub dir: PathBuf,
    /// Its real path and its entries; or why it could not be read.
    pub read: Result<(PathBuf, Vec<(OsString, PathKind)>), UnreadableDirectory>,
    /// Libraries in its subdirectories.
    pub below: Vec<PathBuf>,
}

/// Why a directory could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableDirectory {
    /// One sentence.
    pub text: String,
    /// Whether the cause may pass.
    pub is_transient: bool,
}

/// Why a file is no candidate. The text follows the file's path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SkipReason {
    /// Because of its name.
    #[error(transparent)]
    Name(#[from] SkippedFile),
    /// Libraries are not read from here.
    #[error("is a directory; libraries are read from worker_dir itself, not from its subdirectories")]
    Directory,
    /// A named pipe.
    #[error("is a FIFO, not a file")]
    Fifo,
    /// A Unix socket.
    #[error("is a socket, not a file")]
    Socket,
    /// A block or character device.
    #[error("is a device, not a file")]
    Device,
    /// A link to nothing.
    #[error("is a link to {to}, which does not exist", to = DisplayPath(.0))]
    Dangling(PathBuf),
    /// `stat` failed.
    #[error("cannot be inspected: {text}")]
    Unreadable {
        /// The system's text.
        text: String,
        /// Whether the cause may pass.
        is_transient: bool,
    },
    /// Another file of the same function is served.
    #[error("is ignored: {by} serves the same function", by = DisplayPath(.0))]
    PassedOver(PathBuf),
}

/// Reads a directory. Resolves the real path each time, so swapping a link is a deploy. Blocks as long as the file
/// system does, so never call it on the manager's thread.
pub fn read(dir: &Path) -> Listing {
    let read = entries(dir).map_err(|e| UnreadableDirectory { text: failure(dir, &e), is_transient: is_transient(&e) });
    let below = read.as_ref().map(|(real, entries)| below(real, entries)).unwrap_or_default();
    Listing { dir: dir.to_owned(), read, below }
}

/// The most entries of subdirectories to read: worker_dir may be the root of anything.
const MAX_ENTRIES_BELOW: usize = 1000;

/// Libraries by name in the subdirectories, nearer ones first; links and hidden directories are not entered.
fn below(real: &Path, entries: &[(OsString, PathKind)]) -> Vec<PathBuf> {
    let directory = |what: &PathKind| *what == PathKind::Not(SkipReason::Directory);
    let dirs = entries.iter().filter(|(_, what)| directory(what)).map(|(name, _)| real.join(name));
    let mut to_read: VecDeque<PathBuf> = dirs.filter(|path| may_be_entered(path)).collect();
    let (mut libraries, mut left) = (Vec::new(), MAX_ENTRIES_BELOW);
    while let Some(dir) = to_read.pop_front() {
        // A directory that cannot be read holds none of our libraries.
        let Ok(found) = fs::read_dir(&dir) else { continue };
        for entry in found.flatten().take(left) {
            left -= 1;
            let Ok(kind) = entry.file_type() else { continue };
            if kind.is_dir() && may_be_entered(&entry.path()) {
                to_read.push_back(entry.path());
            } else if !kind.is_dir() && name::function_of(&entry.file_name()).is_ok() {
                libraries.push(entry.path());
            }
        }
    }
    libraries
}

fn may_be_entered(dir: &Path) -> bool {
    let hidden = dir.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && dir.symlink_metadata().is_ok_and(|found| found.is_dir())
}

fn entries(dir: &Path) -> io::Result<(PathBuf, Vec<(OsString, PathKind)>)> {
    let real = fs::canonicalize(dir)?;
    let mut entries = Vec::new();
    for entry in fs::read_dir(&real)? {
        // An incomplete listing counts as unreadable: what it lacks would look removed.
        let entry = entry?;
        if let Some(what) = kind_at(&entry.path()) {
            entries.push((entry.file_name(), what));
        }
    }
    Ok((real, entries))
}

/// What is there, or `None` if it vanished since it was listed.
fn kind_at(path: &Path) -> Option<PathKind> {
    let error = match fs::metadata(path) {
        Ok(meta) => return Some(kind_of(&meta)),
        Err(e) => e,
    };
    if error.kind() != ErrorKind::NotFound {
        return Some(PathKind::Not(SkipReason::Unreadable {
            text: reason(&error),
            is_transient: is_transient(&error),
        }));
    }
    dangling(path).map(|link| PathKind::Not(SkipReason::Dangling(link.to)))
}

fn kind_of(meta: &Metadata) -> PathKind {
    if meta.is_file() { PathKind::File(FileIdentity::of(meta)) } else { PathKind::Not(not_a_file(meta.file_type())) }
}

/// The reason for something that is not a regular file.
pub(super) fn not_a_file(kind: FileType) -> SkipReason {
    if kind.is_dir() {
        SkipReason::Directory
    } else if kind.is_fifo() {
        SkipReason::Fifo
    } else if kind.is_socket() {
        SkipReason::Socket
    } else {
        SkipReason::Device
    }
}

fn failure(dir: &Path, error: &io::Error) -> String {
    let link = dangling(dir);
    let (path, dir) = (dir, DisplayPath(dir));
    match (error.kind(), link) {
        (ErrorKind::NotFound, Some(link)) => format!("worker_dir {dir} does not exist: {}", link.sentence(path)),
        (ErrorKind::NotFound, None) => format!("worker_dir {dir} does not exist"),
        (ErrorKind::NotADirectory, _) => format!("worker_dir {dir} is not a directory"),
        (ErrorKind::PermissionDenied, _) => format!("worker_dir {dir} may not be read by this user: {}", reason(error)),
        _ => format!("worker_dir {dir} cannot be read: {}", reason(error)),
    }
}
