//! The libraries that workers load: `STATE_DIR/store/FIRST-12-OF-SHA256/FUNCTION.so`, written once and never changed,
//! with the libraries that it brings along beside it.
//!
//! Workers never load from worker_dir: overwriting a mapped library crashes every process that maps it, or changes its
//! code unnoticed. A function's version is its content; two functions in one file are two files here.

use std::collections::BTreeMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;

use super::content_hash::{ContentHash, ShortHash};
use super::display_path::DisplayPath;
use super::function_version::FunctionVersion;
use super::garbage::{VersionOnDisk, garbage};
use super::identity::FileIdentity;
use super::name::FunctionName;
use super::siblings::{Sibling, is_below};
use super::state_file;
use super::stored::{StoredSibling, StoredVersion};
use super::version_records::VersionRecords;
use crate::system::errors::reason;
use crate::system::private_dir;

/// The store of one manager.
#[derive(Debug)]
pub struct Store {
    dir: PathBuf,
    known: BTreeMap<(FunctionName, ContentHash), StoredVersion>,
    /// What is recorded about versions.
    pub records: VersionRecords,
}

/// Something about the store failed.
#[derive(Debug, thiserror::Error)]
#[error("{doing} {path}: {}", reason(.error), path = DisplayPath(.path))]
pub struct StoreError {
    doing: &'static str,
    path: PathBuf,
    error: io::Error,
}

/// Makes a [`StoreError`] from a system error.
fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    move |error| StoreError { doing, path: path.to_owned(), error }
}

/// Lists the siblings beside a version. No function has a library of that name.
const SIBLINGS: &str = "siblings.json";
const FORMAT: u32 = 1;

/// Its name in the state directory.
pub(crate) const STORE: &str = "store";

/// Where probes put their copies.
const INCOMING: &str = "incoming";

impl Store {
    /// Opens the store below a state directory, creates it if it does not exist, and removes what an earlier manager
    /// left half done. Returns warnings. Blocks as long as the disk does.
    ///
    /// # Errors
    /// The directories cannot be created, or belong to another user.
    pub fn open(state_dir: &Path) -> Result<(Self, Vec<String>), StoreError> {
        let dir = state_dir.join(STORE);
        private_dir(&dir)?;
        let incoming = dir.join(INCOMING);
        private_dir(&incoming)?;
        let mut warnings = Vec::new();
        for entry in fs::read_dir(&incoming).map_err(failed("cannot read", &incoming))?.flatten() {
            if let Err(e) = remove_all(&entry.path()) {
                warnings.push(format!(
                    "cannot remove {}, left by an earlier run: {}",
                    DisplayPath(&entry.path()),
                    reason(&e)
                ));
            }
        }
        let (records, warning) = VersionRecords::open(state_dir);
        warnings.extend(warning);
        Ok((Store { dir, known: BTreeMap::new(), records }, warnings))
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The state directory that it is in.
    pub(crate) fn state_dir(&self) -> &Path {
        self.dir.parent().unwrap_or(Path::new(""))
    }

    /// A path for the copy that a probe is to make, in a directory that holds only this copy and its siblings. `unique`
    /// must be unique among the probes of this manager. Creates the directory again if it was removed.
    pub fn incoming(&self, unique: &str) -> PathBuf {
        let incoming = self.dir.join(INCOMING);
        if !incoming.exists() {
            // The copy reports what prevents it.
            let _ = private_dir(&self.dir).and_then(|()| private_dir(&incoming));
        }
        let own = incoming.join(unique);
        // As above.
        let _ = private_dir(&own);
        own.join(unique)
    }

    /// Removes what a probe left, if anything.
    ///
    /// # Errors
    /// It still exists.
    pub fn discard(&self, copy: &Path) -> Result<(), StoreError> {
        let own = copy.parent().unwrap_or(copy);
        match remove_all(own) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(failed("cannot remove", own)(e)),
            _ => Ok(()),
        }
    }

    /// Adopts a probe's copy as a version of a function, by a rename. A version that exists unchanged stays as it is,
    /// and running workers keep the file they map.
    ///
    /// # Errors
    /// The copy is not what a probe leaves, or could not be moved; it is removed then.
    pub fn adopt(
        &mut self,
        copy: &Path,
        hash: ContentHash,
        function: &FunctionName,
    ) -> Result<StoredVersion, StoreError> {
        self.adopt_with(copy, hash, &[], function)
    }

    /// As [`Store::adopt`], with the libraries beside it.
    ///
    /// # Errors
    /// As [`Store::adopt`].
    pub fn adopt_with(
        &mut self,
        copy: &Path,
        hash: ContentHash,
        siblings: &[Sibling],
        function: &FunctionName,
    ) -> Result<StoredVersion, StoreError> {
        let key = (function.clone(), hash);
        if let Some(known) = self.known.get(&key).filter(|known| self.unchanged(known)).cloned() {
            self.discard(copy)?;
            return Ok(known);
        }
        let path = self.path(function, hash.short());
        let moved = self.move_siblings(copy, &path, siblings).and_then(|siblings| {
            // Last: if the plugin exists, the version is complete.
            Ok((self.move_in(copy, &path)?, siblings))
        });
        // The first error is the one to report; what is in place already is no longer here.
        let _ = self.discard(copy);
        let (meta, siblings) = moved?;
        let stored =
            StoredVersion { function: function.clone(), hash, path, identity: FileIdentity::of(&meta), siblings };
        self.known.insert(key, stored.clone());
        Ok(stored)
    }

    fn move_in(&self, copy: &Path, path: &Path) -> Result<Metadata, StoreError> {
        let meta = fs::symlink_metadata(copy).map_err(failed("cannot look at", copy))?;
        // A constructor ran beside this file. This guards against accidents, not malice (which runs as the same user).
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

    fn move_siblings(&self, copy: &Path, path: &Path, siblings: &[Sibling]) -> Result<Vec<StoredSibling>, StoreError> {
        let (from, to) = (copy.parent().unwrap_or(copy), path.parent().unwrap_or(path));
        let mut stored = Vec::new();
        for sibling in siblings {
            let (from, to) = (from.join(&sibling.path), to.join(&sibling.path));
            if !is_below(&sibling.path) || to == path || sibling.path.starts_with(SIBLINGS) {
                let error = io::Error::other("a library beside a plugin must not have that name");
                return Err(failed("cannot store", &from)(error));
            }
            let mut dirs: Vec<&Path> = to.ancestors().skip(1).take_while(|dir| **dir != self.dir).collect();
            dirs.reverse();
            dirs.into_iter().try_for_each(private_dir)?;
            let meta = self.move_in(&from, &to)?;
            stored.push(StoredSibling { sibling: sibling.clone(), identity: FileIdentity::of(&meta) });
        }
        if !siblings.is_empty() {
            let file = to.join(SIBLINGS);
            state_file::write(&file, FORMAT, &siblings).map_err(failed("cannot write", &file))?;
        }
        Ok(stored)
    }

    /// The siblings of the versions in a directory of the store; `None` if the list of them is damaged.
    fn siblings(dir: &Path) -> Option<Vec<Sibling>> {
        let listed = state_file::read_only::<Vec<Sibling>>(&dir.join(SIBLINGS), FORMAT);
        listed.ok().filter(|siblings| siblings.iter().all(|sibling| is_below(&sibling.path)))
    }

    /// Whether this manager or an earlier one knows a version.
    fn is_known(&self, function: &FunctionName, hash: ShortHash) -> bool {
        let mut good = self.records.last_good();
        good.any(|(name, good)| name == function && good.short() == hash)
            || self.known.keys().any(|(name, known)| name == function && known.short() == hash)
    }

    fn path(&self, function: &FunctionName, hash: ShortHash) -> PathBuf {
        self.dir.join(hash.to_string()).join(format!("{function}.so"))
    }

    /// Whether the stored files are those whose content is known. One `lstat` each.
    pub fn unchanged(&self, stored: &StoredVersion) -> bool {
        let is =
            |path: &Path, identity| fs::symlink_metadata(path).is_ok_and(|meta| FileIdentity::of(&meta) == identity);
        is(&stored.path, stored.identity)
            && stored.siblings.iter().all(|one| is(&stored.path.with_file_name(&one.sibling.path), one.identity))
    }

    /// The last good version of a function as recorded. Not verified yet: see [`Store::unchanged`] and [`verify`].
    pub fn last_good(&self, function: &FunctionName) -> Option<StoredVersion> {
        let (hash, identity, siblings) = self.records.last_good_of(function)?;
        let (path, siblings) = (self.path(function, hash.short()), siblings.to_vec());
        Some(StoredVersion { function: function.clone(), hash, path, identity, siblings })
    }

    /// Records what [`verify`] found.
    pub fn verified(&mut self, stored: StoredVersion) {
        self.known.insert((stored.function.clone(), stored.hash), stored);
    }

    /// A version of which only the first digits of its hash are known. Reads it completely, so it blocks as the disk
    /// does.
    ///
    /// # Errors
    /// It does not exist, cannot be read, or does not match its name.
    pub fn stored(&mut self, function: &FunctionName, hash: ShortHash) -> Result<StoredVersion, StoreError> {
        let path = self.path(function, hash);
        let siblings = Self::siblings(path.parent().unwrap_or(&path));
        let damaged = || failed("cannot use", &path)(io::Error::other(format!("{SIBLINGS} beside it is damaged")));
        let paths: Vec<PathBuf> = siblings.ok_or_else(damaged)?.into_iter().map(|sibling| sibling.path).collect();
        let (content, identity, siblings) = hashed(&path, &paths)?;
        if content.short() != hash {
            return Err(failed("cannot use", &path)(io::Error::other("it was changed after it was stored")));
        }
        let stored = StoredVersion { function: function.clone(), hash: content, path, identity, siblings };
        self.verified(stored.clone());
        Ok(stored)
    }

    /// Every version in the store, newest first within a function. Blocks as long as the disk does.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn versions(&self) -> Result<Vec<VersionOnDisk>, StoreError> {
        let dirs = fs::read_dir(&self.dir).map_err(failed("cannot read", &self.dir))?.flatten();
        let hashes = dirs.filter_map(|dir| ShortHash::from_name(dir.file_name().to_str()?));
        let mut versions: Vec<VersionOnDisk> = hashes.flat_map(|hash| self.versions_of(hash)).collect();
        versions.sort_by(|a, b| a.function.cmp(&b.function).then_with(|| b.stored.cmp(&a.stored)));
        Ok(versions)
    }

    /// The functions that have a version with this content.
    fn versions_of(&self, hash: ShortHash) -> Vec<VersionOnDisk> {
        let dir = self.dir.join(hash.to_string());
        let listed = Self::siblings(&dir);
        let siblings = listed.as_deref().unwrap_or_default();
        let beside = siblings.iter().filter_map(|one| fs::metadata(dir.join(&one.path)).ok());
        let beside: u64 = beside.map(|meta| meta.len()).sum();
        let version = |file: fs::DirEntry| {
            let name = file.file_name();
            let function = FunctionName::new(name.to_str()?.strip_suffix(".so")?).ok()?;
            let meta = file.metadata().ok()?;
            // If the list is damaged, a file that is not known as a version counts as a sibling: a version may need it.
            let is_sibling = match listed {
                Some(_) => siblings.iter().any(|sibling| sibling.path == Path::new(&name)),
                None => !self.is_known(&function, hash),
            };
            let stored = (meta.mtime(), meta.mtime_nsec());
            (!is_sibling).then(|| VersionOnDisk { function, hash, stored, size: meta.len() + beside })
        };
        fs::read_dir(&dir).into_iter().flatten().flatten().filter_map(version).collect()
    }

    /// Removes the versions that are not needed: not in `keep` (in use, pinned), not a last good one, and not among the
    /// `spare` others of their function that were served last or are the newest. Returns what it removed. Blocks as
    /// long as the disk does.
    ///
    /// # Errors
    /// The store cannot be read, or something in it cannot be removed.
    pub fn collect(&mut self, keep: &[FunctionVersion], spare: usize) -> Result<Vec<VersionOnDisk>, StoreError> {
        let mut keep = keep.to_vec();
        let good = self.records.last_good();
        keep.extend(good.map(|(function, hash)| FunctionVersion { function: function.clone(), hash: hash.short() }));
        let served =
            |version: &VersionOnDisk| self.records.served(&version.function).position(|hash| hash == version.hash);
        let removed = garbage(self.versions()?, &keep, served, spare);
        for version in &removed {
            self.remove(&version.function, version.hash)?;
        }
        self.records.not_stored(&removed).map_err(failed("cannot write to", &self.dir))?;
        Ok(removed)
    }

    /// Removes one version of a function. Blocks as long as the disk does.
    ///
    /// # Errors
    /// It still exists.
    pub fn remove(&mut self, function: &FunctionName, hash: ShortHash) -> Result<(), StoreError> {
        let path = self.path(function, hash);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(failed("cannot remove", &path)(e)),
            _ => self.known.retain(|_, known| known.path != path),
        }
        // If no other function has a version with this content, its siblings are not needed.
        if self.versions_of(hash).is_empty() {
            let dir = self.dir.join(hash.to_string());
            remove_all(&dir).or_else(not_there).map_err(failed("cannot remove", &dir))?;
        }
        Ok(())
    }
}

/// Hashes a stored file again if its identity differs from the known one. Blocks as long as the disk does.
///
/// # Errors
/// It is gone, unreadable, or has other content: it must not be loaded.
pub fn verify(stored: &StoredVersion) -> Result<StoredVersion, StoreError> {
    let paths: Vec<PathBuf> = stored.siblings.iter().map(|one| one.sibling.path.clone()).collect();
    let (hash, identity, siblings) = hashed(&stored.path, &paths)?;
    if hash != stored.hash {
        let with = if siblings.is_empty() { "" } else { ", or that of a library beside it," };
        let what = format!("its content{with} was changed in the store");
        return Err(failed("cannot use", &stored.path)(io::Error::other(what)));
    }
    Ok(StoredVersion { identity, siblings, ..stored.clone() })
}

/// Hash and identity of a stored library and of the libraries beside it, as they are now.
fn hashed(path: &Path, beside: &[PathBuf]) -> Result<(ContentHash, FileIdentity, Vec<StoredSibling>), StoreError> {
    let (own, identity) = content(path)?;
    let mut siblings = Vec::new();
    for name in beside {
        let (hash, identity) = content(&path.with_file_name(name))?;
        siblings.push(StoredSibling { sibling: Sibling { path: name.clone(), hash }, identity });
    }
    let all: Vec<Sibling> = siblings.iter().map(|one| one.sibling.clone()).collect();
    Ok((own.with_siblings(&all), identity, siblings))
}

/// Hash and identity of a file in the store. Does not follow a planted link, nor wait for a FIFO.
fn content(path: &Path) -> Result<(ContentHash, FileIdentity), StoreError> {
    let options = OpenOptions::new().read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK).to_owned();
    let file: File = options.open(path).map_err(failed("cannot use", path))?;
    let meta = file.metadata().map_err(failed("cannot look at", path))?;
    if !meta.is_file() {
        return Err(failed("cannot use", path)(io::Error::other("it is not a file")));
    }
    Ok((ContentHash::of_reader(&file).map_err(failed("cannot read", path))?, FileIdentity::of(&meta)))
}

/// Removes a directory and its content, or a file. Follows no link.
fn remove_all(path: &Path) -> io::Result<()> {
    if fs::symlink_metadata(path)?.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
}

/// Accepts that something does not exist.
fn not_there(error: io::Error) -> io::Result<()> {
    if error.kind() == ErrorKind::NotFound { Ok(()) } else { Err(error) }
}

/// Creates a private directory, or checks that it is one.
fn private_dir(path: &Path) -> Result<(), StoreError> {
    private_dir::inside(path).map(drop).map_err(|rejection| match rejection {
        private_dir::DirectoryError::Failed(error) => failed("cannot make the directory", path)(error),
        private_dir::DirectoryError::NoDirectory => {
            failed("cannot use", path)(io::Error::other("it is not a directory"))
        }
        rejection => failed("cannot use", path)(io::Error::other(format!("it {rejection}"))),
    })
}

#[cfg(test)]
mod tests;
