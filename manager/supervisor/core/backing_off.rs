//! Which functions and groups wait before they are tried again, and how many starts there is room for.

use std::time::Duration;

use super::{Core, Key, Worker};
use crate::supervisor::event::{Event, seconds, several};
use crate::supervisor::life::Life;
use crate::supervisor::restart::{Backoff, Bounds, Outside};

/// Workers that connect at the same time: more would overrun a job server's default backlog.
const CONNECTING: usize = 16;

impl Core {
    fn bounds(&self) -> Bounds {
        Bounds { longest: self.config.backoff_max, healthy_after: self.config.healthy_after }
    }

    /// A failure outside a job that is known to be this function's.
    pub(super) fn blame(&mut self, function: &str, at: Outside, born: Duration, now: Duration) {
        let (bounds, chance) = (self.bounds(), self.random.f64());
        let backoff = self.functions_failing.entry(function.to_owned()).or_default();
        let before = backoff.clone();
        backoff.failed_outside(at, now, born, bounds, chance);
        let (after, changed) = (backoff.clone(), *backoff != before);
        self.tell_waiting(function.to_owned(), &after, changed, now);
    }

    /// A death while starting or idle: the functions that changed last are held to be the cause; where all came at the
    /// same time, the group is.
    pub(super) fn died_outside_job(&mut self, worker: &Worker, at: Outside, now: Duration) {
        let (key, names, born) = (&worker.key, worker.names(), worker.born);
        let changed = |name: &str| self.catalog.changed(name);
        let latest = names.iter().map(|name| changed(name)).max().unwrap_or_default();
        let all = several(&names);
        let (suspects, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| changed(name) == latest);
        if suspects.len() == 1 || !others.is_empty() {
            suspects.iter().for_each(|function| self.blame(function, at, born, now));
            return;
        }
        let (bounds, chance) = (self.bounds(), self.random.f64());
        let backoff = self.groups_failing.entry(key.clone()).or_default();
        let before = backoff.clone();
        backoff.failed_outside(at, now, born, bounds, chance);
        let (after, changed) = (backoff.clone(), *backoff != before);
        self.tell_waiting(all, &after, changed, now);
    }

    /// A death in a job of this function. `done` counts its finished jobs.
    pub(super) fn died_in_job(&mut self, function: &str, done: u64, now: Duration) {
        let chance = self.random.f64();
        let backoff = self.functions_failing.entry(function.to_owned()).or_default();
        backoff.died_in_job(now, done, chance);
        let after = backoff.clone();
        self.tell_waiting(function.to_owned(), &after, true, now);
    }

    fn tell_waiting(&mut self, function: String, backoff: &Backoff, changed: bool, now: Duration) {
        if let Some(until) = backoff.waits_until(now).filter(|_| changed) {
            let seconds = seconds(until.saturating_sub(now));
            self.tell(Event::BackingOff { function, seconds, failures: backoff.failures() });
        }
    }

    /// Whether a worker may be started with the function now, or has to do without it.
    pub(super) fn may_start(&self, function: &str, now: Duration) -> bool {
        !self.is_given_up(function) && !self.is_backing_off(function, now)
    }

    /// Whether the version of the function that would be started asked not to be.
    pub(super) fn is_given_up(&self, function: &str) -> bool {
        let given_up = self.given_up.get(function);
        given_up.is_some_and(|hash| self.catalog.version(function).is_some_and(|version| version.hash == *hash))
    }

    /// Whether the function waits before it is tried again.
    pub(super) fn is_backing_off(&self, function: &str, now: Duration) -> bool {
        self.backing_off(function, now).is_some()
    }

    /// How long the function is still to be left out, for status.
    pub fn backing_off(&self, function: &str, now: Duration) -> Option<Duration> {
        let until = self.functions_failing.get(function)?.waits_until(now)?;
        Some(until.saturating_sub(now))
    }

    /// How many workers of the group may start now.
    pub(super) fn room(&self, key: &Key, wanted: &[String], now: Duration) -> u32 {
        if now < self.spawn_after {
            return 0;
        }
        let healthy_after = self.config.healthy_after;
        let group = self.groups_failing.get(key);
        if group.is_some_and(|backoff| backoff.waits_until(now).is_some()) {
            return 0;
        }
        let mut room = CONNECTING.saturating_sub(self.connecting(now)).min(self.isolation_room(key));
        if !self.config.worker_initial_spawn_splay.is_zero() {
            room = room.min(1);
        }
        let trials = wanted.iter().filter_map(|name| Some((self.functions_failing.get(name)?, Some(name))));
        for (backoff, name) in trials.chain(group.map(|backoff| (backoff, None))) {
            if backoff.is_on_trial(now, healthy_after) {
                room = room.min(self.trial_room(key, name, backoff.trial(), now));
            }
        }
        u32::try_from(room).unwrap_or(u32::MAX)
    }

    /// One at a time, until one with the function has outlived the last wait.
    fn trial_room(&self, key: &Key, function: Option<&String>, trial: Duration, now: Duration) -> usize {
        let of_it = |worker: &&Worker| match function {
            Some(function) => worker.functions.iter().any(|(name, _)| name == function),
            None => worker.key == *key,
        };
        let live: Vec<&Worker> = self.workers.values().filter(|worker| worker.life.is_live()).filter(of_it).collect();
        let proven =
            |worker: &&Worker| matches!(worker.life, Life::Serving { since } if now >= since.saturating_add(trial));
        match (live.is_empty(), live.iter().any(proven)) {
            (true, _) => 1,
            (false, true) => usize::MAX,
            (false, false) => 0,
        }
    }

    /// Workers that load, or have just begun to look for a job server.
    fn connecting(&self, now: Duration) -> usize {
        let moment = self.config.connect_timeout;
        let counts = |worker: &&Worker| match worker.life {
            Life::Starting { .. } => true,
            Life::Loaded { since } => now < since.saturating_add(moment),
            _ => false,
        };
        self.workers.values().filter(counts).count()
    }

    /// When a wait, or a trial, is over.
    pub(super) fn waits(&self, now: Duration) -> impl Iterator<Item = Duration> {
        let failing = self.functions_failing.values().chain(self.groups_failing.values());
        let longest_trial = failing.clone().map(Backoff::trial).max().unwrap_or_default();
        let trials = self.workers.values().filter_map(move |worker| match worker.life {
            Life::Serving { since } if !longest_trial.is_zero() => Some(since.saturating_add(longest_trial)),
            Life::Loaded { since } => Some(since.saturating_add(self.config.connect_timeout)),
            _ => None,
        });
        let waits: Vec<Duration> = failing.filter_map(|backoff| backoff.waits_until(now)).collect();
        waits.into_iter().chain(trials.filter(move |at| *at > now))
    }
}
