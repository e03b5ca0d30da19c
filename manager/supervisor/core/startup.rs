//! The manager's start. It is complete when every planned worker is loaded or known to have failed, at the latest after
//! the start timeout. It is then reported to the waiting caller, with what is not served and why.

use std::collections::BTreeSet;
use std::time::Duration;

use super::job_servers::JobServerState;
use super::rollouts::PROBE_WAIT;
use super::workers::DueTime;
use super::{Action, Core, GroupKey, ManagerPhase, WorkerRecord, group_key};
use crate::logging::escape;
use crate::plan::Group;
use crate::plugins::name::FunctionName;
use crate::supervisor::event::{Event, seconds, several};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;

/// How long to wait for name servers before workers are started without them, and for job servers to answer a loaded
/// worker before the start is reported without them.
const GRACE: Duration = Duration::from_secs(1);

/// How far the start has come.
pub(super) struct ManagerStartup {
    pub(super) began: Duration,
    /// When the first scan or the latest probe ended.
    pub(super) probed_at: Duration,
    /// When the first plan was made.
    planned_at: Duration,
    /// The longest time that a planned function may take to start.
    longest_start: Duration,
    /// Until when a strict start may take longer: functions start one after the other, each with a timeout of its own.
    extended_to: Duration,
    /// Whether the outcome was reported.
    pub(super) announced: bool,
}

impl ManagerStartup {
    pub(super) fn at(now: Duration) -> Self {
        let (longest_start, extended_to) = (Duration::ZERO, Duration::ZERO);
        Self { began: now, probed_at: now, planned_at: now, longest_start, extended_to, announced: false }
    }
}

impl Core {
    /// Whether the first scan, its probes and the look-ups are over. Waiting is limited: neither a library that hangs
    /// in a constructor nor a name server that does not answer delays the workers of other functions. What is found
    /// later is served later.
    fn is_complete(&self) -> bool {
        let read = self.catalog.is_settled() || self.read_by().is_some_and(|by| self.read >= by);
        read && self.resolved_by().is_none_or(|by| self.read >= by)
    }

    /// When to stop waiting for running probes. With `strict`, a failed probe fails the start, so nothing may be served
    /// before.
    fn read_by(&self) -> Option<Duration> {
        let may_go_on = self.catalog.was_scanned() && !self.config.strict;
        may_go_on.then(|| self.startup.probed_at.saturating_add(PROBE_WAIT))
    }

    /// When to stop waiting for running look-ups.
    fn resolved_by(&self) -> Option<Duration> {
        self.servers.iter().any(|server| server.resolving).then(|| self.startup.began.saturating_add(GRACE))
    }

    /// Makes the first plan, once everything is known, or with what is known so far if a directory, a library or a name
    /// takes long.
    pub(super) fn complete_start(&mut self, now: Duration) {
        if self.phase == ManagerPhase::Starting && (self.is_complete() || self.read >= self.start_deadline()) {
            self.phase = ManagerPhase::Running;
            self.startup.planned_at = now;
            self.replan(self.startup.began);
        }
    }

    /// The plan has changed.
    pub(super) fn plan_start(&mut self) {
        let functions: Vec<FunctionName> = self.planned_functions().into_iter().cloned().collect();
        self.startup.longest_start = self.start_timeout(&functions);
    }

    /// When the start is reported at the latest, whatever is missing.
    fn start_deadline(&self) -> Duration {
        match self.phase {
            ManagerPhase::Starting => self.startup.began.saturating_add(self.config.start_timeout),
            _ => self.startup.planned_at.saturating_add(self.startup.longest_start).max(self.startup.extended_to),
        }
    }

    /// A worker has reached the next of its functions. A strict start waits as long as that function's `start_timeout`:
    /// several slow functions, one after the other, are not an error.
    pub(super) fn start_advances(&mut self, id: WorkerId) {
        let Some(worker) = self.workers.get(&id).filter(|_| self.config.strict && !self.startup.announced) else {
            return;
        };
        if let WorkerState::Starting { deadline } = worker.state
            && worker.start.begun > 1
            && worker.born < self.start_deadline()
        {
            self.startup.extended_to = self.startup.extended_to.max(deadline);
        }
    }

    /// Whether to report now, whatever is missing. A worker that has just replaced a hung one gets a little more time.
    fn is_late(&self) -> bool {
        let now = self.read;
        let deadline = self.start_deadline();
        let starting = || self.workers.values().filter(|worker| matches!(worker.state, WorkerState::Starting { .. }));
        let just_started = || starting().any(|worker| now < worker.born.saturating_add(GRACE));
        now >= deadline.saturating_add(GRACE) || (now >= deadline && !just_started())
    }

    fn planned_functions(&self) -> BTreeSet<&FunctionName> {
        self.plan.groups.iter().flat_map(|group| &group.functions).collect()
    }

    /// Reports once how the start went.
    pub(super) fn startup(&mut self, now: Duration) {
        if self.startup.announced || !self.is_running() {
            return;
        }
        let late = self.is_late();
        let fails = self.config.strict && self.catalog.refused().next().is_some();
        let has_nothing = self.plan.groups.is_empty() && self.catalog.is_settled();
        if !(late || fails || has_nothing || self.is_known(now)) {
            return;
        }
        let refused = by_cause(self.catalog.refused());
        if fails {
            return self.fail(format!("strict is set, and not every library can be used: {}", refused.join("; ")));
        }
        if has_nothing {
            return self.nothing_to_serve(&refused);
        }
        let totals = self.workers.totals();
        // A process that the system refused, or that was only just started, may still come up; a library that fails is
        // reported.
        let may_come = self.spawns.refusal(now).is_some() || !self.catalog.is_settled() || totals.starting > 0;
        if totals.loaded == 0 && may_come && !late {
            return;
        }
        let last_loaded = self.workers.last(DueTime::Loaded);
        let connecting = last_loaded.is_some_and(|since| self.read < since.saturating_add(GRACE));
        let answers = !self.servers.iter().all(JobServerState::is_down);
        let on_their_way = totals.activating > 0 || (answers && connecting);
        if on_their_way && !late {
            return;
        }
        let unserved = self.unserved(now);
        if !unserved.is_empty() && self.config.strict {
            return self.fail(format!("strict is set, and not every function can be served: {}", unserved.join("; ")));
        }
        self.announce(totals.loaded, refused, unserved, now);
    }

    fn announce(&mut self, workers: usize, mut notes: Vec<String>, unserved: Vec<String>, now: Duration) {
        self.startup.announced = true;
        let functions = self.planned_functions().len();
        let seconds = seconds(now.saturating_sub(self.startup.began));
        self.report(Event::Started { workers, functions, seconds });
        notes.extend(unserved);
        let down = self.servers.iter().filter(|server| server.workers() == 0);
        notes.extend(down.map(|server| format!("job server {} does not answer yet; retrying", server.name)));
        self.announce_notes(&notes);
    }

    /// A sentence for every function that no worker has loaded, and for what is not known yet.
    fn unserved(&self, now: Duration) -> Vec<String> {
        let is_loaded = |name: &str| self.workers.serving_alike(name).any(|(_, alike)| alike.totals.loaded > 0);
        let planned = self.planned_functions().into_iter().filter(|name| !is_loaded(name));
        let planned = planned.map(|name| format!("{name} is not served: {}", self.why_unserved(name, now)));
        let unknown = match self.catalog.was_scanned() {
            true => None,
            false => Some("the worker directories are still being read".to_owned()),
        };
        let probing = self.catalog.probing().filter(|name| self.catalog.version(name).is_none());
        let probing = probing.map(|name| format!("{name} is not served: its library is still being looked at"));
        planned.chain(probing).chain(unknown).collect()
    }

    fn nothing_to_serve(&mut self, refused: &[String]) {
        let dirs: Vec<String> = self.config.worker_dirs.iter().map(|dir| dir.display().to_string()).collect();
        let dirs = dirs.join(", ");
        let excluded = self.plan.excluded.iter().map(|(name, reason)| format!("{name} is left out: {reason}"));
        let reasons: Vec<String> = refused.iter().cloned().chain(excluded).collect();
        // What is retried may succeed without a change in the directory.
        let waits = self.config.auto_update || self.catalog.has_retries();
        match (reasons.is_empty(), waits) {
            (true, false) => {
                self.fail(format!("no library in {dirs}, and auto_update is 0: copy one there and start again"))
            }
            (false, false) => self.fail(format!("nothing in {dirs} can be served: {}", reasons.join("; "))),
            (is_empty, true) => {
                let event = Event::NothingToServe { dirs, is_empty };
                let notes: Vec<String> = reasons.into_iter().chain([event.line()]).collect();
                self.startup.announced = true;
                self.report(event);
                self.announce_notes(&notes);
            }
        }
    }

    /// Reports to the caller that the manager serves, with a line for each note. A note may quote a plugin.
    fn announce_notes(&mut self, notes: &[String]) {
        let lines: Vec<_> = notes.iter().map(escape).collect();
        self.push_action(Action::Announce((!lines.is_empty()).then(|| lines.join("\n"))));
    }

    fn fail(&mut self, reason: String) {
        self.startup.announced = true;
        self.phase = ManagerPhase::Finished;
        self.push_action(Action::Fail(1, escape(&reason).into_owned()));
    }

    /// Whether the first probes are over and every planned worker is loaded, or known to have failed for now.
    fn is_known(&self, now: Duration) -> bool {
        // As long as none has failed, that is a matter of two numbers.
        let none_fail = self.failures.nothing_waits() && self.spawns.refused.is_empty() && self.isolated.is_empty();
        if none_fail && self.workers.totals().loaded < self.plan.workers() as usize {
            return false;
        }
        self.catalog.is_settled() && self.plan.groups.iter().all(|group| self.is_loaded(group, now))
    }

    /// Whether every planned worker of a group is loaded, or known to have failed for now.
    fn is_loaded(&self, group: &Group, now: Duration) -> bool {
        let key = group_key(group);
        let totals = self.workers.group(&key).map_or_else(Default::default, |group| group.totals);
        // Slow functions are waited for, although stand-ins serve the others meanwhile.
        let is_slow = |worker: &WorkerRecord| worker.canary.is_none() && self.is_slow(worker);
        let slow = || self.workers.unsettled(&key).any(|(_, worker)| is_slow(worker));
        // One that is being tried alone has one worker for now.
        let count = if self.is_being_isolated(&key) { 1 } else { group.count as usize };
        (totals.loaded >= count && !slow()) || (totals.starting == 0 && self.group_waits_for_now(group, &key, now))
    }

    /// Whether none of a group's workers can start for now, because its functions or the group back off.
    fn group_waits_for_now(&self, group: &Group, key: &GroupKey, now: Duration) -> bool {
        let wanted: Vec<FunctionName> =
            group.functions.iter().filter(|name| self.may_start(name, now)).cloned().collect();
        let failing = self.failures.groups.contains_key(key)
            || group.functions.iter().any(|name| self.failures.functions.contains_key(name))
            || self.spawns.is_refused(key, now);
        wanted.is_empty() || (failing && self.room(key, &wanted, now) == 0)
    }

    /// When the start continues although a job server or its name has not answered, or a worker has not loaded.
    pub(super) fn startup_due(&self) -> impl Iterator<Item = Duration> {
        let awaited = [self.resolved_by(), self.read_by()].into_iter().flatten();
        let awaited = awaited.filter(|_| self.phase == ManagerPhase::Starting);
        let waiting = self.workers.last(DueTime::Loaded).map(|since| since.saturating_add(GRACE));
        let deadline = (!self.startup.announced).then(|| self.start_deadline());
        let late = deadline.map(|deadline| deadline.saturating_add(GRACE));
        awaited.chain(waiting).chain(deadline).chain(late).filter(|_| !self.startup.announced)
    }
}

/// One sentence for each cause, in the order in which they come: a cause that many libraries share is reported once.
fn by_cause<'a>(refused: impl Iterator<Item = (&'a FunctionName, String, &'a str)>) -> Vec<String> {
    let mut causes: Vec<(&str, String, Vec<FunctionName>)> = Vec::new();
    for (name, path, reason) in refused {
        match causes.iter_mut().find(|(cause, ..)| *cause == reason) {
            Some((.., names)) => names.push(name.clone()),
            None => causes.push((reason, path, vec![name.clone()])),
        }
    }
    let sentence = |(reason, path, names): (&str, String, Vec<FunctionName>)| match names.as_slice() {
        [only] => format!("{only}: {path}: {reason}"),
        several_names => format!("{}: {reason}", several(several_names)),
    };
    causes.into_iter().map(sentence).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_that_many_libraries_share_is_reported_once() {
        let names = ["a", "b", "c", "d"].map(FunctionName::from);
        let refused = names.iter().zip(["/w is open", "it is a script", "/w is open", "/w is open"]);
        let refused = refused.map(|(name, reason)| (name, format!("/w/{name}.so"), reason));
        assert_eq!(by_cause(refused), ["a, c, d: /w is open", "b: /w/b.so: it is a script"]);
    }
}
