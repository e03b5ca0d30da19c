//! Stored versions, and what is remembered of them over a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::io;

use super::Effects;
use super::children::ChildKind;
use crate::control::VersionStatus;
use crate::plugins::content_hash::{BadHash, ShortHash};
use crate::plugins::garbage::VersionOnDisk;
use crate::plugins::name::FunctionName;
use crate::plugins::siblings::Sibling;
use crate::plugins::store::verify;
use crate::plugins::stored::StoredVersion;
use crate::plugins::version_records::Pin;
use crate::supervisor::catalog::{CheckedVersion, Memory};
use crate::supervisor::core::{Action, Core};
use crate::system::errors::reason;

/// The versions that this manager has seen in the store.
#[derive(Default)]
pub(super) struct KnownVersions {
    versions: BTreeMap<(FunctionName, ShortHash), KnownVersion>,
    /// Versions of functions that were removed; each goes as soon as no worker has it loaded.
    condemned: BTreeSet<(FunctionName, ShortHash)>,
}

struct KnownVersion {
    stored: StoredVersion,
    /// The libraries that were loaded with it from elsewhere. Empty where no probe of this manager's saw them.
    elsewhere: Vec<String>,
}

impl KnownVersions {
    /// Remembers a stored version, and returns what workers load for it.
    pub(super) fn add(
        &mut self,
        stored: StoredVersion,
        crate_version: String,
        warning: Option<String>,
    ) -> CheckedVersion {
        let key = (stored.function.clone(), stored.hash.short());
        let version = CheckedVersion { hash: key.1.to_string(), library: stored.path.clone(), crate_version, warning };
        self.condemned.remove(&key);
        let elsewhere = self.versions.remove(&key).map(|known| known.elsewhere).unwrap_or_default();
        self.versions.insert(key, KnownVersion { stored, elsewhere });
        version
    }

    /// As [`KnownVersions::add`], with the libraries that a probe saw loaded with it from elsewhere.
    pub(super) fn add_probed(
        &mut self,
        stored: StoredVersion,
        elsewhere: Vec<String>,
        crate_version: String,
        warning: Option<String>,
    ) -> CheckedVersion {
        let key = (stored.function.clone(), stored.hash.short());
        let version = self.add(stored, crate_version, warning);
        if let Some(known) = self.versions.get_mut(&key) {
            known.elsewhere = elsewhere;
        }
        version
    }

    /// The libraries that were loaded with a version from elsewhere, as far as that is known.
    pub(super) fn elsewhere(&self, function: &str, hash: &str) -> Vec<String> {
        self.get(function, hash).map(|known| known.elsewhere.clone()).unwrap_or_default()
    }

    /// The libraries that a version brings along.
    pub(super) fn siblings(&self, function: &str, hash: &str) -> Vec<Sibling> {
        let siblings = self.get(function, hash).map(|known| known.stored.siblings.as_slice()).unwrap_or_default();
        siblings.iter().map(|stored| stored.sibling.clone()).collect()
    }

    fn get(&self, function: &str, hash: &str) -> Option<&KnownVersion> {
        self.versions.get(&(FunctionName::new(function).ok()?, ShortHash::from_name(hash)?))
    }
}

impl Effects {
    /// What earlier managers left. A stored library that was changed is not trusted.
    pub(crate) fn memory(&mut self) -> Memory {
        let mut memory = Memory::default();
        let functions: Vec<FunctionName> =
            self.store.records.last_good().map(|(function, _)| function.clone()).collect();
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
        let records = &self.store.records;
        let rejected = records.rejected();
        memory.bad = rejected
            .map(|(function, hash, reason)| ((function.to_string(), hash.to_string()), reason.to_owned()))
            .collect();
        memory.pinned = records
            .pinned()
            .map(|(function, pin)| (function.to_string(), pin.instead_of.map(String::from).unwrap_or_default()))
            .collect();
        memory.stored = self.store.versions().into_iter().flatten().map(|kept| kept.function.to_string()).collect();
        memory
    }

    /// Records what the core decided about versions.
    pub(super) fn remember(&mut self, action: Action) {
        if let Err(error) = self.record(action) {
            self.trouble(format!(
                "what is known of versions cannot be written: {}; it holds until the manager ends",
                reason(&error)
            ));
        }
    }

    fn record(&mut self, action: Action) -> io::Result<()> {
        let name = |function: &str| FunctionName::new(function).map_err(io::Error::other);
        let short = |hash: &str| ShortHash::from_name(hash).ok_or_else(|| io::Error::other(BadHash));
        let records = &mut self.store.records;
        match action {
            Action::MarkGood { function, version } => self.mark_good(&function, &version),
            Action::MarkBad { function, hash, reason } => records.reject(&name(&function)?, short(&hash)?, &reason),
            Action::Forgive { function } => records.forgive(&name(&function)?),
            Action::Forget { function } => self.forget(&name(&function)?),
            Action::Pin { function, pin: None } => records.pin(&name(&function)?, None),
            Action::Pin { function, pin: Some((version, instead_of)) } => {
                let pin = Pin { version: short(&version)?, instead_of: ShortHash::from_name(&instead_of) };
                records.pin(&name(&function)?, Some(pin))
            }
            _ => Ok(()),
        }
    }

    fn mark_good(&mut self, function: &str, version: &CheckedVersion) -> io::Result<()> {
        let Some(known) = self.known.get(function, &version.hash) else { return Ok(()) };
        self.store.records.set_last_good(&known.stored)?;
        let keep: Vec<_> =
            self.known.versions.keys().filter(|(function, hash)| self.has_loaded(function, *hash)).cloned().collect();
        let spare = usize::try_from(self.config.keep_versions).unwrap_or(usize::MAX);
        let removed = self.store.collect(&keep, spare).map_err(io::Error::other)?;
        for gone in removed {
            self.known.versions.remove(&(gone.function, gone.hash));
        }
        Ok(())
    }

    /// The function was removed. So is each of its libraries, as soon as no worker has it loaded.
    fn forget(&mut self, function: &FunctionName) -> io::Result<()> {
        self.supersede_probes(function);
        self.probes.forget(function);
        let written = self.store.records.forget(function);
        let kept = self.store.versions().map_err(io::Error::other)?;
        let of_it = kept.into_iter().filter(|kept| kept.function == *function);
        self.known.condemned.extend(of_it.map(|kept| (kept.function, kept.hash)));
        self.remove_condemned();
        written
    }

    /// Removes the libraries of removed functions from the store, except for those that workers have loaded. To be
    /// called when a worker has ended.
    pub(super) fn remove_condemned(&mut self) {
        let condemned = std::mem::take(&mut self.known.condemned);
        for (function, hash) in condemned {
            if self.has_loaded(&function, hash) {
                self.known.condemned.insert((function, hash));
                continue;
            }
            if let Err(error) = self.store.remove(&function, hash) {
                self.trouble(format!("{function}: version {hash} stays in the store: {}", reason(&error)));
            }
            self.known.versions.remove(&(function, hash));
        }
    }

    /// Whether a worker was started with this version.
    fn has_loaded(&self, function: &FunctionName, hash: ShortHash) -> bool {
        let hash = hash.to_string();
        let is_it = |served: &(String, String)| served.0 == function.as_str() && served.1 == hash;
        self.children.values().any(|child| match &child.kind {
            ChildKind::Worker(worker) => worker.versions.iter().any(is_it),
            _ => false,
        })
    }

    /// Whether the stored library is still the one that was checked.
    pub(super) fn is_intact(&mut self, function: &str, version: &CheckedVersion) -> bool {
        // The store may have dropped it while nothing needed it.
        let Some(known) = self.known.get(function, &version.hash) else { return false };
        if self.store.unchanged(&known.stored) {
            return true;
        }
        match verify(&known.stored) {
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
    pub(crate) fn versions(&self, core: &Core) -> Vec<VersionStatus> {
        let kept = self.store.versions().unwrap_or_default();
        let show = |kept: VersionOnDisk| {
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
    pub(crate) fn earlier(
        &mut self,
        core: &Core,
        function: &str,
        hash: Option<&str>,
    ) -> Result<CheckedVersion, String> {
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
        if let Some(known) = self.known.get(function, &found.version) {
            let (library, hash) = (known.stored.path.clone(), found.version.clone());
            return Ok(CheckedVersion { hash, library, crate_version: String::new(), warning: None });
        }
        let name = FunctionName::new(function).map_err(|error| error.to_string())?;
        let hash = ShortHash::from_name(&found.version).ok_or("that is no hash of a version")?;
        let stored = self.store.stored(&name, hash).map_err(|error| error.to_string())?;
        Ok(self.known.add(stored, String::new(), None))
    }
}
