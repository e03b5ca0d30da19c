//! Probes: a few at a time, each with a deadline.

use std::collections::VecDeque;
use std::time::Duration;

use super::Effects;
use super::children::Kind;
use crate::plugins::name::FunctionName;
use crate::plugins::permissions::Trust;
use crate::plugins::probe::ROLE;
use crate::plugins::refusal::Refusal;
use crate::plugins::report::{Found, ProbeOrder, encode, is_report};
use crate::plugins::scan::Candidate;
use crate::plugins::verdict::{Ended, judge_probe};
use crate::supervisor::catalog::Version;
use crate::supervisor::core::Input;
use crate::system::clock;
use crate::system::reap::{End, Reaped};

/// Probes under way at the same time.
const AT_ONCE: usize = 4;
/// Messages of a probe that are kept: two are expected, and more are a lie.
const MESSAGES: usize = 4;

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
    order: ProbeOrder,
    messages: Vec<Vec<u8>>,
    patience: Duration,
    deadline: Option<Duration>,
    stopped: Option<Ended>,
}

impl Probe {
    /// The function the file is to serve.
    pub fn function(&self) -> &FunctionName {
        &self.candidate.function
    }

    /// When it is killed; `None` once it was.
    pub fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Its time is up.
    pub fn times_out(&mut self) {
        self.deadline = None;
        self.stopped = Some(Ended::Deadline(self.patience));
    }

    /// Keeps what it said; true once it has said enough and is to be ended.
    pub fn said(&mut self, message: &[u8]) -> bool {
        if self.messages.len() < MESSAGES {
            self.messages.push(message.to_vec());
        }
        let enough = is_report(message) || self.messages.len() >= MESSAGES;
        if enough && self.stopped.is_none() {
            self.deadline = None;
            self.stopped = Some(Ended::Stopped);
        }
        enough
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
        let probe = Probe {
            candidate: candidate.clone(),
            order: order.clone(),
            messages: Vec::new(),
            patience,
            deadline: Some(clock::now() + patience),
            stopped: None,
        };
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
        let ended = probe.stopped.unwrap_or(match reaped.end {
            End::Exit(code) => Ended::Exited(code),
            End::Signal(signal) => Ended::Signalled(signal),
        });
        let result = judge_probe(&probe.order.nonce, ended, &probe.messages);
        let result = self.adopt(&probe, result);
        self.probed(&probe.candidate, result);
        self.next_probes();
    }

    /// Takes a good copy into the store; removes a bad one.
    fn adopt(&mut self, probe: &Probe, result: Result<Found, Refusal>) -> Result<Version, String> {
        let copy = &probe.order.copy_to;
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

/// Sixteen random bytes as text: what no constructor can guess.
fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    let filled =
        std::fs::File::open("/dev/urandom").and_then(|mut file| std::io::Read::read_exact(&mut file, &mut bytes));
    if filled.is_err() {
        bytes = u128::from(fastrand::u64(..)).to_ne_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
