//! A version in the store, as the store, the records and the workers' starts use it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::content_hash::ContentHash;
use super::function_version::FunctionVersion;
use super::identity::FileIdentity;
use super::name::FunctionName;
use super::siblings::Sibling;

/// A stored version of a function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredVersion {
    /// The function.
    pub function: FunctionName,
    /// Its content.
    pub hash: ContentHash,
    /// The file that workers load.
    pub path: PathBuf,
    /// The file when its content was last hashed.
    pub identity: FileIdentity,
    /// The libraries beside it.
    pub siblings: Vec<StoredSibling>,
}

impl StoredVersion {
    /// Which version this is.
    pub fn version(&self) -> FunctionVersion {
        FunctionVersion { function: self.function.clone(), hash: self.hash.short() }
    }
}

/// A library beside a stored version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredSibling {
    /// Its name and content.
    pub sibling: Sibling,
    /// The file when its content was last hashed.
    pub identity: FileIdentity,
}
