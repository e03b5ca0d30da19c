//! The start: complete when every planned worker is loaded, and told to whoever waits for it.

use std::time::Duration;

use super::servers::Server;
use super::{Action, Core, Phase, group_key};
use crate::supervisor::event::{Event, seconds};
use crate::supervisor::life::Life;

/// What name servers are given to answer before workers are started without them, and job servers to answer a loaded
/// worker before the start is told without them.
const MOMENT: Duration = Duration::from_secs(1);

impl Core {
    /// Whether the first scan and its probes are over, and the look-ups, which had their moment: a name server that does
    /// not answer holds up no worker of other job servers, and addresses can follow later.
    pub(super) fn is_complete(&self, now: Duration) -> bool {
        self.catalog.is_settled() && self.resolved_by().is_none_or(|by| now >= by)
    }

    /// When look-ups that are under way are waited for no longer.
    fn resolved_by(&self) -> Option<Duration> {
        self.servers.iter().any(|server| server.resolving).then(|| self.started.saturating_add(MOMENT))
    }

    /// Plans for the first time, once everything is known, whichever answer was the last one.
    pub(super) fn complete_start(&mut self, now: Duration) {
        if self.phase == Phase::Starting && self.is_complete(now) {
            self.phase = Phase::Running;
            self.replan(self.started);
        }
    }

    /// Tells once how the start went.
    pub(super) fn startup(&mut self, now: Duration) {
        if self.announced || !self.is_running() {
            return;
        }
        let refused: Vec<String> =
            self.catalog.refused().map(|(name, path, reason)| format!("{name}: {path}: {reason}")).collect();
        if !refused.is_empty() && self.config.strict {
            return self.fail(format!("strict is set, and not every library can be used: {}", refused.join("; ")));
        }
        if self.plan.groups.is_empty() {
            return self.nothing_to_serve(&refused);
        }
        if !self.is_loaded(now) {
            return;
        }
        let loaded: Vec<Life> =
            self.workers.values().map(|worker| worker.life).filter(|life| life.is_loaded()).collect();
        if loaded.is_empty() {
            let reason = self.last_failure.clone().unwrap_or_else(|| "no worker could be started".into());
            return self.fail(reason);
        }
        let connecting = |life: &Life| matches!(life, Life::Loaded { since } if now < since.saturating_add(MOMENT));
        let answers = !self.servers.iter().all(Server::is_down);
        if loaded.iter().any(|life| matches!(life, Life::Going)) || (answers && loaded.iter().any(connecting)) {
            return;
        }
        self.announced = true;
        let functions = self.plan.groups.iter().flat_map(|group| &group.functions);
        let functions = functions.collect::<std::collections::BTreeSet<_>>().len();
        let seconds = seconds(now.saturating_sub(self.started));
        self.tell(Event::Started { workers: loaded.len(), functions, seconds });
        let mut notes = refused;
        let down = self.servers.iter().filter(|server| server.workers() == 0);
        notes.extend(
            down.map(|server| format!("job server {} does not answer yet; it is tried again and again", server.name)),
        );
        self.do_next(Action::Announce((!notes.is_empty()).then(|| notes.join("\n"))));
    }

    fn nothing_to_serve(&mut self, refused: &[String]) {
        let dirs: Vec<String> = self.config.worker_dirs.iter().map(|dir| dir.display().to_string()).collect();
        let dirs = dirs.join(", ");
        let left_out = self.plan.left_out.iter().map(|(name, reason)| format!("{name}: {reason}"));
        let reasons: Vec<String> = refused.iter().cloned().chain(left_out).collect();
        if self.catalog.has_retries() {
            self.announced = true;
            let note = format!("nothing can be served yet, and it is tried again and again: {}", reasons.join("; "));
            return self.do_next(Action::Announce(Some(note)));
        }
        match (reasons.is_empty(), self.config.auto_update) {
            (true, true) => {
                self.announced = true;
                self.tell(Event::NothingToServe { dirs: dirs.clone() });
                let note = format!("no library in {dirs} yet: copy one there and it is served");
                self.do_next(Action::Announce(Some(note)));
            }
            (true, false) => {
                self.fail(format!("no library in {dirs}, and auto_update is 0: copy one there and start again"))
            }
            (false, _) => self.fail(format!("nothing in {dirs} can be served: {}", reasons.join("; "))),
        }
    }

    fn fail(&mut self, reason: String) {
        self.announced = true;
        self.phase = Phase::Finished;
        self.do_next(Action::Fail(1, reason));
    }

    /// Whether every planned worker is loaded, or known not to come for now.
    fn is_loaded(&self, now: Duration) -> bool {
        self.plan.groups.iter().all(|group| {
            let key = group_key(group);
            let of_group = self.workers.values().filter(|worker| worker.key == key);
            let loaded = of_group.clone().filter(|worker| worker.life.is_loaded()).count();
            let starting = of_group.filter(|worker| matches!(worker.life, Life::Starting { .. })).count();
            let wanted: Vec<String> =
                group.functions.iter().filter(|name| self.may_start(name, now)).cloned().collect();
            let failing = self.groups_failing.contains_key(&key)
                || group.functions.iter().any(|name| self.functions_failing.contains_key(name));
            let waits = wanted.is_empty() || (failing && self.room(&key, &wanted, now) == 0);
            loaded >= group.count as usize || (starting == 0 && waits)
        })
    }

    /// When the start goes on although a job server's name or itself has not answered.
    pub(super) fn startup_due(&self) -> Option<Duration> {
        if self.phase == Phase::Starting {
            return self.resolved_by();
        }
        let waiting = self.workers.values().filter_map(|worker| match worker.life {
            Life::Loaded { since } => Some(since.saturating_add(MOMENT)),
            _ => None,
        });
        waiting.max().filter(|_| !self.announced)
    }
}
