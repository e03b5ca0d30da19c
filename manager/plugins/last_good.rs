//! The last good version of every function, remembered across restarts of the manager.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::content_hash::ContentHash;
use super::identity::FileIdentity;
use super::name::FunctionName;
use super::state_file;
use super::store::{Stored, StoredSibling};

const FORMAT: u32 = 1;

/// Function -> the version that last proved good, kept in `last-good.json`.
#[derive(Debug)]
pub struct LastGood {
    file: PathBuf,
    good: BTreeMap<FunctionName, Good>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Good {
    hash: ContentHash,
    /// Of the stored file when it was last hashed: saves hashing it again at every start.
    identity: FileIdentity,
    /// The libraries beside it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    siblings: Vec<StoredSibling>,
}

impl LastGood {
    /// Reads what was remembered. The text is a warning: what was there could not be used.
    pub(super) fn read(file: PathBuf) -> (Self, Option<String>) {
        let found = state_file::read(&file, FORMAT);
        (LastGood { file, good: found.content }, found.warning)
    }

    /// The functions that have one, with its hash.
    pub fn iter(&self) -> impl Iterator<Item = (&FunctionName, &ContentHash)> {
        self.good.iter().map(|(function, good)| (function, &good.hash))
    }

    /// The version of a function, and identity and siblings of the stored file as they were remembered.
    pub(super) fn get(&self, function: &FunctionName) -> Option<(ContentHash, FileIdentity, &[StoredSibling])> {
        self.good.get(function).map(|good| (good.hash, good.identity, good.siblings.as_slice()))
    }

    /// Remembers a version, on disk at once. Blocks as long as the disk does (an fsync).
    ///
    /// # Errors
    /// The system's, when it could not be written: the old file stays, memory has the new one.
    pub fn set(&mut self, stored: &Stored) -> io::Result<()> {
        let good = Good { hash: stored.hash, identity: stored.identity, siblings: stored.siblings.clone() };
        if self.good.get(&stored.function) == Some(&good) {
            return Ok(());
        }
        self.good.insert(stored.function.clone(), good);
        self.write()
    }

    /// Forgets a function that is no longer served. As [`LastGood::set`].
    ///
    /// # Errors
    /// As [`LastGood::set`].
    pub fn forget(&mut self, function: &FunctionName) -> io::Result<()> {
        if self.good.remove(function).is_none() { Ok(()) } else { self.write() }
    }

    fn write(&self) -> io::Result<()> {
        state_file::write(&self.file, FORMAT, &self.good)
    }
}
