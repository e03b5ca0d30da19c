//! Where each value of a configuration came from.

use std::collections::BTreeMap;

use super::error::ValueOrigin;

/// The origins of all values that were set; all others are defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// By function (`None` for the manager's section) and key; a setting with its `setting.`.
    places: BTreeMap<(Option<String>, String), ValueOrigin>,
    /// Where each function's section begins.
    sections: BTreeMap<String, ValueOrigin>,
}

impl Origins {
    /// Where the value of a key came from; `function` is `None` for the manager's own keys.
    pub fn of(&self, function: Option<&str>, key: &str) -> ValueOrigin {
        let place = (function.map(str::to_owned), key.to_owned());
        self.places.get(&place).cloned().unwrap_or_default()
    }

    /// Whether the key was set.
    pub fn is_set(&self, function: Option<&str>, key: &str) -> bool {
        self.of(function, key) != ValueOrigin::Default
    }

    /// Where a function's section begins.
    pub fn section(&self, function: &str) -> ValueOrigin {
        self.sections.get(function).cloned().unwrap_or_default()
    }

    pub(super) fn set_section(&mut self, function: &str, origin: ValueOrigin) {
        self.sections.insert(function.to_owned(), origin);
    }

    pub(super) fn set(&mut self, function: Option<&str>, key: &str, origin: ValueOrigin) {
        self.places.insert((function.map(str::to_owned), key.to_owned()), origin);
    }
}
