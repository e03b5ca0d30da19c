//! Runs probes, a few at a time, each with a deadline.

use crate::plugins::version_records::VersionFacts;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::PathBuf;
use std::time::Duration;

use super::Effects;
use super::children::ChildKind;
use crate::plugins::name::FunctionName;
use crate::plugins::permissions::FilePolicy;
use crate::plugins::probe::ROLE;
use crate::plugins::probe_session::{ProbeSession, nonce};
use crate::plugins::rejection::{Rejection, RejectionKind};
use crate::plugins::report::{LoadableLibrary, ProbeRequest, encode};
use crate::plugins::scan::Candidate;
use crate::plugins::siblings::SiblingPlace;
use crate::supervisor::catalog::{CheckedVersion, ProbeFailure};
use crate::supervisor::core::Input;
use crate::system::child_poller::ChildId;
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::reap::Reaped;

/// How many probes may run at the same time, not counting slow ones.
const MAX_FAST_PROBES: usize = 4;
/// The same for re-probes of files that have not changed since they failed.
const MAX_REPROBES: usize = 1;
/// A probe that takes longer than this is slow and holds up no other: the next one begins alongside it.
const SLOW: Duration = Duration::from_secs(1);
/// The hard limit on running probes of a kind, slow ones included: busy-looping constructors must not take over the
/// machine.
const MAX_PROBES: usize = 64;

/// Files that wait for their probe.
#[derive(Default)]
pub(super) struct Probes {
    waiting: VecDeque<Candidate>,
    /// Re-probes of files that have not changed since they failed; kept separately, so that they do not hold up the
    /// others.
    again: VecDeque<Candidate>,
    count: u64,
    /// Paths where libraries' siblings are looked for, by function.
    beside: BTreeMap<FunctionName, BTreeSet<PathBuf>>,
}

impl Probes {
    /// All paths where siblings are looked for.
    pub(super) fn beside(&self) -> Vec<PathBuf> {
        self.beside.values().flatten().collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Drops the paths of a function that no longer exists.
    pub(super) fn forget(&mut self, function: &FunctionName) {
        self.beside.remove(function);
    }

    fn queue(&mut self, again: bool) -> &mut VecDeque<Candidate> {
        if again { &mut self.again } else { &mut self.waiting }
    }
}

/// A probe that is under way.
pub(super) struct Probe {
    candidate: Candidate,
    probe_session: ProbeSession,
    deadline: Duration,
    /// When it becomes slow; `None` once it is.
    slow_at: Option<Duration>,
    /// Whether it is a re-probe of a file that has not changed since it failed.
    again: bool,
    /// Whether its result is to be ignored, because a newer probe of the function was requested or the function no
    /// longer exists.
    superseded: bool,
}

impl Probe {
    /// The function the file is to serve.
    pub(super) fn function(&self) -> &FunctionName {
        &self.candidate.function
    }

    /// When it is killed; `None` once it was.
    pub(super) fn deadline(&self) -> Option<Duration> {
        (!self.probe_session.is_over()).then_some(self.deadline)
    }

    /// Its time is up.
    pub(super) fn times_out(&mut self) {
        self.probe_session.times_out();
    }

    /// What it sent could not be read.
    pub(super) fn mark_unread(&mut self) {
        self.probe_session.mark_unread();
    }

    /// Stores a message; true once the report is complete and the probe can be killed.
    pub(super) fn receive(&mut self, message: &[u8]) -> bool {
        self.probe_session.receive(message)
    }
}

impl Effects {
    pub(super) fn probe(&mut self, candidate: Candidate) {
        self.supersede_probes(&candidate.function);
        self.probes.waiting.push_back(candidate);
        self.next_probes();
    }

    pub(super) fn probe_again(&mut self, candidate: Candidate) {
        self.supersede_probes(&candidate.function);
        self.probes.again.push_back(candidate);
        self.next_probes();
    }

    /// Only the latest state of a file and its sibling libraries matters. Of two running probes, the older may end
    /// last, with the same file and an older sibling.
    pub(super) fn supersede_probes(&mut self, function: &FunctionName) {
        self.probes.waiting.retain(|waiting| waiting.function != *function);
        self.probes.again.retain(|waiting| waiting.function != *function);
        let mut under_way = Vec::new();
        for id in &self.child_index.short_lived {
            if let Some(ChildKind::Probe(probe)) = self.children.get_mut(id).map(|child| &mut child.kind)
                && probe.candidate.function == *function
                && !std::mem::replace(&mut probe.superseded, true)
            {
                probe.probe_session.stop();
                under_way.push(*id);
            }
        }
        under_way.into_iter().for_each(|id| self.kill(id));
    }

    /// Starts as many probes as the limits allow.
    pub(super) fn next_probes(&mut self) {
        let now = clock::now();
        for id in &self.child_index.short_lived {
            if let Some(ChildKind::Probe(probe)) = self.children.get_mut(id).map(|child| &mut child.kind) {
                probe.slow_at = probe.slow_at.filter(|at| now < *at);
            }
        }
        for (again, at_once) in [(false, MAX_FAST_PROBES), (true, MAX_REPROBES)] {
            while self.has_room_for_probe(again, at_once)
                && let Some(candidate) = self.probes.queue(again).pop_front()
            {
                self.start_probe(candidate, again);
            }
        }
    }

    fn has_room_for_probe(&self, again: bool, at_once: usize) -> bool {
        let of_kind = || self.under_way().filter(|probe| probe.again == again);
        of_kind().filter(|probe| probe.slow_at.is_some()).count() < at_once && of_kind().count() < MAX_PROBES
    }

    fn under_way(&self) -> impl Iterator<Item = &Probe> {
        self.short_lived().filter_map(|(_, child)| match &child.kind {
            ChildKind::Probe(probe) => Some(&**probe),
            ChildKind::Worker(_) | ChildKind::LookUp(_) | ChildKind::PostMortem(_) => None,
        })
    }

    /// When a running probe becomes slow, if others are waiting for that.
    pub(super) fn probe_room_due(&self) -> Option<Duration> {
        let waits = !self.probes.waiting.is_empty() || !self.probes.again.is_empty();
        self.under_way().filter(|_| waits).filter_map(|probe| probe.slow_at).min()
    }

    fn start_probe(&mut self, candidate: Candidate, again: bool) {
        self.probes.count += 1;
        let unique = format!("{}-{}", std::process::id(), self.probes.count);
        let strict = self.config.strict_permissions || nix::unistd::geteuid().is_root();
        let request = ProbeRequest {
            nonce: nonce(),
            candidate: candidate.path.clone(),
            function: candidate.function.clone(),
            prefix: self.config.prefix.clone(),
            copy_to: self.store.incoming(&unique),
            max_size: self.config.max_plugin_size,
            file_policy: strict.then(|| FilePolicy { run_uid: nix::unistd::geteuid().as_raw() }),
        };
        let timeout = self.config.probe_timeout;
        let probe_session = ProbeSession::new(request.clone(), timeout);
        let now = clock::now();
        let (deadline, slow_at) = (now.saturating_add(timeout), Some(now.saturating_add(SLOW)));
        let probe = Probe { candidate: candidate.clone(), probe_session, deadline, slow_at, again, superseded: false };
        let started = encode(&request).map_err(std::io::Error::other).and_then(|bytes| {
            let (id, _) = self.spawn(ROLE, Vec::new(), ChildKind::Probe(Box::new(probe)))?;
            Ok((id, bytes))
        });
        match started {
            Ok((id, bytes)) => self.send_request(id, &bytes),
            Err(error) => {
                let reason = format!("no process could be started to look at it: {}", reason(&error));
                self.finish_probe(
                    &candidate,
                    Err(ProbeFailure { reason, kind: RejectionKind::Transient, is_no_plugin: false }),
                );
            }
        }
    }

    /// A probe that got no request would wait for it until its deadline.
    fn send_request(&mut self, id: ChildId, request: &[u8]) {
        let Some(child) = self.children.get_mut(&id) else { return };
        if child.channel.send(request, Duration::ZERO).is_err() {
            if let ChildKind::Probe(probe) = &mut child.kind {
                probe.probe_session.stop();
            }
            self.kill(id);
        }
    }

    pub(super) fn probe_ended(&mut self, probe: Probe, reaped: &Reaped) {
        if probe.superseded {
            self.discard(&probe);
        } else {
            if let Some(beside) = probe.probe_session.sibling_places() {
                self.keep_sibling_places(&probe.candidate, beside);
            }
            let result = self.adopt(&probe, probe.probe_session.judge(reaped.end));
            self.finish_probe(&probe.candidate, result);
        }
        self.next_probes();
    }

    fn discard(&mut self, probe: &Probe) {
        if let Err(error) = self.store.discard(&probe.probe_session.request().copy_to) {
            self.report_error(error.to_string());
        }
    }

    /// The paths where the library's siblings are looked for. New ones are watched from the next scan on, which also
    /// sees what has changed there since the probe.
    fn keep_sibling_places(&mut self, candidate: &Candidate, beside: Vec<SiblingPlace>) {
        let paths: BTreeSet<PathBuf> = beside.iter().map(|beside| beside.path.clone()).collect();
        let known = self.probes.beside();
        let is_new = paths.iter().any(|path| !known.contains(path));
        self.probes.beside.insert(candidate.function.clone(), paths);
        let (function, identity) = (candidate.function.clone(), candidate.identity);
        self.inputs.push_back(Input::SiblingPlaces { function, identity, beside });
        if is_new && self.config.auto_update {
            self.scan();
        }
    }

    /// Commits a good copy to the store; removes a bad one.
    fn adopt(
        &mut self,
        probe: &Probe,
        result: Result<LoadableLibrary, Rejection>,
    ) -> Result<CheckedVersion, ProbeFailure> {
        let copy = &probe.probe_session.request().copy_to;
        let found = match result {
            Ok(found) => found,
            Err(rejection) => {
                self.discard(probe);
                let rejection = rejection.in_store(self.store.dir());
                let (reason, kind) = (rejection.to_string(), rejection.kind());
                return Err(ProbeFailure { reason, kind, is_no_plugin: rejection.is_no_plugin() });
            }
        };
        let stored = self.store.adopt_with(copy, found.hash, &found.siblings, &probe.candidate.function);
        let stored = stored.map_err(|error| ProbeFailure {
            reason: reason(&error),
            kind: RejectionKind::StoreUnavailable,
            is_no_plugin: false,
        })?;
        let facts = VersionFacts { crate_version: found.version.clone(), has_go: found.has_go };
        self.store.records.note_facts(&stored.version(), &facts);
        let warning = found.warning().map(|text| format!("its library {text}"));
        Ok(self.known.add_probed(stored, found.elsewhere, facts, warning))
    }

    fn finish_probe(&mut self, candidate: &Candidate, result: Result<CheckedVersion, ProbeFailure>) {
        let (function, identity) = (candidate.function.clone(), candidate.identity);
        self.inputs.push_back(Input::Probed { function, identity, result });
    }
}
