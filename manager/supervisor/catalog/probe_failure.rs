//! Why a file is no version, and when it is looked at again all the same.

use std::time::Duration;

use crate::plugins::rejection::RejectionKind;

/// Before the second look at a file that failed for a passing reason; doubled each time.
const FIRST: Duration = Duration::from_secs(1);
/// The longest wait, by what was in the way.
const LONGEST: [(RejectionKind, Duration); 2] =
    [(RejectionKind::Transient, Duration::from_secs(600)), (RejectionKind::StoreUnavailable, Duration::from_secs(60))];

/// What a probe came to that found no version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ProbeFailure {
    /// One sentence.
    pub reason: String,
    /// Whether the same file may be good at another time.
    pub kind: RejectionKind,
    /// It is a library, and none with a function: others may have need of it.
    pub is_no_plugin: bool,
}

impl<T: Into<String>> From<T> for ProbeFailure {
    fn from(reason: T) -> Self {
        Self { reason: reason.into(), kind: RejectionKind::Permanent, is_no_plugin: false }
    }
}

/// A file that is to be looked at again although it has not changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProbeRetry {
    /// When; `None` while it is.
    at: Option<Duration>,
    wait: Duration,
}

impl ProbeRetry {
    /// After a failure, `before` being the retry that it came of.
    pub(super) fn after(before: Option<ProbeRetry>, kind: RejectionKind, now: Duration) -> Option<Self> {
        let (_, longest) = LONGEST.iter().find(|(what, _)| *what == kind)?;
        let wait = before.map_or(FIRST, |before| before.wait.saturating_mul(2)).min(*longest);
        Some(Self { at: Some(now.saturating_add(wait)), wait })
    }

    /// When it is due, unless it is under way.
    pub(super) fn due(&self) -> Option<Duration> {
        self.at
    }

    /// How long it waits.
    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    /// Whether it is due; it is under way then.
    pub(super) fn begin(&mut self, now: Duration) -> bool {
        self.at.take_if(|at| now >= *at).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_their_longest() {
        let waits = |kind, count| {
            let mut retry = None;
            let mut waits = Vec::new();
            for _ in 0..count {
                retry = ProbeRetry::after(retry, kind, Duration::ZERO);
                waits.push(retry.map(|retry| retry.wait().as_secs()));
            }
            waits
        };
        let expected = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600].map(Some);
        assert_eq!(waits(RejectionKind::Transient, 12), expected);
        assert_eq!(waits(RejectionKind::StoreUnavailable, 8), [1, 2, 4, 8, 16, 32, 60, 60].map(Some));
        assert_eq!(waits(RejectionKind::Permanent, 2), [None, None]);
    }
}
