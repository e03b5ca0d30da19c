//! A running probe from the manager's point of view: what it has reported, and the meaning of its end.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::probe_result::{ProbeExit, judge_probe, sibling_places};
use super::rejection::Rejection;
use super::report::{LoadableLibrary, MAX_WORDS, ProbeRequest, is_report};
use super::siblings::SiblingPlace;
use crate::system::reap::ExitStatus;

/// How many messages of a probe are kept: any beyond what it may send is forged, and one forged message is enough.
const MESSAGES: usize = 2 * MAX_WORDS;

/// One probe.
#[derive(Debug)]
pub struct ProbeSession {
    request: ProbeRequest,
    timeout: Duration,
    messages: Vec<Vec<u8>>,
    stopped: Option<ProbeExit>,
}

impl ProbeSession {
    /// A probe with this request, and this long to carry it out.
    pub fn new(request: ProbeRequest, timeout: Duration) -> Self {
        Self { request, timeout, messages: Vec::new(), stopped: None }
    }

    /// Its request.
    pub fn request(&self) -> &ProbeRequest {
        &self.request
    }

    /// Keeps a message; returns true once the report is complete and the probe should be ended.
    pub fn receive(&mut self, message: &[u8]) -> bool {
        if self.messages.len() < MESSAGES {
            self.messages.push(message.to_vec());
        }
        let enough = is_report(message) || self.messages.len() >= MESSAGES;
        if enough && self.stopped.is_none() {
            self.stopped = Some(ProbeExit::Stopped);
        }
        enough
    }

    /// Its time is up: it will be ended.
    pub fn times_out(&mut self) {
        self.stopped = Some(ProbeExit::Deadline(self.timeout));
    }

    /// It will be ended for a reason of ours.
    pub fn stop(&mut self) {
        self.stopped = Some(ProbeExit::Stopped);
    }

    /// What it sent could not be read, so it will be ended: its exit status says nothing about the library then.
    pub fn mark_unread(&mut self) {
        self.stopped = Some(ProbeExit::Unread);
    }

    /// Whether it was ended already.
    pub fn is_over(&self) -> bool {
        self.stopped.is_some()
    }

    /// Where the library looks for others; `None` if the probe did not get that far.
    pub fn sibling_places(&self) -> Option<Vec<SiblingPlace>> {
        sibling_places(&self.request.nonce, &self.messages)
    }

    /// Decides its result once it has exited.
    ///
    /// # Errors
    /// Why the file cannot be used.
    pub fn judge(&self, end: ExitStatus) -> Result<LoadableLibrary, Rejection> {
        let ended = self.stopped.unwrap_or(match end {
            ExitStatus::Exit(code) => ProbeExit::Exited(code),
            ExitStatus::Signal(signal) => ProbeExit::Signalled(signal),
        });
        judge_probe(&self.request.nonce, ended, &self.messages)
    }
}

/// Sixteen random bytes as text, which no constructor can guess.
pub fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    let filled = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if filled.is_err() {
        bytes = u128::from(fastrand::u64(..)).to_ne_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
