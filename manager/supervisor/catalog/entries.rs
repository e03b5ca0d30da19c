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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plugins::identity::FileIdentity;
    use crate::plugins::scan::Candidate;

    fn found(function: &str) -> FunctionEntry {
        let identity = FileIdentity { dev: 1, ino: 1, size: 2, mtime: (0, 0), ctime: (0, 0) };
        let (dir, path) = ("/w".into(), format!("/w/{function}.so").into());
        FunctionEntry::new(Candidate { function: function.into(), dir, path, identity })
    }

    fn settle(entry: &mut FunctionEntry) {
        entry.probing = false;
    }

    /// The unsettled functions, and how many entries the next look visits.
    fn look(entries: &mut Entries) -> (String, usize) {
        let unsettled = entries.unsettled().map(|(function, _)| function.as_str()).collect();
        (unsettled, entries.change_unsettled(|_| Some(())).len())
    }

    /// M22: a message costs no more with a hundred functions.
    #[test]
    fn an_entry_that_has_settled_is_visited_once_more_and_then_left_alone() {
        let mut entries = Entries::default();
        for function in ["a", "b", "c"] {
            entries.add(&function.into(), || found(function));
        }
        assert_eq!(look(&mut entries), ("abc".into(), 3));
        settle(entries.get_mut("a").unwrap());
        settle(entries.get_mut("c").unwrap());
        assert_eq!(look(&mut entries), ("b".into(), 3));
        assert_eq!(look(&mut entries), ("b".into(), 1));
        entries.change_all(|_, entry| settle(entry));
        assert_eq!(look(&mut entries), (String::new(), 3));
        assert_eq!(look(&mut entries), (String::new(), 0));
        entries.get_mut("c").unwrap().has_changed();
        assert_eq!(look(&mut entries), ("c".into(), 1));
        let gone: Vec<_> = entries.extract_if(|function, _| function.as_str() == "c").collect();
        assert_eq!((gone.len(), look(&mut entries)), (1, (String::new(), 0)));
    }
}
