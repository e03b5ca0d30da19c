//! Where each value of a configuration came from.

use std::collections::BTreeMap;

use super::error::Origin;

/// The origins of all values that were set; what is not here is a default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origins {
    /// By function (`None`: the manager's section) and key, a setting with its `setting.`.
    places: BTreeMap<(Option<String>, String), Origin>,
}

impl Origins {
    /// Where the value of a key came from; `function` is `None` for the manager's own keys.
    pub fn of(&self, function: Option<&str>, key: &str) -> Origin {
        let place = (function.map(str::to_owned), key.to_owned());
        self.places.get(&place).cloned().unwrap_or_default()
    }

    /// Whether anybody set the key.
    pub fn is_set(&self, function: Option<&str>, key: &str) -> bool {
        self.of(function, key) != Origin::Default
    }

    pub(super) fn set(&mut self, function: Option<&str>, key: &str, origin: Origin) {
        self.places.insert((function.map(str::to_owned), key.to_owned()), origin);
    }
}
