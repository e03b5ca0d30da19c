//! The libraries that workers load: `STATE_DIR/store/FIRST-12-OF-SHA256/FUNCTION.so`, written once, never changed.
//!
//! Workers never load from worker_dir: to write over a mapped library is to crash whoever maps it, or to change its
//! code in silence. A function's version is its content; two functions of one file are two files here.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use super::garbage::{VersionOnDisk, garbage};
use super::hash::{ContentHash, ShortHash};
use super::identity::Identity;
use super::last_good::LastGood;
use super::name::FunctionName;
use super::text::Shown;
use crate::system::errors::reason;
use crate::system::private_dir;

/// A stored version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The function.
    pub function: FunctionName,
    /// Its content.
    pub hash: ContentHash,
    /// What workers load.
    pub path: PathBuf,
    /// The file when its content was last known.
    pub identity: Identity,
}

/// The store of one manager.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    known: BTreeMap<(FunctionName, ContentHash), Stored>,
    /// The last good version of every function.
    pub last_good: LastGood,
}

/// Something about the store failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {}", reason(.error), path = Shown(.path))]
pub struct StoreError {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// Makes a [`StoreError`] of the system's one.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError { doing, path: path.to_owned(), error }
}

/// Where copies are made before they are judged.
const INCOMING: &str = "incoming";

impl Store {
    /// Opens the store below a state directory, making it where it is not there, and removes what an earlier manager
    /// left half done. Texts are warnings. Blocks as long as the disk does.
    ///
    /// # Errors
    /// The directories cannot be made, or are another user's.
    pub fn open(state_dir: &Path) -> Result<(Self, Vec<String>), StoreError> {
        let dir = state_dir.join("store");
        private_dir(&dir)?;
        let incoming = dir.join(INCOMING);
        private_dir(&incoming)?;
        let mut warnings = Vec::new();
        for entry in fs::read_dir(&incoming).map_err(failed("cannot read", &incoming))?.flatten() {
            if let Err(e) = fs::remove_file(entry.path()) {
                warnings.push(format!(
                    "cannot remove {}, left by an earlier run: {}",
                    Shown(&entry.path()),
                    reason(&e)
                ));
            }
        }
        let (last_good, warning) = LastGood::read(dir.join("last-good.json"));
        warnings.extend(warning);
        Ok((Store { dir, known: BTreeMap::new(), last_good }, warnings))
    }

    /// A name for a copy that a probe is to make. `unique` must be one among the probes of this manager. Where somebody
    /// has removed the directory while we run it is made again.
    pub fn incoming(&self, unique: &str) -> PathBuf {
        let incoming = self.dir.join(INCOMING);
        if !incoming.exists() {
            // What keeps it from being made the copy will say.
            let _ = private_dir(&self.dir).and_then(|()| private_dir(&incoming));
        }
        incoming.join(unique)
    }

    /// Removes what a probe left. Whether there was anything does not matter.
    ///
    /// # Errors
    /// It is still there.
    pub fn discard(&self, copy: &Path) -> Result<(), StoreError> {
        match fs::remove_file(copy) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("cannot remove", copy)(e)),
            _ => Ok(()),
        }
    }

    /// Takes a probe's copy in as a version of a function: a rename. A version that is there and unchanged stays as it
    /// is, and running workers keep the file they map.
    ///
    /// # Errors
    /// The copy is not what a probe leaves, or could not be moved; it is removed then.
    pub fn adopt(&mut self, copy: &Path, hash: ContentHash, function: &FunctionName) -> Result<Stored, StoreError> {
        let key = (function.clone(), hash);
        if let Some(known) = self.known.get(&key).filter(|known| self.unchanged(known)).cloned() {
            self.discard(copy)?;
            return Ok(known);
        }
        let path = self.path(function, hash.short());
        let moved = self.move_in(copy, &path);
        if moved.is_err() {
            // The first error is the one to report.
            let _ = self.discard(copy);
        }
        let stored = Stored { function: function.clone(), hash, path, identity: Identity::of(&moved?) };
        self.known.insert(key, stored.clone());
        Ok(stored)
    }

    fn move_in(&self, copy: &Path, path: &Path) -> Result<Metadata, StoreError> {
        let meta = fs::symlink_metadata(copy).map_err(failed("cannot look at", copy))?;
        // A constructor ran beside this file. Not against malice (it runs as the same user), against accidents.
        if !meta.is_file() || meta.nlink() != 1 || meta.mode() & 0o7777 != 0o500 {
            let error = io::Error::other("the probe's copy was changed after it was made");
            return Err(failed("cannot store", copy)(error));
        }
        let dir = path.parent().unwrap_or(&self.dir);
        private_dir(dir)?;
        fs::rename(copy, path).map_err(failed("cannot store", path))?;
        // The rename changed its ctime.
        fs::symlink_metadata(path).map_err(failed("cannot look at", path))
    }

    fn path(&self, function: &FunctionName, hash: ShortHash) -> PathBuf {
        self.dir.join(hash.to_string()).join(format!("{function}.so"))
    }

    /// Whether a stored file is the one whose content is known. One `lstat`.
    pub fn unchanged(&self, stored: &Stored) -> bool {
        fs::symlink_metadata(&stored.path).is_ok_and(|meta| Identity::of(&meta) == stored.identity)
    }

    /// The last good version of a function as it was remembered. Not looked at yet: see [`Store::unchanged`] and
    /// [`verify`].
    pub fn last_good(&self, function: &FunctionName) -> Option<Stored> {
        let (hash, identity) = self.last_good.get(function)?;
        Some(Stored { function: function.clone(), hash, path: self.path(function, hash.short()), identity })
    }

    /// Accepts what [`verify`] found.
    pub fn verified(&mut self, stored: Stored) {
        self.known.insert((stored.function.clone(), stored.hash), stored);
    }

    /// A version of which only the first digits of its hash are known. Reads it whole, so it blocks as the disk does.
    ///
    /// # Errors
    /// There is none, it cannot be read, or it is not what its place says.
    pub fn stored(&mut self, function: &FunctionName, hash: ShortHash) -> Result<Stored, StoreError> {
        let path = self.path(function, hash);
        let file = File::open(&path).map_err(failed("cannot use", &path))?;
        let meta = file.metadata().map_err(failed("cannot look at", &path))?;
        let content = ContentHash::of_reader(&file).map_err(failed("cannot read", &path))?;
        if content.short() != hash {
            return Err(failed("cannot use", &path)(io::Error::other("it was changed after it was stored")));
        }
        let stored = Stored { function: function.clone(), hash: content, path, identity: Identity::of(&meta) };
        self.verified(stored.clone());
        Ok(stored)
    }

    /// Every version in the store, newest first within a function. Blocks as long as the disk does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn versions(&self) -> Result<Vec<VersionOnDisk>, StoreError> {
        let mut versions = Vec::new();
        for dir in fs::read_dir(&self.dir).map_err(failed("cannot read", &self.dir))?.flatten() {
            let Some(hash) = dir.file_name().to_str().and_then(ShortHash::from_name) else { continue };
            for file in fs::read_dir(dir.path()).into_iter().flatten().flatten() {
                let name = file.file_name();
                let function = name.to_str().and_then(|name| FunctionName::new(name.strip_suffix(".so")?).ok());
                let (Some(function), Ok(meta)) = (function, file.metadata()) else { continue };
                versions.push(VersionOnDisk {
                    function,
                    hash,
                    stored: (meta.mtime(), meta.mtime_nsec()),
                    size: meta.len(),
                });
            }
        }
        versions.sort_by(|a, b| a.function.cmp(&b.function).then_with(|| b.stored.cmp(&a.stored)));
        Ok(versions)
    }

    /// Removes the versions that nobody needs: not in `keep` (in use, pinned), not a last good one, and older than the
    /// newest `spare` others of their function. Returns what was removed. Blocks as long as the disk does.
    ///
    /// # Errors
    /// The store cannot be read, or something in it not removed.
    pub fn collect(
        &mut self,
        keep: &[(FunctionName, ShortHash)],
        spare: usize,
    ) -> Result<Vec<VersionOnDisk>, StoreError> {
        let mut keep = keep.to_vec();
        keep.extend(self.last_good.iter().map(|(function, hash)| (function.clone(), hash.short())));
        let removed = garbage(self.versions()?, &keep, spare);
        for version in &removed {
            self.remove(&version.function, version.hash)?;
        }
        Ok(removed)
    }

    /// Removes one version of a function. Blocks as long as the disk does.
    ///
    /// # Errors
    /// It is still there.
    pub fn remove(&mut self, function: &FunctionName, hash: ShortHash) -> Result<(), StoreError> {
        let path = self.path(function, hash);
        self.discard(&path)?;
        self.known.retain(|_, known| known.path != path);
        // Fails where another function has a version of this content.
        let _ = fs::remove_dir(self.dir.join(hash.to_string()));
        Ok(())
    }
}

/// Hashes a stored file anew, where its identity differs from the known one. Blocks as long as the disk does.
///
/// # Errors
/// Gone, unreadable, or of another content: it must not be loaded.
pub fn verify(stored: &Stored) -> Result<Stored, StoreError> {
    let wrong = |what: &str| failed("cannot use", &stored.path)(io::Error::other(what));
    let options = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).to_owned();
    let file: File = options.open(&stored.path).map_err(failed("cannot use", &stored.path))?;
    let meta = file.metadata().map_err(failed("cannot look at", &stored.path))?;
    if !meta.is_file() {
        return Err(wrong("it is not a file"));
    }
    let hash = ContentHash::of_reader(&file).map_err(failed("cannot read", &stored.path))?;
    if hash != stored.hash {
        return Err(wrong("its content was changed in the store"));
    }
    Ok(Stored { identity: Identity::of(&meta), ..stored.clone() })
}

/// Makes a directory that is nobody else's, or sees that it is one.
fn private_dir(path: &Path) -> Result<(), StoreError> {
    private_dir::inside(path).map(drop).map_err(|refusal| match refusal {
        private_dir::Refusal::Failed(error) => failed("cannot make the directory", path)(error),
        private_dir::Refusal::NoDirectory => failed("cannot use", path)(io::Error::other("it is not a directory")),
        refusal => failed("cannot use", path)(io::Error::other(format!("it {refusal}"))),
    })
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
