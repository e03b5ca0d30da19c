//! Reading one worker directory: names and what they stand for. Nothing in it is opened.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::fs::{self, FileType, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use super::display_path::DisplayPath;
use super::identity::FileIdentity;
use super::name;
use super::rejection::passes;
use super::scan::{Listing, PathKind, SkipReason, UnreadableDirectory};
use crate::system::errors::{dangling, reason};

/// Reads a directory. Its real path is found anew each time, so that a swapped link is a deploy. Blocks as long as its
/// file system does: for a thread of its own, not for the manager's.
pub fn read(dir: &Path) -> Listing {
    let read = entries(dir).map_err(|e| UnreadableDirectory { text: failure(dir, &e), passes: passes(&e) });
    let below = read.as_ref().map(|(real, entries)| below(real, entries)).unwrap_or_default();
    Listing { dir: dir.to_owned(), read, below }
}

/// So many entries of subdirectories are looked at: worker_dir may be the root of anything.
const MOST_BELOW: usize = 1000;

/// Libraries by name in the subdirectories, the nearer ones first; links and hidden directories are not entered.
fn below(real: &Path, entries: &[(OsString, PathKind)]) -> Vec<PathBuf> {
    let directory = |what: &PathKind| *what == PathKind::Not(SkipReason::Directory);
    let dirs = entries.iter().filter(|(_, what)| directory(what)).map(|(name, _)| real.join(name));
    let mut to_read: VecDeque<PathBuf> = dirs.filter(|path| may_be_entered(path)).collect();
    let (mut libraries, mut left) = (Vec::new(), MOST_BELOW);
    while let Some(dir) = to_read.pop_front() {
        // One that cannot be read is none of ours.
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
        // Half a directory is none: what is missing would look removed.
        let entry = entry?;
        if let Some(what) = look(&entry.path()) {
            entries.push((entry.file_name(), what));
        }
    }
    Ok((real, entries))
}

/// What is there, or nothing where it vanished since it was listed.
fn look(path: &Path) -> Option<PathKind> {
    let error = match fs::metadata(path) {
        Ok(meta) => return Some(what(&meta)),
        Err(e) => e,
    };
    if error.kind() != ErrorKind::NotFound {
        return Some(PathKind::Not(SkipReason::Unreadable { text: reason(&error), passes: passes(&error) }));
    }
    dangling(path).map(|link| PathKind::Not(SkipReason::Dangling(link.to)))
}

fn what(meta: &Metadata) -> PathKind {
    if meta.is_file() { PathKind::File(FileIdentity::of(meta)) } else { PathKind::Not(not_a_file(meta.file_type())) }
}

/// The reason for something that is no regular file.
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
