//! What the manager records about each function's versions across restarts: the last good one, a pin, the rejected
//! ones, and the order in which they were served. One file, `STATE_DIR/versions.json`.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::content_hash::{ContentHash, ShortHash};
use super::function_version::FunctionVersion;
use super::garbage::VersionOnDisk;
use super::identity::FileIdentity;
use super::name::FunctionName;
use super::served_versions::ServedVersions;
use super::state_file::{self, StateRead};
use super::stored::{StoredSibling, StoredVersion};

const FORMAT: u32 = 2;

/// The records of one manager. A change is on disk when its method returns, so it blocks as long as an fsync. If the
/// write fails, the old file stays, and memory has the change.
#[derive(Debug)]
pub struct VersionRecords {
    file: PathBuf,
    functions: BTreeMap<FunctionName, FunctionRecord>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct FunctionRecord {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_good: Option<LastGood>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pinned: Option<Pin>,
    /// Each with its reason.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    rejected: BTreeMap<ShortHash, String>,
    #[serde(default, skip_serializing_if = "ServedVersions::is_empty")]
    served: ServedVersions,
    /// The crate version of each version in the store. Files of earlier builds lack it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    crate_versions: BTreeMap<ShortHash, String>,
    /// The versions that bring Go's runtime along. Files of earlier builds lack it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    with_go: BTreeSet<ShortHash>,
}

/// What a probe found out about a version that is still needed after a restart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionFacts {
    /// The version of its crate. Empty where that is not known.
    pub crate_version: String,
    /// It brings Go's runtime along, so no other library may be loaded beside it.
    pub has_go: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct LastGood {
    hash: ContentHash,
    /// The stored file when it was last hashed; as long as it is unchanged, a start need not hash it again.
    identity: FileIdentity,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    siblings: Vec<StoredSibling>,
}

/// An earlier version that is served on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    /// The version served.
    pub version: ShortHash,
    /// What the file in `worker_dir` contained at the time; the pin ends when that changes. `None` if it was not known.
    pub instead_of: Option<ShortHash>,
    /// If the content was not known: the file as it was then. The pin holds whatever its content turns out to be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileIdentity>,
}

impl VersionRecords {
    /// Reads the records in a state directory. The text is a warning: the file could not be used.
    pub fn open(state_dir: &Path) -> (Self, Option<String>) {
        let file = state_dir.join("versions.json");
        let StateRead { content, warning } = state_file::read(&file, FORMAT);
        (Self { file, functions: content }, warning)
    }

    /// Each function's last good version.
    pub fn last_good(&self) -> impl Iterator<Item = (&FunctionName, ContentHash)> {
        self.functions.iter().filter_map(|(function, record)| Some((function, record.last_good.as_ref()?.hash)))
    }

    /// A function's last good version, with the recorded identity and siblings of the stored file.
    pub(super) fn last_good_of(
        &self,
        function: &FunctionName,
    ) -> Option<(ContentHash, FileIdentity, &[StoredSibling])> {
        let good = self.functions.get(function)?.last_good.as_ref()?;
        Some((good.hash, good.identity, &good.siblings))
    }

    /// The versions that were rejected, each with the reason.
    pub fn rejected(&self) -> impl Iterator<Item = (&FunctionName, ShortHash, &str)> {
        let of_function = |(function, record)| {
            let record: &FunctionRecord = record;
            record.rejected.iter().map(move |(hash, reason)| (function, *hash, reason.as_str()))
        };
        self.functions.iter().flat_map(of_function)
    }

    /// The functions that are pinned to an earlier version.
    pub fn pinned(&self) -> impl Iterator<Item = (&FunctionName, Pin)> {
        self.functions.iter().filter_map(|(function, record)| Some((function, record.pinned?)))
    }

    /// Records a function's last good version.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn set_last_good(&mut self, version: &StoredVersion) -> io::Result<()> {
        let StoredVersion { function, hash, identity, siblings, path: _ } = version;
        let good = LastGood { hash: *hash, identity: *identity, siblings: siblings.clone() };
        self.change(function, |record| {
            record.served.serve(good.hash.short());
            record.last_good = Some(good);
        })
    }

    /// Records that a version was rejected.
    ///
    /// # Errors
    /// As [`VersionRecords::set_last_good`].
    pub fn reject(&mut self, function: &FunctionName, hash: ShortHash, reason: &str) -> io::Result<()> {
        self.change(function, |record| drop(record.rejected.insert(hash, reason.to_owned())))
    }

    /// Clears the mark of a rejected version.
    ///
    /// # Errors
    /// As [`VersionRecords::set_last_good`].
    pub fn clear_rejection(&mut self, function: &FunctionName, hash: ShortHash) -> io::Result<()> {
        self.change(function, |record| drop(record.rejected.remove(&hash)))
    }

    /// The versions of a function in the order in which they were served, the latest first.
    pub fn served(&self, function: &FunctionName) -> impl Iterator<Item = ShortHash> {
        self.functions.get(function).into_iter().flat_map(|record| record.served.iter())
    }

    /// What is known of a stored version.
    pub fn facts(&self, version: &FunctionVersion) -> VersionFacts {
        let Some(record) = self.functions.get(&version.function) else { return VersionFacts::default() };
        VersionFacts {
            crate_version: record.crate_versions.get(&version.hash).cloned().unwrap_or_default(),
            has_go: record.with_go.contains(&version.hash),
        }
    }

    /// Notes what was found out about a stored version. It is on disk with the next change: a manager that starts before
    /// that finds the version in worker_dir, and checks it again.
    pub fn note_facts(&mut self, version: &FunctionVersion, facts: &VersionFacts) {
        let record = self.functions.entry(version.function.clone()).or_default();
        record.crate_versions.insert(version.hash, facts.crate_version.clone());
        if facts.has_go {
            record.with_go.insert(version.hash);
        }
    }

    /// Versions were removed from the store: no rollback leads to them.
    ///
    /// # Errors
    /// As [`VersionRecords::set_last_good`].
    pub(super) fn not_stored(&mut self, removed: &[VersionOnDisk]) -> io::Result<()> {
        let take_out = |gone: &VersionOnDisk| {
            self.functions.get_mut(&gone.function).is_some_and(|record| {
                let was_known = record.crate_versions.remove(&gone.hash).is_some();
                record.with_go.remove(&gone.hash);
                record.served.remove(gone.hash) || was_known
            })
        };
        let changed = removed.iter().map(take_out).fold(false, |any, changed| any | changed);
        if changed { self.write() } else { Ok(()) }
    }

    /// Pins a function to a version, or ends its pin.
    ///
    /// # Errors
    /// As [`VersionRecords::set_last_good`].
    pub fn pin(&mut self, function: &FunctionName, pin: Option<Pin>) -> io::Result<()> {
        self.change(function, |record| {
            record.pinned = pin;
            if let Some(pin) = pin {
                record.served.roll_back_to(pin.version);
            }
        })
    }

    /// Removes a function's record.
    ///
    /// # Errors
    /// As [`VersionRecords::set_last_good`].
    pub fn forget(&mut self, function: &FunctionName) -> io::Result<()> {
        self.change(function, |record| *record = FunctionRecord::default())
    }

    /// Writes all records to a state directory that was created again.
    ///
    /// # Errors
    /// As [`VersionRecords::set_last_good`].
    pub fn save(&self) -> io::Result<()> {
        if self.functions.is_empty() { Ok(()) } else { self.write() }
    }

    fn change(&mut self, function: &FunctionName, change: impl FnOnce(&mut FunctionRecord)) -> io::Result<()> {
        let before = self.functions.remove(function).unwrap_or_default();
        let mut record = before.clone();
        change(&mut record);
        let is_changed = record != before;
        if record != FunctionRecord::default() {
            self.functions.insert(function.clone(), record);
        }
        if is_changed { self.write() } else { Ok(()) }
    }

    fn write(&self) -> io::Result<()> {
        state_file::write(&self.file, FORMAT, &self.functions)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_survive_a_restart_and_a_damaged_file_does_not_stop_one() {
        let dir = tempfile::tempdir().unwrap();
        let (mut records, warning) = VersionRecords::open(dir.path());
        assert_eq!(warning, None);
        let [a, b, c, d] = ["a", "b", "c", "d"].map(|name| FunctionName::new(name).unwrap());
        let hash = |digit: &str| ShortHash::from_name(&digit.repeat(12)).unwrap();
        let pin =
            |version, instead_of| Some(Pin { version: hash(version), instead_of: Some(hash(instead_of)), file: None });
        records.reject(&a, hash("1"), "killed by SIGSEGV").unwrap();
        records.reject(&a, hash("1"), "again").unwrap();
        records.reject(&b, hash("2"), "x").unwrap();
        records.pin(&c, pin("3", "4")).unwrap();
        records.clear_rejection(&b, hash("2")).unwrap();
        records.reject(&d, hash("5"), "x").unwrap();
        records.pin(&d, pin("6", "5")).unwrap();
        records.forget(&d).unwrap();
        let (records, _) = VersionRecords::open(dir.path());
        assert_eq!(records.rejected().collect::<Vec<_>>(), [(&a, hash("1"), "again")]);
        assert_eq!(records.pinned().collect::<Vec<_>>(), [(&c, pin("3", "4").unwrap())]);
        assert_eq!(records.served(&c).collect::<Vec<_>>(), [hash("3")]);
        assert_eq!(records.functions.len(), 2);
        std::fs::write(dir.path().join("versions.json"), b"\xff rubbish").unwrap();
        let (records, warning) = VersionRecords::open(dir.path());
        assert_eq!(records.rejected().count(), 0);
        assert!(warning.is_some());
    }

    #[test]
    fn facts_are_written_with_the_next_change_and_leave_with_their_version() {
        let dir = tempfile::tempdir().unwrap();
        let (mut records, _) = VersionRecords::open(dir.path());
        let a = FunctionName::new("a").unwrap();
        let [one, two] = ["1", "2"].map(|digit| ShortHash::from_name(&digit.repeat(12)).unwrap());
        let of = |hash| FunctionVersion { function: a.clone(), hash };
        let facts = |crate_version: &str, has_go| VersionFacts { crate_version: crate_version.into(), has_go };
        for (hash, facts) in [(one, facts("1.0.0", true)), (two, facts("2.0.0", true))] {
            records.note_facts(&of(hash), &facts);
        }
        records.reject(&a, two, "x").unwrap();
        let (mut records, _) = VersionRecords::open(dir.path());
        assert_eq!([one, two].map(|hash| records.facts(&of(hash))), [facts("1.0.0", true), facts("2.0.0", true)]);
        let gone = VersionOnDisk { function: a.clone(), hash: one, stored: (0, 0), size: 1 };
        records.not_stored(&[gone]).unwrap();
        let (records, _) = VersionRecords::open(dir.path());
        assert_eq!([one, two].map(|hash| records.facts(&of(hash))), [facts("", false), facts("2.0.0", true)]);
    }

    /// Written by a build before these facts.
    #[test]
    fn a_file_without_facts_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let text =
            r#"{"format": 2, "content": {"a": {"rejected": {"111111111111": "x"}, "served": ["222222222222"]}}}"#;
        std::fs::write(dir.path().join("versions.json"), text).unwrap();
        let (records, warning) = VersionRecords::open(dir.path());
        assert_eq!((records.rejected().count(), warning), (1, None));
        assert_eq!(records.facts(&("a", "222222222222").into()), VersionFacts::default());
    }

    #[test]
    fn a_state_directory_of_an_earlier_format_starts_with_nothing_but_a_warning() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(
            dir.path().join("versions.json"),
            r#"{"format": 1, "content": {"bad": [["a", "h1", "x"]], "pinned": {}}}"#,
        )
        .unwrap();
        let (records, warning) = VersionRecords::open(dir.path());
        assert!(records.functions.is_empty());
        assert!(warning.unwrap().contains("is of format 1, and this version writes format 2"));
    }
}
