//! A job that has killed as many workers as it may, as it is kept in `state_dir/quarantine/ID.json`.

use serde::{Deserialize, Serialize};

use super::files::Record;
use super::record_id::RecordId;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// A job in quarantine.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct QuarantinedJob {
    /// Its id, and the name of its files.
    pub id: RecordId,
    /// When it was put there, as RFC 3339.
    pub time: String,
    /// Its function.
    pub function: FunctionName,
    /// Its handle.
    pub handle: String,
    /// Its unique id; empty if its client gave none.
    pub unique: String,
    /// The job server that it came from, as configured.
    pub server: String,
    /// The version of the function that it killed last.
    #[serde(default)]
    pub version: Option<ShortHash>,
    /// Workers that it has killed.
    pub deaths: u32,
    /// How the last one ended, and what else was logged.
    pub cause: String,
    /// The crash report of the last one.
    #[serde(default)]
    pub report: Option<RecordId>,
    /// The size of its workload in bytes, if that is known.
    #[serde(default)]
    pub workload_size: Option<u64>,
    /// Whether the whole workload is beside it.
    #[serde(default)]
    pub workload_kept: bool,
    /// Why it is not.
    #[serde(default)]
    pub workload_note: Option<String>,
    /// SHA-256 of the workload, if it is whole.
    #[serde(default)]
    pub sha256: Option<String>,
    /// Ids under which the same job was kept before, the latest first.
    #[serde(default)]
    pub replaces: Vec<RecordId>,
}

impl Record for QuarantinedJob {
    const FORMAT: u32 = 1;
    const WHAT: &'static str = "job in quarantine";
}

/// Whether a client has given a job a name of its own: "-" has a server make one of the workload.
pub(crate) fn is_named(unique: &str) -> bool {
    !unique.is_empty() && unique != "-"
}

/// How many former ids of a job are known.
const REPLACES: usize = 1000;

impl QuarantinedJob {
    /// This one is kept instead of `other`, whose id goes on to name it.
    pub(crate) fn replace(&mut self, other: &Self) {
        let ids = std::iter::once(other.id).chain(other.replaces.iter().copied());
        self.replaces.extend(ids);
        self.replaces.truncate(REPLACES);
    }

    /// Whether two are the same job, by its client's name for it or by its workload.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let is_named_alike = is_named(&self.unique) && self.unique == other.unique;
        let is_alike = self.sha256.is_some() && self.sha256 == other.sha256;
        self.function == other.function && (is_named_alike || is_alike)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(function: &str, unique: &str, sha256: &str) -> QuarantinedJob {
        let sha256 = (!sha256.is_empty()).then_some(sha256);
        serde_json::from_value(serde_json::json!({
            "id": "20261124-1", "time": "", "function": function, "handle": "H:1", "unique": unique, "server": "a:4730",
            "deaths": 3, "cause": "", "sha256": sha256,
        }))
        .unwrap()
    }

    #[test]
    fn a_job_is_the_same_by_its_unique_id_or_its_workload() {
        for (name, first, second, same) in [
            ("submitted again under its name", job("f", "u", "1"), job("f", "u", "2"), true),
            ("another name", job("f", "u", "1"), job("f", "v", "2"), false),
            ("the same work under another name", job("f", "u", "1"), job("f", "v", "1"), true),
            ("no name, the same work", job("f", "", "1"), job("f", "-", "1"), true),
            ("nothing is known", job("f", "-", ""), job("f", "-", ""), false),
            ("another function", job("f", "u", "1"), job("g", "u", "1"), false),
        ] {
            assert_eq!(first.is_same(&second), same, "{name}");
        }
    }
}
