//! Functions that are pinned to an earlier version, and when that ends.

use std::time::Duration;

use super::{Catalog, CheckedVersion};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::plugins::version_records::Pin;
use crate::supervisor::rollback::PendingFile;

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
    /// Serves an earlier version until the content of the file changes, and calls off what the file holds now. Returns
    /// what is to be remembered of that.
    pub(crate) fn pin(&mut self, function: &FunctionName, version: CheckedVersion, now: Duration) -> Pin {
        let mut pin = Pin { version: version.hash, instead_of: None, file: None };
        self.saved.last_good.insert(function.clone(), version.clone());
        if let Some(entry) = self.entries.get_mut(function) {
            pin.instead_of = entry.known_content();
            pin.file = pin.instead_of.is_none().then_some(entry.candidate.identity);
            entry.next = None;
            // What is wrong with the file stays wrong; a rejected version that is served on request is not refused.
            let is_of_file = pin.instead_of == Some(version.hash);
            entry.refused = entry.refused.take().filter(|_| !is_of_file);
            entry.tries_rejected = false;
            (entry.version, entry.changed) = (Some(version), now);
        }
        self.saved.pinned.insert(function.clone(), pin);
        pin
    }

    /// What the function's file holds that is neither served nor refused for good, unless a pin holds against it.
    pub(crate) fn pending_file(&self, function: &str) -> Option<PendingFile> {
        let entry = self.entries.get(function).filter(|entry| entry.is_pending())?;
        let version = entry.known_content();
        let holds =
            |pin: &Pin| pin.file == Some(entry.candidate.identity) || (version.is_some() && pin.instead_of == version);
        let path = entry.candidate.path.to_string_lossy().into_owned();
        (!self.saved.pinned.get(function).is_some_and(holds)).then_some(PendingFile { path, version })
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
        let identity = self.entries.get(function).map(|entry| entry.candidate.identity);
        let Some(pin) = self.saved.pinned.get_mut(function) else { return PinChange::Stays };
        if pin.instead_of == Some(content) {
            return PinChange::Stays;
        }
        if pin.file.is_some() && pin.file == identity {
            (pin.instead_of, pin.file) = (Some(content), None);
            return PinChange::KnownAgainst(*pin);
        }
        self.saved.pinned.remove(function);
        PinChange::Ends
    }
}
