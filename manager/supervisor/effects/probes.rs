//! Probes: a few at a time, each with a deadline.

use std::collections::VecDeque;
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
use crate::system::reap::Reaped;

/// Probes under way at the same time.
const AT_ONCE: usize = 4;
/// Files that wait for their probe.
#[derive(Default)]
pub struct Probes {
    waiting: VecDeque<Candidate>,
    running: usize,
    count: u64,
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
        self.probes.waiting.push_back(candidate);
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
        let started = self.spawn(ROLE, Vec::new(), Kind::Probe(probe)).and_then(|id| {
            self.probes.running += 1;
            let bytes = encode(&order).map_err(std::io::Error::other)?;
            self.children.get(&id).map_or(Ok(()), |child| child.channel.send(&bytes, Duration::ZERO))
        });
        if let Err(error) = started {
            self.probed(&candidate, Err(format!("no process could be started to look at it: {error}")));
        }
    }

    pub(super) fn probe_ended(&mut self, probe: Probe, reaped: &Reaped) {
        self.probes.running -= 1;
        let result = self.adopt(&probe, probe.inquiry.judge(reaped.end));
        self.probed(&probe.candidate, result);
        self.next_probes();
    }

    /// Takes a good copy into the store; removes a bad one.
    fn adopt(&mut self, probe: &Probe, result: Result<Found, Refusal>) -> Result<Version, String> {
        let copy = &probe.inquiry.order().copy_to;
        let found = match result {
            Ok(found) => found,
            Err(refusal) => {
                if let Err(error) = self.store.discard(copy) {
                    self.trouble(error.to_string());
                }
                return Err(refusal.to_string());
            }
        };
        let stored =
            self.store.adopt(copy, found.hash, &probe.candidate.function).map_err(|error| error.to_string())?;
        let warning = found.warning().map(|text| format!("its library {text}"));
        Ok(self.known.add(stored, found.version, warning))
    }

    fn probed(&mut self, candidate: &Candidate, result: Result<Version, String>) {
        let (function, identity) = (candidate.function.to_string(), candidate.identity);
        self.inputs.push_back(Input::Probed { function, identity, result });
    }
}
