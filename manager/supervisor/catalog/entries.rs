//! The functions by name, and which of them anything is going on with.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;

use super::entry::FunctionEntry;
use crate::plugins::name::FunctionName;

/// What is known of each function. Reading goes through the map; whatever changes an entry goes through the methods here,
/// which keep track of the entries to look at after every input: there may be many functions, and few of them change.
#[derive(Debug, Default)]
pub(super) struct Entries {
    all: BTreeMap<FunctionName, FunctionEntry>,
    /// Every unsettled entry, and perhaps some that have settled since.
    unsettled: BTreeSet<FunctionName>,
}

impl Deref for Entries {
    type Target = BTreeMap<FunctionName, FunctionEntry>;

    fn deref(&self) -> &Self::Target {
        &self.all
    }
}

impl Entries {
    /// A function's entry, to be changed.
    pub(super) fn get_mut(&mut self, function: &str) -> Option<&mut FunctionEntry> {
        let (name, _) = self.all.get_key_value(function)?;
        self.unsettled.insert(name.clone());
        self.all.get_mut(function)
    }

    /// Adds a function, unless it is there.
    pub(super) fn add(&mut self, function: &FunctionName, entry: impl FnOnce() -> FunctionEntry) {
        if let Entry::Vacant(place) = self.all.entry(function.clone()) {
            place.insert(entry());
            self.unsettled.insert(function.clone());
        }
    }

    /// Changes every entry.
    pub(super) fn change_all(&mut self, mut change: impl FnMut(&FunctionName, &mut FunctionEntry)) {
        self.all.iter_mut().for_each(|(function, entry)| change(function, entry));
        self.unsettled.extend(self.all.keys().cloned());
    }

    /// Removes entries.
    pub(super) fn extract_if(
        &mut self,
        is_removed: impl FnMut(&FunctionName, &mut FunctionEntry) -> bool,
    ) -> impl Iterator<Item = (FunctionName, FunctionEntry)> {
        self.all.extract_if(.., is_removed)
    }

    /// Entries that wait for a probe or a canary, or are at it.
    pub(super) fn unsettled(&self) -> impl Iterator<Item = (&FunctionName, &FunctionEntry)> {
        let entries = self.unsettled.iter().filter_map(|function| self.all.get_key_value(function));
        entries.filter(|(_, entry)| entry.is_unsettled())
    }

    /// Changes those, and collects what comes of it.
    pub(super) fn change_unsettled<T>(&mut self, mut change: impl FnMut(&mut FunctionEntry) -> Option<T>) -> Vec<T> {
        let (all, mut results) = (&mut self.all, Vec::new());
        self.unsettled.retain(|function| {
            let Some(entry) = all.get_mut(function) else { return false };
            results.extend(change(entry));
            entry.is_unsettled()
        });
        results
    }
}
