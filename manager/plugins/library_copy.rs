//! Copies a candidate into the store, and hashes it on the way. Runs in the probe: a file system may hang it, but not
//! the manager.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;

use nix::libc;
use nix::sys::statvfs::{FsFlags, statvfs};

use super::content_hash::{ContentHash, Hasher};
use super::display_path::DisplayPath;
use super::identity::FileIdentity;
use super::permissions::FilePolicy;
use super::rejection::Rejection;
use crate::system::errors::{dangling, reason, reason_at};

/// What to copy where, and the requirements for it.
#[derive(Debug, Clone, Copy)]
pub struct Copy<'a> {
    /// The candidate.
    pub from: &'a Path,
    /// A name in the store that does not exist yet.
    pub to: &'a Path,
    /// The most bytes it may have.
    pub max_size: u64,
    /// Who may own it; `None`: anyone.
    pub file_policy: Option<FilePolicy>,
}

/// A copy: complete, on disk, read-only.
#[derive(Debug)]
pub struct Copied {
    /// The hash of the bytes that were written.
    pub hash: ContentHash,
    /// The file it was copied from, as it was then.
    pub source: FileIdentity,
    /// The copy, open for reading.
    pub file: File,
}

impl Copy<'_> {
    /// Makes the copy. Blocks as long as the file systems do. On an error it leaves nothing behind.
    ///
    /// # Errors
    /// Whatever prevents the candidate from being opened, trusted, read or stored.
    pub fn make(&self) -> Result<Copied, Rejection> {
        refuse_noexec(self.to)?;
        self.of(&open(self.from)?)
    }

    /// As [`Copy::make`], for an open file.
    ///
    /// # Errors
    /// As [`Copy::make`].
    pub(super) fn of(&self, source: &File) -> Result<Copied, Rejection> {
        let before = source.metadata().map_err(cannot_read)?;
        if let Some(file_policy) = self.file_policy {
            file_policy.check(self.from, &before)?;
        }
        let copied = self.bytes(source, before.len()).and_then(|(hash, file)| {
            let source_now = FileIdentity::of(&source.metadata().map_err(cannot_read)?);
            if source_now != FileIdentity::of(&before) {
                return Err(Rejection::Changing);
            }
            Ok(Copied { hash, source: source_now, file })
        });
        if copied.is_err() {
            // Best effort: what remains is removed when the store is next opened.
            let _ = fs::remove_file(self.to);
        }
        copied
    }

    fn bytes(&self, source: &File, size: u64) -> Result<(ContentHash, File), Rejection> {
        let too_large = |size| Rejection::TooLarge { size, max: self.max_size };
        if size > self.max_size {
            return Err(too_large(size));
        }
        let store = |e| self.store_failed(&e);
        let options = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).to_owned();
        let mut file = options.open(self.to).map_err(store)?;
        let mut hasher = Hasher::default();
        let mut block = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            let n = match (&*source).read(&mut block) {
                Ok(0) => break,
                Ok(n) => n,
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) => return Err(cannot_read(e)),
            };
            // It may grow while it is read.
            total += n as u64;
            if total > self.max_size {
                return Err(too_large(total));
            }
            hasher.add(&block[..n]);
            file.write_all(&block[..n]).map_err(store)?;
        }
        // r-x: some loaders and tools want the x; nothing needs the w.
        file.set_permissions(Permissions::from_mode(0o500)).map_err(store)?;
        file.sync_all().map_err(store)?;
        Ok((hasher.finish(), file))
    }

    fn store_failed(&self, error: &io::Error) -> Rejection {
        cannot_store(self.to.parent().unwrap_or(self.to), error)
    }
}

/// Creates the directory for a copy if it does not exist.
///
/// # Errors
/// It cannot be created; the rejection names the directory above it.
pub(super) fn make_place(dir: &Path) -> Result<(), Rejection> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(cannot_store(dir.parent().unwrap_or(dir), &error))
        }
        _ => Ok(()),
    }
}

fn cannot_store(dir: &Path, error: &io::Error) -> Rejection {
    let dir = DisplayPath(dir).to_string();
    let full = matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
    let error = reason(error);
    if full { Rejection::StoreFull { dir, error } } else { Rejection::StoreFailed { dir, error } }
}

/// Opens a regular file without waiting: a FIFO without a writer would block forever.
///
/// # Errors
/// It is gone, not ours to open, or not a file.
pub(super) fn open(path: &Path) -> Result<File, Rejection> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound if dangling(path).is_some() => Rejection::CannotOpen(reason_at(path, &e)),
        ErrorKind::NotFound => Rejection::Vanished,
        _ => match fs::metadata(path) {
            Ok(meta) if !meta.is_file() => Rejection::NotAFile(kind(meta.file_type()).into()),
            _ => Rejection::cannot_open(reason(&e), &e),
        },
    })?;
    must_be_a_file(&opened).map(|_| opened)
}

/// The metadata of an opened file, if it is a regular file.
pub(super) fn must_be_a_file(opened: &File) -> Result<Metadata, Rejection> {
    let meta = opened.metadata().map_err(cannot_read)?;
    if meta.is_file() { Ok(meta) } else { Err(Rejection::NotAFile(kind(meta.file_type()).into())) }
}

fn kind(kind: fs::FileType) -> &'static str {
    if kind.is_dir() {
        "a directory"
    } else if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_socket() {
        "a socket"
    } else {
        "a device"
    }
}

fn cannot_read(error: io::Error) -> Rejection {
    Rejection::CannotRead(reason(&error))
}

/// Whether a directory is on a file system from which no library can be loaded. Other errors show when it is used.
pub(crate) fn is_noexec(dir: &Path) -> bool {
    statvfs(dir).is_ok_and(|fs| fs.flags().contains(FsFlags::ST_NOEXEC))
}

/// The loader's own error would be "failed to map segment from shared object".
fn refuse_noexec(to: &Path) -> Result<(), Rejection> {
    let dir = to.parent().unwrap_or(to);
    match is_noexec(dir) {
        true => Err(Rejection::NoExec { dir: DisplayPath(dir).to_string() }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests;
