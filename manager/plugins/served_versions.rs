//! A function's versions in the order in which they were served, so that a rollback goes back, never forward. Pure.

use serde::{Deserialize, Serialize};

use super::content_hash::ShortHash;

/// The latest version first. A version that a rollback leaves is removed: the next rollback does not return to it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct ServedVersions(Vec<ShortHash>);

impl ServedVersions {
    /// A version that is served from now on, after those before.
    pub(super) fn serve(&mut self, version: ShortHash) {
        if self.0.first() != Some(&version) {
            self.0.retain(|served| *served != version);
            self.0.insert(0, version);
        }
    }

    /// Rolls back to a version. One that was never served, or that an earlier rollback left, is put first.
    pub(super) fn roll_back_to(&mut self, version: ShortHash) {
        match self.0.iter().position(|served| *served == version) {
            Some(at) => drop(self.0.drain(..at)),
            None => self.0.insert(0, version),
        }
    }

    /// Removes a version that is no longer in the store. Returns whether that changed anything.
    pub(super) fn remove(&mut self, version: ShortHash) -> bool {
        let before = self.0.len();
        self.0.retain(|served| *served != version);
        self.0.len() != before
    }

    /// Whether nothing was served yet.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The versions, the latest first.
    pub(super) fn iter(&self) -> impl Iterator<Item = ShortHash> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deploys_are_remembered_in_their_order_and_rollbacks_take_them_off() {
        // A digit is a version that is deployed; after a < it is one that is rolled back to.
        for (steps, expected) in [
            ("123", "321"),
            ("1233", "321"),
            ("123<2", "21"),
            ("123<2<1", "1"),
            ("123<1", "1"),
            ("123<24", "421"),
            ("1231", "132"),
            ("123<3", "321"),
            ("123<2<3", "321"),
            ("<9", "9"),
        ] {
            let mut served = ServedVersions::default();
            let mut back = false;
            for step in steps.chars() {
                let version = || ShortHash::from_name(&step.to_string().repeat(12)).unwrap();
                match step {
                    '<' => {}
                    _ if back => served.roll_back_to(version()),
                    _ => served.serve(version()),
                }
                back = step == '<';
            }
            let text: String = served.iter().map(|hash| hash.to_string().remove(0)).collect();
            assert_eq!(text, expected, "{steps}");
        }
    }
}
