//! A version of a function: the key of the catalog, the workers' starts and the store.

use super::content_hash::ShortHash;
use super::name::FunctionName;

/// A version of a function.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FunctionVersion {
    /// The function.
    pub function: FunctionName,
    /// The content of its library.
    pub hash: ShortHash,
}

/// Tests write versions as two literals.
#[cfg(test)]
impl From<(&str, &str)> for FunctionVersion {
    fn from((function, hash): (&str, &str)) -> Self {
        FunctionVersion { function: function.into(), hash: hash.into() }
    }
}

#[cfg(test)]
impl PartialEq<(&str, &str)> for FunctionVersion {
    fn eq(&self, (function, hash): &(&str, &str)) -> bool {
        self.function == *function && self.hash == *hash
    }
}
