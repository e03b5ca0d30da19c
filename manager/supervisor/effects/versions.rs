//! Stored versions, and what is remembered of them over a restart.

use std::collections::{BTreeMap, BTreeSet};

use super::Effects;
use crate::control::VersionStatus;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::plugins::siblings::Sibling;
use crate::plugins::store::{Stored, verify};
use crate::supervisor::catalog::{CheckedVersion, Memory};
use crate::supervisor::core::{Action, Core};
use crate::system::errors::reason;

/// The stored libraries that are known, by function and hash.
#[derive(Default)]
pub struct Known {
    stored: BTreeMap<(String, String), Stored>,
    /// What was loaded with them from elsewhere; of those that no probe of this manager's saw nothing is known.
    elsewhere: BTreeMap<(String, String), Vec<String>>,
    /// Versions of functions that are no more, which go as soon as no worker has them.
    condemned: BTreeSet<(String, String)>,
}

impl Known {
    /// Remembers a stored library; what workers load is this version.
    pub fn add(&mut self, stored: Stored, crate_version: String, warning: Option<String>) -> CheckedVersion {
        let (function, hash) = (stored.function.to_string(), stored.hash.short().to_string());
        let version = CheckedVersion { hash: hash.clone(), library: stored.path.clone(), crate_version, warning };
        self.condemned.remove(&(function.clone(), hash.clone()));
        self.stored.insert((function, hash), stored);
        version
    }

    /// Remembers what was loaded with a library from elsewhere.
    pub(super) fn add_elsewhere(&mut self, stored: &Stored, elsewhere: Vec<String>) {
        let key = (stored.function.to_string(), stored.hash.short().to_string());
        self.elsewhere.insert(key, elsewhere);
    }

    /// The libraries that were loaded with a version from elsewhere, where that is known.
    pub(super) fn elsewhere(&self, function: &str, hash: &str) -> Vec<String> {
        self.elsewhere.get(&(function.to_owned(), hash.to_owned())).cloned().unwrap_or_default()
    }

    fn remove(&mut self, key: &(String, String)) {
        self.stored.remove(key);
        self.elsewhere.remove(key);
    }

    /// The libraries that a version brings along.
    pub(super) fn beside(&self, function: &str, hash: &str) -> Vec<Sibling> {
        let siblings = self.get(function, hash).map(|stored| stored.siblings.as_slice()).unwrap_or_default();
        siblings.iter().map(|stored| stored.sibling.clone()).collect()
    }

    fn get(&self, function: &str, hash: &str) -> Option<&Stored> {
        self.stored.get(&(function.to_owned(), hash.to_owned()))
    }
}

impl Effects {
    /// What an earlier manager has left. A stored library that is not what it was is not believed.
    pub fn memory(&mut self) -> Memory {
        let mut memory = Memory::default();
        let functions: Vec<FunctionName> = self.store.last_good.iter().map(|(function, _)| function.clone()).collect();
        for function in functions {
            let Some(stored) = self.store.last_good(&function) else { continue };
            match if self.store.unchanged(&stored) { Ok(stored) } else { verify(&stored) } {
                Ok(stored) => {
                    self.store.verified(stored.clone());
                    let version = self.known.add(stored, String::new(), None);
                    memory.last_good.insert(function.to_string(), version);
                }
                Err(error) => {
                    self.trouble(format!("{function}: its last good version cannot be used: {}", reason(&error)))
                }
            }
        }
        let bad = self.marks.bad().map(|(function, hash, reason)| ((function.clone(), hash.clone()), reason.clone()));
        memory.bad = bad.collect();
        memory.stored = self.store.versions().into_iter().flatten().map(|kept| kept.function.to_string()).collect();
        memory.pinned =
            self.marks.pinned().map(|(function, (_, against))| (function.clone(), against.clone())).collect();
        memory
    }

    /// Remembers what the core says of versions.
    pub(super) fn remember(&mut self, action: Action) {
        let written = match action {
            Action::MarkGood { function, version } => self.mark_good(&function, &version),
            Action::MarkBad { function, hash, reason } => self.marks.set_bad(&function, &hash, &reason),
            Action::Forgive { function } => self.marks.forgive(&function),
            Action::Forget { function } => self.forget(&function),
            Action::Pin { function, pin } => self.marks.pin(&function, pin),
            _ => Ok(()),
        };
        if let Err(error) = written {
            self.trouble(format!(
                "what is known of versions cannot be written: {}; it holds until the manager ends",
                reason(&error)
            ));
        }
    }

    fn mark_good(&mut self, function: &str, version: &CheckedVersion) -> std::io::Result<()> {
        let Some(stored) = self.known.get(function, &version.hash).cloned() else { return Ok(()) };
        self.store.last_good.set(&stored)?;
        let keep: Vec<_> = self.known.stored.values().filter(|stored| self.is_loaded(stored)).collect();
        let keep: Vec<_> = keep.into_iter().map(|stored| (stored.function.clone(), stored.hash.short())).collect();
        let spare = usize::try_from(self.config.keep_versions).unwrap_or(usize::MAX);
        let removed = self.store.collect(&keep, spare).map_err(std::io::Error::other)?;
        for gone in removed {
            self.known.remove(&(gone.function.to_string(), gone.hash.to_string()));
        }
        Ok(())
    }

    /// A function is no more, and so are its libraries, each as soon as no worker has it.
    fn forget(&mut self, function: &str) -> std::io::Result<()> {
        let name = FunctionName::new(function).map_err(std::io::Error::other)?;
        self.supersede_probes(&name);
        self.probes.forget(&name);
        let written = self.store.last_good.forget(&name).and(self.marks.forget(function));
        let kept = self.store.versions().map_err(std::io::Error::other)?;
        let of_it = kept.into_iter().filter(|kept| kept.function == name);
        self.known.condemned.extend(of_it.map(|kept| (function.to_owned(), kept.hash.to_string())));
        self.remove_condemned();
        written
    }

    /// Removes libraries of functions that are no more from the store, but for those that workers have. To be called
    /// where a worker has ended.
    pub(super) fn remove_condemned(&mut self) {
        let condemned = std::mem::take(&mut self.known.condemned);
        for (function, hash) in condemned {
            if self.has_loaded(&function, &hash) {
                self.known.condemned.insert((function, hash));
                continue;
            }
            let of_store = FunctionName::new(&function).ok().zip(ShortHash::from_name(&hash));
            if let Some((name, short)) = of_store
                && let Err(error) = self.store.remove(&name, short)
            {
                self.trouble(format!("{function}: version {hash} stays in the store: {}", reason(&error)));
            }
            self.known.remove(&(function, hash));
        }
    }

    /// Whether a worker was started with it.
    fn is_loaded(&self, stored: &Stored) -> bool {
        self.has_loaded(stored.function.as_str(), &stored.hash.short().to_string())
    }

    fn has_loaded(&self, function: &str, hash: &str) -> bool {
        let has = |served: &(String, String)| served.0 == function && served.1 == hash;
        self.children.values().any(|child| match &child.kind {
            super::children::ChildKind::Worker(worker) => worker.versions.iter().any(has),
            _ => false,
        })
    }

    /// Whether the stored library is still the one that was checked.
    pub(super) fn is_intact(&mut self, function: &str, version: &CheckedVersion) -> bool {
        // Nobody had need of it for a while, and then somebody had.
        let Some(stored) = self.known.get(function, &version.hash) else { return false };
        if self.store.unchanged(stored) {
            return true;
        }
        match verify(stored) {
            Ok(again) => {
                self.store.verified(again.clone());
                self.known.add(again, version.crate_version.clone(), version.warning.clone());
                true
            }
            Err(error) => {
                self.trouble(format!(
                    "{function}: version {} was changed in the store: {}; it is made again from worker_dir",
                    version.hash,
                    reason(&error)
                ));
                false
            }
        }
    }

    /// The stored versions of all functions, the newest of each first.
    pub fn versions(&self, core: &Core) -> Vec<VersionStatus> {
        let kept = self.store.versions().unwrap_or_default();
        let show = |kept: crate::plugins::garbage::VersionOnDisk| {
            let (function, hash) = (kept.function.to_string(), kept.hash.to_string());
            let state = core.version_state(&function, &hash);
            let stored_at = chrono::DateTime::from_timestamp(kept.stored.0, 0);
            VersionStatus {
                stored: stored_at.map_or_else(String::new, |at| at.with_timezone(&chrono::Local).to_rfc3339()),
                size: kept.size,
                state: state.message.into(),
                note: state.note,
                function,
                version: hash,
            }
        };
        kept.into_iter().map(show).collect()
    }

    /// The version that a rollback means: the one named, or the newest that is neither served nor rejected.
    ///
    /// # Errors
    /// One sentence, where there is none.
    pub fn earlier(&mut self, core: &Core, function: &str, hash: Option<&str>) -> Result<CheckedVersion, String> {
        let all: Vec<VersionStatus> =
            self.versions(core).into_iter().filter(|version| version.function == function).collect();
        let found = match hash {
            Some(hash) => all.iter().find(|version| version.version.starts_with(hash) && !hash.is_empty()),
            None => all.iter().find(|version| version.state == "stored"),
        };
        let known = || all.iter().map(|version| version.version.as_str()).collect::<Vec<_>>().join(", ");
        let found = found.ok_or_else(|| match all.is_empty() {
            true => format!("no version of {function} is stored"),
            false => format!("{function} has no such earlier version; stored are: {}", known()),
        })?;
        if let Some(stored) = self.known.get(function, &found.version) {
            let (library, hash) = (stored.path.clone(), found.version.clone());
            return Ok(CheckedVersion { hash, library, crate_version: String::new(), warning: None });
        }
        let name = FunctionName::new(function).map_err(|error| error.to_string())?;
        let hash = ShortHash::from_name(&found.version).ok_or("that is no hash of a version")?;
        let stored = self.store.stored(&name, hash).map_err(|error| error.to_string())?;
        Ok(self.known.add(stored, String::new(), None))
    }
}
