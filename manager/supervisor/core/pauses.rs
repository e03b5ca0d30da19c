//! `pause`, `resume` and `drain`: a paused function is not planned. Its dedicated workers drain. All-functions workers go
//! on with the others: they are told to offer no more than those.

use std::collections::BTreeSet;
use std::time::Duration;

use super::requests::{Goal, NamedRequest};
use super::{Action, Core, GroupKey, WorkerRecord};
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{Event, PausedFunction};
use crate::supervisor::pause_records::{Pause, Pauses};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;

/// How often paused functions are logged.
const REMINDER: Duration = Duration::from_secs(3600);

/// The paused functions.
#[derive(Debug, Default)]
pub(super) struct PausedFunctions {
    all: Pauses,
    /// When they were last logged.
    logged_at: Option<Duration>,
    /// The number of the last command to offer other functions.
    last_offer: u64,
}

/// Which functions a worker was told not to offer.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Offer {
    left_out: BTreeSet<FunctionName>,
    /// The command that it has not carried out yet.
    pending: Option<u64>,
}

impl Core {
    /// What an earlier manager has paused.
    pub(crate) fn restore_pauses(&mut self, pauses: Pauses) {
        self.pauses.all = pauses;
    }

    /// Who has paused the function, and when, if it is paused.
    pub(crate) fn pause_of(&self, function: &str) -> Option<&Pause> {
        self.pauses.all.get(function)
    }

    /// The functions that workers are planned for.
    pub(super) fn unpaused_functions(&self) -> Vec<FunctionName> {
        self.catalog.functions().into_iter().filter(|name| self.pause_of(name).is_none()).collect()
    }

    /// Whether the function can be paused.
    ///
    /// # Errors
    /// One sentence: why not.
    pub(crate) fn may_pause(&self, function: &str) -> Result<FunctionName, String> {
        self.may_request()?;
        match self.pauses.all.get_key_value(function) {
            // To wait until it is so.
            Some((name, _)) => Ok(name.clone()),
            None => self.may_retry(function),
        }
    }

    /// Whether the function can be resumed. One whose library was removed can be, too.
    ///
    /// # Errors
    /// One sentence: why not.
    pub(crate) fn may_resume(&self, function: &str) -> Result<FunctionName, String> {
        self.may_request()?;
        let paused = self.pauses.all.get_key_value(function).map(|(name, _)| name.clone());
        paused.ok_or_else(|| match self.catalog.name_of(function) {
            Some(name) => format!("{name} is not paused"),
            None => self.no_such_function(function),
        })
    }

    pub(super) fn pause(
        &mut self,
        name: NamedRequest,
        function: FunctionName,
        pause: Pause,
        drains: bool,
        now: Duration,
    ) {
        self.pending(name, Goal::Paused { function: function.clone(), drains }, now);
        if self.pauses.all.contains_key(function.as_str()) {
            return;
        }
        self.report_pause(&function, &pause);
        self.pauses.logged_at.get_or_insert(now);
        self.pauses.all.insert(function.clone(), pause);
        self.pauses_changed(&function, now);
    }

    pub(super) fn resume(&mut self, name: NamedRequest, function: FunctionName, now: Duration) {
        self.pauses.all.remove(function.as_str());
        self.pending(name, Goal::Served(function.clone()), now);
        self.pauses_changed(&function, now);
    }

    fn pauses_changed(&mut self, function: &FunctionName, now: Duration) {
        self.push_action(Action::SavePauses(self.pauses.all.clone()));
        self.forget_announced_rollout(function);
        let workers: Vec<WorkerId> = self.workers.with_function(function).map(|(id, _)| id).collect();
        workers.into_iter().for_each(|id| self.tell_offer(id));
        self.replan(now);
    }

    /// Tells an all-functions worker which of its functions to offer. Dedicated workers drain instead.
    fn tell_offer(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id) else { return };
        if !worker.state.is_live() || worker.key != GroupKey::All {
            return;
        }
        let is_paused = |name: &FunctionName| self.pauses.all.contains_key(name.as_str());
        let names = worker.names();
        let left_out: Vec<usize> = (0..names.len()).filter(|index| is_paused(&names[*index])).collect();
        let offer: BTreeSet<FunctionName> = left_out.iter().map(|index| names[*index].clone()).collect();
        if offer == worker.offer.left_out {
            return;
        }
        self.pauses.last_offer += 1;
        let number = self.pauses.last_offer;
        self.workers.change(id, |worker| worker.offer = Offer { left_out: offer, pending: Some(number) });
        self.push_action(Action::Offer { worker: id, number, left_out });
    }

    /// A worker has carried out the command of this number.
    pub(super) fn is_offering(&mut self, id: WorkerId, number: u64) {
        self.workers
            .change(id, |worker| worker.offer.pending = worker.offer.pending.filter(|pending| *pending != number));
    }

    /// How many workers may still run a job of the function, and how many of these have not shown that they read
    /// commands.
    pub(super) fn not_left(&self, function: &FunctionName) -> (usize, usize) {
        let all = self.workers.with_function(function).map(|(_, worker)| worker);
        let left: Vec<&WorkerRecord> = all.filter(|worker| !worker.has_left(function)).collect();
        let unheard = left.iter().filter(|worker| worker.state.is_at_work() && worker.drain_report.is_none()).count();
        (left.len(), unheard)
    }

    /// Whether every worker that was told to offer the function again does.
    pub(super) fn is_offered_again(&self, function: &FunctionName) -> bool {
        let is_pending = |worker: &WorkerRecord| worker.offer.pending.is_some() && worker.state.is_serving();
        !self.workers.with_function(function).any(|(_, worker)| is_pending(worker))
    }

    /// Logs now and then what is paused, together with a re-scan.
    pub(super) fn remind_of_pauses(&mut self, now: Duration) {
        if self.pauses.all.is_empty() {
            self.pauses.logged_at = None;
            return;
        }
        let logged_at = *self.pauses.logged_at.get_or_insert(now);
        if now >= logged_at.saturating_add(REMINDER) {
            self.pauses.logged_at = Some(now);
            let all = self.pauses.all.clone();
            all.iter().for_each(|(function, pause)| self.report_pause(function, pause));
        }
    }

    fn report_pause(&mut self, function: &FunctionName, pause: &Pause) {
        let Pause { by, since } = pause.clone();
        self.report(Event::FunctionPaused(PausedFunction { function: function.clone(), by, since }));
    }
}

impl WorkerRecord {
    /// Whether it takes no more jobs of one of its functions, and runs none.
    fn has_left(&self, function: &FunctionName) -> bool {
        let is_left_out = self.offer.left_out.contains(function) && self.offer.pending.is_none();
        match self.state {
            WorkerState::Starting { .. } | WorkerState::Loaded { .. } | WorkerState::Ready => true,
            WorkerState::Activating
            | WorkerState::Serving { .. }
            | WorkerState::Draining { .. }
            | WorkerState::Killed { .. } => is_left_out,
        }
    }
}
