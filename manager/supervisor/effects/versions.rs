//! Stored versions, and their records that survive a restart.

use crate::plugins::version_records::VersionFacts;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::Effects;
use super::children::ChildKind;
use crate::control::VersionStatus;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::garbage::VersionOnDisk;
use crate::plugins::name::FunctionName;
use crate::plugins::siblings::Sibling;
use crate::plugins::store::verify;
use crate::plugins::stored::StoredVersion;
use crate::supervisor::catalog::{CheckedVersion, SavedVersions};
use crate::supervisor::core::{Action, Core};
use crate::supervisor::rollback::{RollbackRequest, RollbackTarget};
use crate::system::errors::reason;

/// The versions that this manager has seen in the store.
#[derive(Default)]
pub(super) struct StoredVersions {
    versions: BTreeMap<FunctionVersion, VersionRecord>,
    /// Versions of removed functions; each is deleted as soon as no worker has it loaded.
    condemned: BTreeSet<FunctionVersion>,
}

struct VersionRecord {
    stored: StoredVersion,
    facts: VersionFacts,
    /// Other libraries that were loaded with it from outside the store. Empty if no probe of this manager has seen
    /// them.
    elsewhere: Vec<String>,
}

impl StoredVersions {
    /// Records a stored version, and returns what workers load for it.
    pub(super) fn add(
        &mut self,
        stored: StoredVersion,
        facts: VersionFacts,
        warning: Option<String>,
    ) -> CheckedVersion {
        let key = stored.version();
        let (hash, library) = (key.hash, stored.path.clone());
        self.condemned.remove(&key);
        let elsewhere = self.versions.remove(&key).map(|known| known.elsewhere).unwrap_or_default();
        self.versions.insert(key, VersionRecord { stored, facts: facts.clone(), elsewhere });
        CheckedVersion { hash, library, facts, warning }
    }

    /// As [`StoredVersions::add`], with the libraries from outside the store that a probe saw loaded with it.
    pub(super) fn add_probed(
        &mut self,
        stored: StoredVersion,
        elsewhere: Vec<String>,
        facts: VersionFacts,
        warning: Option<String>,
    ) -> CheckedVersion {
        let key = stored.version();
        let version = self.add(stored, facts, warning);
        if let Some(known) = self.versions.get_mut(&key) {
            known.elsewhere = elsewhere;
        }
        version
    }

    /// The libraries that were loaded with a version from outside the store, if known.
    pub(super) fn elsewhere(&self, version: &FunctionVersion) -> Vec<String> {
        self.versions.get(version).map(|known| known.elsewhere.clone()).unwrap_or_default()
    }

    /// Where a version is stored, and the version of its crate.
    pub(super) fn stored(&self, version: &FunctionVersion) -> Option<(&Path, &str)> {
        self.versions.get(version).map(|known| (known.stored.path.as_path(), known.facts.crate_version.as_str()))
    }

    /// When a version was stored.
    pub(super) fn stored_at(&self, version: &FunctionVersion) -> Option<SystemTime> {
        let (seconds, nanoseconds) = self.versions.get(version)?.stored.identity.mtime;
        let since_1970 = Duration::new(u64::try_from(seconds).ok()?, u32::try_from(nanoseconds).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(since_1970)
    }

    /// The sibling libraries of a version.
    pub(super) fn siblings(&self, version: &FunctionVersion) -> Vec<Sibling> {
        let siblings = self.versions.get(version).map(|known| known.stored.siblings.as_slice()).unwrap_or_default();
        siblings.iter().map(|stored| stored.sibling.clone()).collect()
    }
}

impl Effects {
    /// Loads what earlier managers left. A stored library that was changed is not trusted.
    pub(crate) fn memory(&mut self) -> SavedVersions {
        let mut memory = SavedVersions::default();
        let functions: Vec<FunctionName> =
            self.store.records.last_good().map(|(function, _)| function.clone()).collect();
        for function in functions {
            let Some(stored) = self.store.last_good(&function) else { continue };
            match if self.store.unchanged(&stored) { Ok(stored) } else { verify(&stored) } {
                Ok(stored) => {
                    self.store.verified(stored.clone());
                    let facts = self.store.records.facts(&stored.version());
                    let version = self.known.add(stored, facts, None);
                    memory.last_good.insert(function, version);
                }
                Err(error) => {
                    self.report_error(format!("{function}: its last good version cannot be used: {}", reason(&error)))
                }
            }
        }
        let records = &self.store.records;
        let rejected = records.rejected();
        memory.rejected = rejected
            .map(|(function, hash, reason)| (FunctionVersion { function: function.clone(), hash }, reason.to_owned()))
            .collect();
        memory.pinned = records.pinned().map(|(function, pin)| (function.clone(), pin)).collect();
        memory.stored = self.store.versions().into_iter().flatten().map(|kept| kept.function).collect();
        memory
    }

    /// Records what the core decided about versions.
    pub(super) fn remember(&mut self, action: Action) {
        if let Err(error) = self.record(action) {
            self.report_error(format!(
                "what is known of versions cannot be written: {}; it holds until the manager ends",
                reason(&error)
            ));
        }
    }

    fn record(&mut self, action: Action) -> io::Result<()> {
        let records = &mut self.store.records;
        match action {
            Action::SetLastGood { function, version } => {
                self.mark_good(FunctionVersion { function, hash: version.hash })
            }
            Action::Reject { function, hash, reason } => records.reject(&function, hash, &reason),
            Action::ClearRejection { function, hash } => records.clear_rejection(&function, hash),
            Action::Forget { function } => self.forget(&function),
            Action::Pin { function, pin } => records.pin(&function, pin),
            _ => Ok(()),
        }
    }

    fn mark_good(&mut self, version: FunctionVersion) -> io::Result<()> {
        let Some(known) = self.known.versions.get(&version) else { return Ok(()) };
        self.store.records.set_last_good(&known.stored)?;
        let keep: Vec<FunctionVersion> =
            self.known.versions.keys().filter(|version| self.has_loaded(version)).cloned().collect();
        let spare = usize::try_from(self.config.keep_versions).unwrap_or(usize::MAX);
        let removed = self.store.collect(&keep, spare).map_err(io::Error::other)?;
        for gone in removed {
            self.known.versions.remove(&gone.version());
        }
        Ok(())
    }

    /// The function was removed. Each of its libraries is deleted from the store as soon as no worker has it loaded.
    fn forget(&mut self, function: &FunctionName) -> io::Result<()> {
        self.supersede_probes(function);
        self.probes.forget(function);
        let written = self.store.records.forget(function);
        let kept = self.store.versions().map_err(io::Error::other)?;
        let of_it = kept.into_iter().filter(|kept| kept.function == *function);
        self.known.condemned.extend(of_it.map(|kept| kept.version()));
        self.remove_condemned();
        written
    }

    /// Removes the libraries of removed functions from the store, except for those that workers have loaded. Must be
    /// called when a worker has exited.
    pub(super) fn remove_condemned(&mut self) {
        let condemned = std::mem::take(&mut self.known.condemned);
        for version in condemned {
            if self.has_loaded(&version) {
                self.known.condemned.insert(version);
                continue;
            }
            let FunctionVersion { function, hash } = &version;
            if let Err(error) = self.store.remove(function, *hash) {
                self.report_error(format!("{function}: version {hash} stays in the store: {}", reason(&error)));
            }
            self.known.versions.remove(&version);
        }
    }

    /// Whether a worker was started with this version.
    fn has_loaded(&self, version: &FunctionVersion) -> bool {
        self.children.values().any(|child| match &child.kind {
            ChildKind::Worker(worker) => worker.versions.contains(version),
            _ => false,
        })
    }

    /// Whether the stored library is still the one that was checked.
    pub(super) fn is_intact(&mut self, function: &FunctionName, version: &CheckedVersion) -> bool {
        let key = FunctionVersion { function: function.clone(), hash: version.hash };
        // The store may have dropped it while nothing needed it.
        let Some(known) = self.known.versions.get(&key) else { return false };
        if self.store.unchanged(&known.stored) {
            return true;
        }
        match verify(&known.stored) {
            Ok(again) => {
                self.store.verified(again.clone());
                self.known.add(again, version.facts.clone(), version.warning.clone());
                true
            }
            Err(error) => {
                self.report_error(format!(
                    "{function}: version {} was changed in the store: {}; no worker loads it",
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
            let (state, note) = core.version_state(&kept.version());
            let stored_at = chrono::DateTime::from_timestamp(kept.stored.0, 0);
            VersionStatus {
                stored: stored_at.map_or_else(String::new, |at| at.with_timezone(&chrono::Local).to_rfc3339()),
                size: kept.size,
                state,
                note: note.map(str::to_owned),
                crate_version: self.store.records.facts(&kept.version()).crate_version,
                function: kept.function,
                version: kept.hash,
            }
        };
        kept.into_iter().map(show).collect()
    }

    /// The version that a rollback goes to, and what is known about it.
    ///
    /// # Errors
    /// One sentence, if there is none, or if it may not be served.
    pub(crate) fn rollback_target(
        &mut self,
        core: &Core,
        request: RollbackRequest<'_>,
    ) -> Result<(CheckedVersion, RollbackTarget), String> {
        let RollbackRequest { function, .. } = request;
        let kept = self.store.versions().map_err(|error| error.to_string())?;
        let stored = kept.into_iter().filter(|kept| kept.function == *function).map(|kept| kept.hash);
        let served = self.store.records.served(function).collect();
        let choice = core.rollback_choice(function, stored.collect(), served);
        let target = choice.target(request).map_err(|refusal| refusal.to_string())?;
        let hash = target.hash;
        let version = match self.known.versions.get(&FunctionVersion { function: function.clone(), hash }) {
            Some(known) => {
                CheckedVersion { hash, library: known.stored.path.clone(), facts: known.facts.clone(), warning: None }
            }
            None => {
                let stored = self.store.stored(function, hash).map_err(|error| error.to_string())?;
                let facts = self.store.records.facts(&stored.version());
                self.known.add(stored, facts, None)
            }
        };
        match self.is_intact(function, &version) {
            true => Ok((version, target)),
            false => {
                Err(format!("version {hash} of {function} was changed in the store, so it cannot be served any more"))
            }
        }
    }
}
