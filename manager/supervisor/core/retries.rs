//! `gm-native retry`: the function's file gets another chance, and the caller waits for the outcome.

use std::collections::BTreeMap;
use std::time::Duration;

use super::rollbacks::Progress;
use super::{Action, Core, ManagerPhase, RequestOrigin};
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{Event, ServedVersion, seconds};

/// Retries whose outcome is not known yet, by function.
#[derive(Debug, Default)]
pub(super) struct Retries(BTreeMap<FunctionName, PendingRetry>);

#[derive(Debug)]
struct PendingRetry {
    since: Duration,
    asked: RequestOrigin,
}

impl Core {
    /// The number of the retry of a function whose outcome is not known yet.
    pub(crate) fn retry_under_way(&self, function: &str) -> Option<u64> {
        self.commands.retries.0.get(function).map(|retry| retry.asked.request)
    }

    /// Gives the function's file another chance, whether it was refused or its version rejected.
    pub(super) fn retry(&mut self, function: FunctionName, asked: RequestOrigin, now: Duration) {
        self.end_rollback(&function, "a retry took its place".into());
        self.failures.forget(&function);
        self.rejoin(&function);
        self.push_action(Action::Pin { function: function.clone(), pin: None });
        if let Some(candidate) = self.catalog.retry(&function) {
            self.push_action(Action::Probe(candidate));
        }
        let since = self.commands.retries.0.remove(&function).map_or(now, |before| before.since);
        self.commands.retries.0.insert(function, PendingRetry { since, asked });
    }

    /// Another request supersedes a retry that is under way.
    pub(super) fn end_retry(&mut self, function: &FunctionName, reason: String) {
        if let Some(retry) = self.commands.retries.0.remove(function) {
            self.report(Event::RetryFailed { function: function.clone(), request: retry.asked.request, reason });
        }
    }

    /// Reports retries whose outcome is known.
    pub(super) fn finish_retries(&mut self, now: Duration) {
        let pending = std::mem::take(&mut self.commands.retries.0);
        for (function, retry) in pending {
            let request = retry.asked.request;
            match self.retry_progress(&function, now) {
                Progress::Pending => drop(self.commands.retries.0.insert(function, retry)),
                Progress::Done { version, workers, draining } => {
                    let seconds = seconds(now.saturating_sub(retry.since));
                    let rejected = self.why_rejected(&function, version);
                    let served = ServedVersion { function, request, version, workers, draining, seconds, rejected };
                    self.report(Event::RetryFinished(served));
                }
                Progress::Failed(reason) => self.report(Event::RetryFailed { function, request, reason }),
            }
        }
    }

    /// First the file is checked, then a canary may try it, then every planned worker gets it.
    fn retry_progress(&self, function: &FunctionName, now: Duration) -> Progress {
        if self.phase == ManagerPhase::Starting {
            return Progress::Pending;
        }
        if let Some(reason) = self.why_never_served(function) {
            return Progress::Failed(reason);
        }
        if self.catalog.is_probing(function) {
            return Progress::Pending;
        }
        match self.catalog.refusal(function) {
            Some(reason) => Progress::Failed(format!("its file {reason}")),
            None if self.catalog.next(function).is_some() => Progress::Pending,
            None => self.version_progress(function, now),
        }
    }
}
