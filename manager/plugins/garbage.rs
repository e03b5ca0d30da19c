//! Which stored versions to remove. Pure.

use std::collections::BTreeMap;

use super::content_hash::ShortHash;
use super::function_version::FunctionVersion;
use super::name::FunctionName;

/// A version in the store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionOnDisk {
    /// Its function.
    pub function: FunctionName,
    /// Its content.
    pub hash: ShortHash,
    /// When it was stored: seconds since 1970 and nanoseconds.
    pub stored: (i64, i64),
    /// Bytes.
    pub size: u64,
}

impl VersionOnDisk {
    /// Which version this is.
    pub fn version(&self) -> FunctionVersion {
        FunctionVersion { function: self.function.clone(), hash: self.hash }
    }
}

/// The versions to remove: not in `keep`, and not among the first `spare` others of their function. Those come first
/// that a rollback leads to, as ranked by `served` (0 is the latest), then the newest.
pub fn garbage(
    mut versions: Vec<VersionOnDisk>,
    keep: &[FunctionVersion],
    served: impl Fn(&VersionOnDisk) -> Option<usize>,
    spare: usize,
) -> Vec<VersionOnDisk> {
    let rank = |version: &VersionOnDisk| served(version).unwrap_or(usize::MAX);
    versions
        .sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| b.stored.cmp(&a.stored)).then_with(|| a.hash.cmp(&b.hash)));
    let mut spared: BTreeMap<FunctionName, usize> = BTreeMap::new();
    versions.retain(|version| {
        if keep.contains(&version.version()) {
            return false;
        }
        let spared = spared.entry(version.function.clone()).or_default();
        *spared += 1;
        *spared > spare
    });
    versions
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(text: &str) -> VersionOnDisk {
        let (function, rest) = text.split_once(' ').unwrap();
        let (hash, stored) = rest.split_once('@').unwrap();
        let hash = ShortHash::from_name(&hash.repeat(12)).unwrap();
        VersionOnDisk {
            function: FunctionName::new(function).unwrap(),
            hash,
            stored: (stored.parse().unwrap(), 0),
            size: 1,
        }
    }

    #[test]
    fn cases() {
        let all = ["x 1@10", "x 2@20", "x 3@30", "x 4@40", "x 5@50", "y 1@10"];
        let cases: &[(&str, &[&str], usize, &[&str])] = &[
            ("in use and one spare", &["x 5@50"], 1, &["x 3@30", "x 2@20", "x 1@10"]),
            ("rolled back: the newer ones are the spare", &["x 1@10"], 2, &["x 3@30", "x 2@20"]),
            ("canary beside the old", &["x 5@50", "x 4@40"], 0, &["x 3@30", "x 2@20", "x 1@10", "y 1@10"]),
            ("same content, other function", &["y 1@10"], 0, &["x 5@50", "x 4@40", "x 3@30", "x 2@20", "x 1@10"]),
            ("room enough", &[], 5, &[]),
            ("nothing wanted", &[], 0, &["x 5@50", "x 4@40", "x 3@30", "x 2@20", "x 1@10", "y 1@10"]),
        ];
        for (what, keep, spare, expected) in cases {
            let keep: Vec<_> = keep.iter().map(|text| version(text).version()).collect();
            let gone = garbage(all.iter().map(|text| version(text)).collect(), &keep, |_| None, *spare);
            assert_eq!(gone, expected.iter().map(|text| version(text)).collect::<Vec<_>>(), "{what}");
        }
    }

    /// Rejected versions, however new, do not displace what a rollback leads to.
    #[test]
    fn what_was_served_stays_before_what_was_not() {
        let all = ["x 1@10", "x 2@20", "x 3@30", "x 4@40", "x 5@50"].map(version);
        let keep = [all[4].version()];
        let served = |version: &VersionOnDisk| [50, 10, 20].iter().position(|at| *at == version.stored.0);
        for (spare, expected) in
            [(3, vec!["x 3@30"]), (2, vec!["x 4@40", "x 3@30"]), (1, vec!["x 2@20", "x 4@40", "x 3@30"])]
        {
            let gone = garbage(all.to_vec(), &keep, served, spare);
            assert_eq!(gone, expected.into_iter().map(version).collect::<Vec<_>>(), "{spare}");
        }
    }
}
