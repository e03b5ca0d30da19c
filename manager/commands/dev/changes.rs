//! What changed in a crate since its last build began, and whether to build it again. Pure.
//!
//! A build changes sources, too: cargo writes Cargo.lock, and a build script may generate files in the crate's folder.
//! Such a change must not cause another build, or builds would never end.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::time::Instant;

use crate::system::clock;

/// How long a source must be unchanged before it is built: an editor writes more than once.
pub(super) const SETTLE: Duration = Duration::from_millis(100);

/// The changes of one crate. `C` stands for a file's content; `None` means that the file does not exist.
#[derive(Debug)]
pub(super) struct SourceChanges<C> {
    due: Option<Instant>,
    /// Something changed while nothing was being built.
    by_hand: bool,
    /// What changed during a build, because of it or by hand.
    during_build: BTreeSet<PathBuf>,
    /// The content of those files when the build was over.
    known: BTreeMap<PathBuf, Option<C>>,
}

impl<C: PartialEq> SourceChanges<C> {
    /// A crate that was never built.
    pub(super) fn never_built() -> Self {
        Self { due: Some(Instant::now()), by_hand: true, during_build: BTreeSet::new(), known: BTreeMap::new() }
    }

    /// Files have changed; an empty list means that it is unknown which.
    pub(super) fn note(&mut self, files: Vec<PathBuf>, building: bool) {
        self.by_hand |= !building || files.is_empty();
        self.during_build.extend(files.into_iter().filter(|_| building));
        self.due = Some(clock::after(SETTLE).into());
    }

    /// When to build them.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether to build the crate now. Ask once the changes are due, and while nothing is being built.
    pub(super) fn take(&mut self, content: impl Fn(&Path) -> Option<C>) -> bool {
        self.due = None;
        let mut build = std::mem::take(&mut self.by_hand);
        for file in std::mem::take(&mut self.during_build) {
            let now = content(&file);
            let by_cargo = file.file_name().is_some_and(|name| name == "Cargo.lock");
            build |= match self.known.get(&file) {
                Some(before) => *before != now,
                None => !by_cargo,
            };
            self.known.insert(file, now);
        }
        build
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_build_writes_is_no_reason_for_another_one() {
        let mut changes = SourceChanges::never_built();
        let nothing = |_: &Path| -> Option<u8> { None };
        assert!(changes.due().is_some() && changes.take(nothing), "the first build");
        let one = |_: &Path| Some(1);
        for (what, files, building, content, expected) in [
            ("cargo writes its lock file", vec!["Cargo.lock"], true, Some(1), false),
            ("somebody else does", vec!["Cargo.lock"], true, Some(2), true),
            ("a source is saved", vec!["src/lib.rs"], false, Some(1), true),
            ("one is saved during a build", vec!["src/lib.rs"], true, Some(2), true),
            ("and again", vec!["src/lib.rs"], true, Some(3), true),
            ("a build script generates a source", vec!["src/made.rs"], true, Some(1), true),
            ("and the same again", vec!["src/made.rs"], true, Some(1), false),
            ("and something else", vec!["src/made.rs"], true, None, true),
            ("events were lost", vec![], true, None, true),
        ] {
            changes.note(files.into_iter().map(PathBuf::from).collect(), building);
            assert!(changes.due().is_some());
            assert_eq!(changes.take(|_| content), expected, "{what}");
            assert!(changes.due().is_none() && !changes.take(one), "{what}: once");
        }
    }
}
