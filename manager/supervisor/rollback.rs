//! Decides which version a rollback goes to, or why it is refused. Pure.

use std::fmt;

use serde::Serialize;

use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;

/// What `gm-native rollback` asks for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RollbackRequest<'a> {
    /// The function.
    pub function: &'a FunctionName,
    /// First digits of a version's hash; without them, the version that was served before.
    pub hash: Option<&'a str>,
    /// Serve it although it was rejected, or is pinned already.
    pub force: bool,
}

/// A stored version of the function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredForRollback {
    /// Its hash.
    pub hash: ShortHash,
    /// Why it was rejected, if it was.
    pub rejected: Option<String>,
}

/// What is known about the function.
#[derive(Debug, Clone, Default)]
pub(crate) struct RollbackChoice {
    /// What is in the store, the newest first.
    pub stored: Vec<StoredForRollback>,
    /// The versions that were served, the latest first.
    pub served: Vec<ShortHash>,
    /// What is served now.
    pub current: Option<ShortHash>,
    /// Whether that is pinned.
    pub pinned: bool,
    /// The version in the function's file, unless it is already served, refused or cancelled.
    pub pending: Option<PendingFile>,
    /// The version of a rollback that is not complete yet.
    pub under_way: Option<ShortHash>,
}

/// A file in worker_dir that is neither served nor permanently refused: it is being checked, has a canary, or waits for
/// one of these.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct PendingFile {
    /// Where it is.
    pub path: String,
    /// Which version it holds, once that is known.
    pub version: Option<ShortHash>,
}

/// The version to roll back to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RollbackTarget {
    /// Its hash.
    pub hash: ShortHash,
    /// Why it was rejected, if it was.
    pub rejected: Option<String>,
    /// The newer file that the rollback cancels.
    pub called_off: Option<PendingFile>,
    /// A rollback to this version is already under way, and no other is begun: two people who roll back at the same
    /// time mean the same version.
    pub joins: bool,
}

/// Why a rollback is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RollbackRefusal {
    #[error("no version of {function} is stored")]
    NothingStored { function: FunctionName },
    #[error("{function} has no earlier version to go back to: version {hash}, which is in service, is the only one")]
    OnlyOne { function: FunctionName, hash: ShortHash },
    #[error("{function} has no earlier version to go back to; stored are: {stored}; name one to serve it")]
    NothingEarlier { function: FunctionName, stored: StoredVersions },
    #[error("no version of {function} whose hash begins with {hash:?} is stored; stored are: {stored}")]
    NotStored { function: FunctionName, hash: String, stored: StoredVersions },
    #[error("several versions of {function} begin with {hash:?}: {stored}; give more digits")]
    Ambiguous { function: FunctionName, hash: String, stored: StoredVersions },
    #[error("version {hash} of {function} was rejected: {reason}; --force serves it all the same")]
    Rejected { function: FunctionName, hash: ShortHash, reason: String },
    #[error("version {hash} of {function} is pinned already; --force pins it once more")]
    AlreadyPinned { function: FunctionName, hash: ShortHash },
}

/// A list of versions in a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoredVersions(Vec<String>);

impl fmt::Display for StoredVersions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.join(", "))
    }
}

impl RollbackChoice {
    /// Chooses the version to roll back to.
    pub(crate) fn target(&self, request: RollbackRequest<'_>) -> Result<RollbackTarget, RollbackRefusal> {
        let RollbackRequest { function, hash, force } = request;
        let function = function.clone();
        if self.stored.is_empty() {
            return Err(RollbackRefusal::NothingStored { function });
        }
        let found = match hash {
            Some(hash) => self.named(&function, hash)?,
            None => match self.joined().or_else(|| self.earlier()) {
                Some(found) => found,
                None => return Err(self.nothing_earlier(function)),
            },
        };
        let StoredForRollback { hash, rejected } = found.clone();
        // A version that stays in service needs no more force than it needed to get there.
        let stays = self.is_current(hash);
        let joins = self.pending.is_none() && self.under_way == Some(hash);
        match &rejected {
            _ if force || joins || (stays && self.pending.is_some()) => {}
            Some(reason) => return Err(RollbackRefusal::Rejected { function, hash, reason: reason.clone() }),
            None if self.pinned && stays => return Err(RollbackRefusal::AlreadyPinned { function, hash }),
            None => {}
        }
        // A version that is to be served is not called off.
        let called_off = self.pending.clone().filter(|file| file.version != Some(hash));
        Ok(RollbackTarget { hash, rejected, called_off, joins })
    }

    fn nothing_earlier(&self, function: FunctionName) -> RollbackRefusal {
        match self.stored.as_slice() {
            [only] if self.is_current(only.hash) => RollbackRefusal::OnlyOne { function, hash: only.hash },
            _ => RollbackRefusal::NothingEarlier { function, stored: self.list(|_| true) },
        }
    }

    /// The version of that hash, or the only one that begins with it.
    fn named(&self, function: &FunctionName, hash: &str) -> Result<&StoredForRollback, RollbackRefusal> {
        let wanted = hash.to_ascii_lowercase();
        let begins = |version: &StoredForRollback| !wanted.is_empty() && version.hash.to_string().starts_with(&wanted);
        let mut fitting = self.stored.iter().filter(|version| begins(version));
        let (function, hash) = (function.clone(), hash.to_owned());
        match (fitting.next(), fitting.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(RollbackRefusal::Ambiguous { function, hash, stored: self.list(begins) }),
            (None, _) => Err(RollbackRefusal::NotStored { function, hash, stored: self.list(|_| true) }),
        }
    }

    /// The version of a rollback that is under way, unless there is a newer file to call off.
    fn joined(&self) -> Option<&StoredForRollback> {
        let version = self.under_way.filter(|_| self.pending.is_none())?;
        self.stored.iter().find(|stored| stored.hash == version)
    }

    /// The default version: while a newer file is pending, the one still in service, otherwise the one served before
    /// it. Rejected versions are skipped.
    fn earlier(&self) -> Option<&StoredForRollback> {
        let current = self.stored.iter().find(|version| self.is_current(version.hash));
        if let Some(current) = current.filter(|_| self.pending.is_some()) {
            return Some(current);
        }
        let from = match self.served.iter().position(|hash| self.is_current(*hash)) {
            Some(at) => at.saturating_add(1),
            None => 0,
        };
        let mut candidates = self.served.get(from..).unwrap_or_default().iter();
        candidates
            .find_map(|hash| self.stored.iter().find(|version| version.hash == *hash && version.rejected.is_none()))
    }

    fn is_current(&self, hash: ShortHash) -> bool {
        self.current == Some(hash)
    }

    fn list(&self, which: impl Fn(&StoredForRollback) -> bool) -> StoredVersions {
        let described = |version: &StoredForRollback| {
            let note = match version.rejected {
                _ if self.is_current(version.hash) => " (in service)",
                Some(_) => " (rejected)",
                None => "",
            };
            format!("{}{note}", version.hash)
        };
        StoredVersions(self.stored.iter().filter(|version| which(version)).map(described).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hash that begins so.
    fn hash(name: &str) -> ShortHash {
        ShortHash::from_name(&format!("{name:0<12}")).unwrap()
    }

    /// Stored versions: a `!` marks a rejected one.
    fn choice(stored: &str, served: &str, current: &str) -> RollbackChoice {
        let hashes = |text: &str| text.split_whitespace().map(hash).collect::<Vec<_>>();
        let stored = stored.split_whitespace().map(|word| StoredForRollback {
            hash: hash(word.trim_end_matches('!')),
            rejected: word.ends_with('!').then(|| "it crashed".to_owned()),
        });
        RollbackChoice {
            stored: stored.collect(),
            served: hashes(served),
            current: hashes(current).pop(),
            ..RollbackChoice::default()
        }
    }

    fn target(choice: &RollbackChoice, hash: Option<&str>, force: bool) -> Result<String, String> {
        let request = RollbackRequest { function: &"f".into(), hash, force };
        let target = choice.target(request).map_err(|refusal| refusal.to_string().replace("0000000000", ""))?;
        Ok(target.hash.to_string().replace("0000000000", ""))
    }

    #[test]
    fn without_a_hash_it_leads_to_what_was_served_before() {
        for (what, choice, expected) in [
            ("the usual", choice("c3 b2 a1", "c3 b2 a1", "c3"), "b2"),
            ("once more", choice("c3 b2 a1", "b2 a1", "b2"), "a1"),
            ("an old library was copied again", choice("c3 b2 a1", "a1 c3 b2", "a1"), "c3"),
            ("a rejected version is passed over", choice("c3 b2! a1", "c3 b2 a1", "c3"), "a1"),
            ("what is no longer stored is passed over", choice("c3 a1", "c3 b2 a1", "c3"), "a1"),
            ("what is served was never recorded", choice("c3 a1", "a1", "c3"), "a1"),
        ] {
            assert_eq!(target(&choice, None, false).as_deref(), Ok(expected), "{what}");
        }
    }

    #[test]
    fn while_a_newer_file_is_pending_it_is_called_off() {
        let file = |version: Option<&str>| PendingFile { path: "/w/f.so".into(), version: version.map(hash) };
        let unknown = || choice("b2 a1", "b2 a1", "b2");
        let forced = || choice("b2! a1", "b2 a1", "b2");
        for (what, pending, choice, named, expected) in [
            ("it is being checked", None, unknown(), None, "b2"),
            ("a canary tries it", Some("c3"), choice("c3 b2 a1", "b2 a1", "b2"), None, "b2"),
            ("what is served is pinned", None, RollbackChoice { pinned: true, ..unknown() }, None, "b2"),
            ("the same by name", None, RollbackChoice { pinned: true, ..unknown() }, Some("b"), "b2"),
            ("what is served was rejected before", None, forced(), None, "b2"),
            ("another is named", None, unknown(), Some("a"), "a1"),
            ("what is served is not stored", None, choice("a1", "b2 a1", "b2"), None, "a1"),
        ] {
            let choice = RollbackChoice { pending: Some(file(pending)), ..choice };
            let request = RollbackRequest { function: &"f".into(), hash: named, force: false };
            let target = choice.target(request).unwrap();
            assert_eq!((target.hash, target.called_off), (hash(expected), Some(file(pending))), "{what}");
        }
        let itself = RollbackChoice { pending: Some(file(Some("c3"))), ..choice("c3 b2", "b2", "b2") };
        let request = RollbackRequest { function: &"f".into(), hash: Some("c3"), force: false };
        assert_eq!(itself.target(request).unwrap().called_off, None, "the version that is tried is named");
    }

    #[test]
    fn while_a_rollback_is_under_way_another_joins_it() {
        let under_way =
            || RollbackChoice { under_way: Some(hash("b2")), pinned: true, ..choice("c3 b2! a1", "b2 a1", "b2") };
        let file = || Some(PendingFile { path: "/w/f.so".into(), version: None });
        for (what, choice, named, expected) in [
            ("at the same time", under_way(), None, ("b2", true)),
            ("by name", under_way(), Some("b"), ("b2", true)),
            ("to another version", under_way(), Some("a1"), ("a1", false)),
            ("a file came meanwhile", RollbackChoice { pending: file(), ..under_way() }, None, ("b2", false)),
        ] {
            let request = RollbackRequest { function: &"f".into(), hash: named, force: false };
            let target = choice.target(request).unwrap();
            assert_eq!((target.hash, target.joins), (hash(expected.0), expected.1), "{what}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let all = choice("c3 b2! b1", "b1", "b1");
        let pinned = RollbackChoice { pinned: true, ..all.clone() };
        let stored = "c3, b2 (rejected), b1 (in service)";
        let nothing = format!("f has no earlier version to go back to; stored are: {stored}; name one to serve it");
        let unknown = format!("no version of f whose hash begins with \"ff\" is stored; stored are: {stored}");
        let empty = format!("no version of f whose hash begins with \"\" is stored; stored are: {stored}");
        let several = "several versions of f begin with \"b\": b2 (rejected), b1 (in service); give more digits";
        let rejected = "version b2 of f was rejected: it crashed; --force serves it all the same";
        let again = "version b1 of f is pinned already; --force pins it once more";
        for (choice, hash, expected) in [
            (&choice("", "a1", "a1"), None, "no version of f is stored"),
            (&all, None, &nothing),
            (&all, Some("ff"), &unknown),
            (&all, Some(""), &empty),
            (&all, Some("b"), several),
            (&all, Some("b2"), rejected),
            (&pinned, Some("b1"), again),
        ] {
            assert_eq!(target(choice, hash, false).unwrap_err(), *expected);
        }
        for (choice, hash, expected) in
            [(&all, "b2", "b2"), (&pinned, "b1", "b1"), (&all, "C", "c3"), (&all, "b1", "b1")]
        {
            assert_eq!(target(choice, Some(hash), true).as_deref(), Ok(expected));
        }
    }
}
