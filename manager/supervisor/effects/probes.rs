//! Probes: a few at a time, each with a deadline.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::Effects;
use super::children::Kind;
use crate::plugins::inquiry::{Inquiry, nonce};
use crate::plugins::name::FunctionName;
use crate::plugins::permissions::Trust;
use crate::plugins::probe::ROLE;
use crate::plugins::refusal::Refusal;
use crate::plugins::report::{Found, ProbeOrder, encode};
use crate::plugins::scan::Candidate;
use crate::supervisor::catalog::Version;
use crate::supervisor::core::Input;
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::reap::Reaped;

/// Probes under way at the same time.
const AT_ONCE: usize = 4;
/// A file for which there was no room in the store is tried again after the first of these, then ever more rarely.
const ROOM: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(60)];

/// Files that wait for their probe.
#[derive(Default)]
pub struct Probes {
    waiting: VecDeque<Candidate>,
    running: usize,
    count: u64,
    /// Files that the store could not take.
    homeless: BTreeMap<FunctionName, Homeless>,
}

/// A file that may be good, and could not be stored.
struct Homeless {
    candidate: Candidate,
    /// When it is tried again; `None` while it is.
    at: Option<Duration>,
    wait: Duration,
}

/// Why there is no version.
enum Refused {
    /// The file is bad.
    File(String),
    /// The store could not take it, which may pass.
    Store(String),
}

impl Probes {
    /// When a file that could not be stored is tried again.
    pub(super) fn due(&self) -> Option<Duration> {
        self.homeless.values().filter_map(|homeless| homeless.at).min()
    }

    /// Notes that the store could not take the file; true where that is news.
    fn has_no_room(&mut self, candidate: &Candidate, now: Duration) -> bool {
        let before = self.homeless.get(&candidate.function).filter(|before| before.candidate == *candidate);
        let wait = before.map_or(ROOM[0], |before| (before.wait * 2).min(ROOM[1]));
        let news = before.is_none();
        let homeless = Homeless { candidate: candidate.clone(), at: Some(now + wait), wait };
        self.homeless.insert(candidate.function.clone(), homeless);
        news
    }
}

/// A probe that is under way.
pub struct Probe {
    candidate: Candidate,
    inquiry: Inquiry,
    deadline: Duration,
}

impl Probe {
    /// The function the file is to serve.
    pub fn function(&self) -> &FunctionName {
        &self.candidate.function
    }

    /// When it is killed; `None` once it was.
    pub fn deadline(&self) -> Option<Duration> {
        (!self.inquiry.is_over()).then_some(self.deadline)
    }

    /// Its time is up.
    pub fn times_out(&mut self) {
        self.inquiry.times_out();
    }

    /// Keeps what it said; true once it has said enough and is to be ended.
    pub fn said(&mut self, message: &[u8]) -> bool {
        self.inquiry.said(message)
    }
}

impl Effects {
    pub(super) fn probe(&mut self, candidate: Candidate) {
        // Only the newest state of a file is of interest.
        self.probes.waiting.retain(|waiting| waiting.function != candidate.function);
        self.probes.homeless.remove(&candidate.function);
        self.probes.waiting.push_back(candidate);
        self.next_probes();
    }

    /// Tries again what the store could not take.
    pub(super) fn probe_homeless(&mut self, now: Duration) {
        for homeless in self.probes.homeless.values_mut() {
            if homeless.at.take_if(|at| now >= *at).is_some() {
                self.probes.waiting.push_back(homeless.candidate.clone());
            }
        }
        self.next_probes();
    }

    fn next_probes(&mut self) {
        while self.probes.running < AT_ONCE
            && let Some(candidate) = self.probes.waiting.pop_front()
        {
            self.start_probe(candidate);
        }
    }

    fn start_probe(&mut self, candidate: Candidate) {
        self.probes.count += 1;
        let unique = format!("{}-{}", std::process::id(), self.probes.count);
        let strict = self.config.strict_permissions || nix::unistd::geteuid().is_root();
        let order = ProbeOrder {
            nonce: nonce(),
            candidate: candidate.path.clone(),
            function: candidate.function.clone(),
            prefix: self.config.prefix.clone(),
            copy_to: self.store.incoming(&unique),
            max_size: self.config.max_plugin_size,
            trust: strict.then(|| Trust { run_uid: nix::unistd::geteuid().as_raw() }),
        };
        let patience = self.config.probe_timeout;
        let inquiry = Inquiry::new(order.clone(), patience);
        let probe = Probe { candidate: candidate.clone(), inquiry, deadline: clock::now() + patience };
        let started = self.spawn(ROLE, Vec::new(), Kind::Probe(Box::new(probe))).and_then(|id| {
            self.probes.running += 1;
            let bytes = encode(&order).map_err(std::io::Error::other)?;
            self.children.get(&id).map_or(Ok(()), |child| child.channel.send(&bytes, Duration::ZERO))
        });
        if let Err(error) = started {
            self.probed(&candidate, Err(format!("no process could be started to look at it: {}", reason(&error))));
        }
    }

    pub(super) fn probe_ended(&mut self, probe: Probe, reaped: &Reaped) {
        self.probes.running -= 1;
        let candidate = &probe.candidate;
        let result = match self.adopt(&probe, probe.inquiry.judge(reaped.end)) {
            // Said once; what the last one said still holds.
            Err(Refused::Store(reason)) => self.probes.has_no_room(candidate, clock::now()).then_some(Err(reason)),
            Err(Refused::File(reason)) => Some(Err(reason)),
            Ok(version) => Some(Ok(version)),
        };
        if let Some(result) = result {
            self.probed(candidate, result);
        }
        self.next_probes();
    }

    /// Takes a good copy into the store; removes a bad one.
    fn adopt(&mut self, probe: &Probe, result: Result<Found, Refusal>) -> Result<Version, Refused> {
        let copy = &probe.inquiry.order().copy_to;
        let found = match result {
            Ok(found) => found,
            Err(refusal) => {
                if let Err(error) = self.store.discard(copy) {
                    self.trouble(error.to_string());
                }
                let text = refusal.to_string();
                use Refusal::{NoExec, StoreFailed, StoreFull};
                let of_the_store = matches!(refusal, StoreFull { .. } | StoreFailed { .. } | NoExec { .. });
                return Err(if of_the_store { Refused::Store(text) } else { Refused::File(text) });
            }
        };
        let stored = self.store.adopt(copy, found.hash, &probe.candidate.function);
        let stored = stored.map_err(|error| Refused::Store(error.to_string()))?;
        let warning = found.warning().map(|text| format!("its library {text}"));
        Ok(self.known.add(stored, found.version, warning))
    }

    fn probed(&mut self, candidate: &Candidate, result: Result<Version, String>) {
        let (function, identity) = (candidate.function.to_string(), candidate.identity);
        self.inputs.push_back(Input::Probed { function, identity, result });
    }
}
