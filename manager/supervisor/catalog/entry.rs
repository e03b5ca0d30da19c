//! What is known of one function.

use std::time::Duration;

use super::CheckedVersion;
use super::probe_failure::ProbeRetry;
use crate::plugins::content_hash::ShortHash;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::Candidate;
use crate::plugins::siblings::SiblingPlace;
use crate::supervisor::event::Event;

/// One function.
#[derive(Debug, Clone)]
pub(super) struct FunctionEntry {
    pub(super) candidate: Candidate,
    pub(super) probing: bool,
    /// What is served.
    pub(super) version: Option<CheckedVersion>,
    pub(super) changed: Duration,
    /// What is tried by a canary, or waits for one.
    pub(super) next: Option<CheckedVersion>,
    /// What the file holds, if it was good enough to be stored.
    pub(super) content: Option<CheckedVersion>,
    /// Whether the file, and what lies beside it, is still the one that `content` was found in.
    pub(super) content_is_current: bool,
    pub(super) refused: Option<String>,
    /// The event for that, emitted unless another library needs the file.
    pub(super) unreported: Option<Event>,
    /// It may be there only because other libraries need it.
    pub(super) is_dependency: bool,
    /// Where the file has other libraries looked for.
    pub(super) beside: Vec<SiblingPlace>,
    /// It was refused for a reason that may pass.
    pub(super) retry: Option<ProbeRetry>,
    /// `gm-native retry`: what the next probe finds is tried although it was rejected.
    pub(super) tries_rejected: bool,
    /// Its file is missing: when it is gone if it does not come back.
    pub(super) removed_at: Option<Duration>,
}

impl FunctionEntry {
    /// A function of which nothing is known but its file, which is to be probed.
    pub(super) fn new(candidate: Candidate) -> Self {
        Self {
            candidate,
            probing: true,
            version: None,
            changed: Duration::ZERO,
            next: None,
            content: None,
            content_is_current: false,
            refused: None,
            unreported: None,
            is_dependency: false,
            beside: Vec::new(),
            retry: None,
            tries_rejected: false,
            removed_at: None,
        }
    }

    /// The file is another, or something beside it is: it is to be probed.
    pub(super) fn has_changed(&mut self) {
        (self.probing, self.content_is_current) = (true, false);
        self.retry = None;
    }

    /// What the file holds, as far as that is known of it as it is.
    pub(super) fn known_content(&self) -> Option<ShortHash> {
        self.content.as_ref().filter(|_| self.content_is_current).map(|content| content.hash)
    }

    /// Whether the file may hold a version that is neither served nor refused for good: it waits for its probe or is at
    /// it, or it waits for a canary or has one.
    pub(super) fn is_pending(&self) -> bool {
        let serving = self.version.as_ref().map(|version| version.hash);
        let is_looked_at = self.probing || self.retry.is_some();
        self.next.is_some() || (is_looked_at && (serving.is_none() || self.known_content() != serving))
    }

    /// Whether it waits for a probe or a canary, or is at it.
    pub(super) fn is_unsettled(&self) -> bool {
        self.probing || self.retry.is_some() || self.next.is_some()
    }

    /// What to report about a version that was found.
    pub(super) fn announce(
        &self,
        function: &FunctionName,
        version: &CheckedVersion,
        replaces: Option<ShortHash>,
    ) -> Vec<Event> {
        let warning = version.warning.clone();
        let warning = warning.map(|text| Event::LibraryWarning { function: function.clone(), text });
        let found = Event::FunctionFound {
            function: function.clone(),
            version: version.hash,
            crate_version: version.facts.crate_version.clone(),
            path: self.candidate.path.to_string_lossy().into_owned(),
            replaces,
        };
        std::iter::once(found).chain(warning).collect()
    }
}
