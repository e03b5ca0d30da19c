//! A probe under way, seen from the process that started it: what it has reported, and what its end means.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use super::probe_result::{ProbeExit, judge_probe, sibling_places};
use super::rejection::Rejection;
use super::report::{LoadableLibrary, MAX_WORDS, ProbeRequest, is_report};
use super::siblings::SiblingPlace;
use crate::system::reap::ExitStatus;

/// Messages of a probe that are kept: one more than it may send is forged, and one such is enough to know.
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
    /// A probe that is given this request, and this long to obey it.
    pub fn new(request: ProbeRequest, timeout: Duration) -> Self {
        Self { request, timeout, messages: Vec::new(), stopped: None }
    }

    /// Its request.
    pub fn request(&self) -> &ProbeRequest {
        &self.request
    }

    /// Keeps a message; true once the report is complete and the probe is to be ended.
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

    /// Its time is up, and it is to be ended.
    pub fn times_out(&mut self) {
        self.stopped = Some(ProbeExit::Deadline(self.timeout));
    }

    /// It is to be ended for a reason of ours.
    pub fn stop(&mut self) {
        self.stopped = Some(ProbeExit::Stopped);
    }

    /// What it sent could not be read, and it is to be ended: however it ends, that says nothing about the library.
    pub fn mark_unread(&mut self) {
        self.stopped = Some(ProbeExit::Unread);
    }

    /// Whether its end was already called for.
    pub fn is_over(&self) -> bool {
        self.stopped.is_some()
    }

    /// Where the library has others looked for; `None` where the probe did not come so far.
    pub fn sibling_places(&self) -> Option<Vec<SiblingPlace>> {
        sibling_places(&self.request.nonce, &self.messages)
    }

    /// Judges it once it is gone.
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

/// Sixteen random bytes as text: what no constructor can guess.
pub fn nonce() -> String {
    let mut bytes = [0_u8; 16];
    let filled = File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
    if filled.is_err() {
        bytes = u128::from(fastrand::u64(..)).to_ne_bytes();
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
