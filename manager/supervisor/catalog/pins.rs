//! Functions that are pinned to an earlier version, and when that ends.

use std::time::Duration;

use super::{Catalog, CheckedVersion};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::plugins::version_records::Pin;

/// What a probe means for a function's pin.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) enum PinChange {
    /// Nothing.
    #[default]
    Stays,
    /// It is now known what the file held when the function was pinned.
    KnownAgainst(Pin),
    /// It ends, since the file has changed.
    Ends,
}

impl Catalog {
    /// Serves an earlier version until the content of the file changes.
    pub(crate) fn pin(&mut self, function: &FunctionName, version: CheckedVersion, now: Duration) {
        let against = self.content(function);
        self.saved.pinned.insert(function.clone(), against);
        self.saved.last_good.insert(function.clone(), version.clone());
        if let Some(entry) = self.entries.get_mut(function) {
            let is_known = !entry.probing && entry.refused.is_none();
            entry.pinned_against = (!is_known).then_some(entry.candidate.identity);
            entry.next = None;
            entry.refused = None;
            (entry.version, entry.changed) = (Some(version), now);
        }
    }

    /// Whether the function's file is missing, and the function goes if it does not come back.
    pub(crate) fn is_missing(&self, function: &str) -> bool {
        self.entries.get(function).is_some_and(|entry| entry.removed_at.is_some())
    }

    /// The version that is served, or was by an earlier manager.
    pub(crate) fn served(&self, function: &str) -> Option<&CheckedVersion> {
        self.version(function).or_else(|| self.saved.last_good.get(function))
    }

    /// Whether an earlier version is served on request.
    pub(crate) fn is_pinned(&self, function: &str) -> bool {
        self.saved.pinned.contains_key(function)
    }

    /// Whether a pin goes on now that the file's content is known. It ends when that changes.
    pub(super) fn judge_pin(&mut self, function: &str, content: ShortHash) -> PinChange {
        let Some(against) = self.saved.pinned.get_mut(function).filter(|against| **against != Some(content)) else {
            return PinChange::Stays;
        };
        let entry = self.entries.get_mut(function);
        let identity = entry.as_ref().map(|entry| entry.candidate.identity);
        let pinned_against = entry.and_then(|entry| entry.pinned_against.take());
        match self.saved.last_good.get(function) {
            Some(pinned) if pinned_against.is_some() && pinned_against == identity => {
                *against = Some(content);
                PinChange::KnownAgainst(Pin { version: pinned.hash, instead_of: Some(content) })
            }
            _ => {
                self.saved.pinned.remove(function);
                PinChange::Ends
            }
        }
    }
}
