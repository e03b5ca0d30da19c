//! Look-ups of job servers' names, each in a child with a deadline, and of their versions.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::timeout;

use super::children::ChildKind;
use super::{BackgroundResult, Effects};
use crate::config::JobServerAddress;
use crate::gearman::admin;
use crate::supervisor::core::Input;
use crate::supervisor::resolve::{ROLE, ResolveResult};
use crate::system::clock;
use crate::system::errors::reason;
use crate::worker::messages;

/// How long a job server may take to report its version, for each address.
const VERSION_TIMEOUT: Duration = Duration::from_secs(5);

/// A look-up that is under way.
pub(super) struct Lookup {
    server: usize,
    /// `None`: it has sent nothing.
    answer: Option<ResolveResult>,
    host: String,
    /// When to kill it; `None` once it was killed.
    deadline: Option<Duration>,
    timeout: Duration,
}

impl Lookup {
    /// When it is to be killed.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// Keeps the answer.
    pub(super) fn receive(&mut self, message: &[u8]) {
        if let Ok(answer) = messages::decode(message) {
            self.answer = Some(answer);
        }
    }

    /// Its time is up. An answer that has come by now counts.
    pub(super) fn times_out(&mut self) {
        self.deadline = None;
        let timeout = self.timeout.as_secs_f32();
        self.answer.get_or_insert_with(|| Err(format!("its name could not be looked up within {timeout} s")));
    }
}

impl Effects {
    pub(super) fn look_up(&mut self, server: usize, host: &JobServerAddress) {
        let timeout = self.config.connect_timeout.saturating_mul(2);
        let deadline = Some(clock::now().saturating_add(timeout));
        let look_up = Lookup { server, answer: None, host: host.host.clone(), deadline, timeout };
        let started = self.spawn(ROLE, Vec::new(), ChildKind::LookUp(look_up)).and_then(|(id, _)| {
            let command = messages::encode(&(&host.host, host.port));
            self.children.get(&id).map_or(Ok(()), |child| child.channel.send(&command, Duration::ZERO))
        });
        if let Err(error) = started {
            let result = Err(format!("no process could be started to look its name up: {}", reason(&error)));
            self.inputs.push_back(Input::Resolved { server, result });
        }
    }

    /// Asks in a separate task, once each time a job server comes up, so an unresponsive one holds up nobody. Uses
    /// addresses, so nothing is resolved.
    pub(super) fn ask_version(&self, server: usize, addresses: Vec<SocketAddr>) {
        let results = self.results.clone();
        tokio::task::spawn_local(async move {
            let mut version = None;
            for address in addresses {
                version = timeout(VERSION_TIMEOUT, admin::version_at(address)).await.ok().and_then(Result::ok);
                if version.is_some() {
                    break;
                }
            }
            // The receiver is gone only when the manager exits.
            let _ = results.send(BackgroundResult::Version { server, version });
        });
    }

    pub(super) fn look_up_ended(&mut self, look_up: Lookup) {
        let Lookup { server, answer, host, .. } = look_up;
        let silent = || Err(format!("the name {host} could not be looked up: the look-up ended without an answer"));
        self.inputs.push_back(Input::Resolved { server, result: answer.unwrap_or_else(silent) });
    }
}
