//! Look-ups of job servers' names, each in a child with a deadline.

use std::time::Duration;

use super::Effects;
use super::children::Kind;
use crate::config::HostPort;
use crate::supervisor::core::Input;
use crate::supervisor::resolve::{Answer, DEADLINE, ROLE};
use crate::system::clock;
use crate::worker::orders;

/// A look-up that is under way.
pub struct LookUp {
    server: usize,
    answer: Answer,
    /// When it is killed.
    pub deadline: Duration,
}

impl LookUp {
    /// Keeps the answer.
    pub fn said(&mut self, message: &[u8]) {
        if let Ok(answer) = orders::decode(message) {
            self.answer = answer;
        }
    }

    /// Its time is up.
    pub fn times_out(&mut self) {
        self.deadline = Duration::MAX;
        self.answer = Err(format!("its name could not be looked up within {} s", DEADLINE.as_secs()));
    }
}

impl Effects {
    pub(super) fn look_up(&mut self, server: usize, host: &HostPort) {
        let answer = Err(format!("the name {} could not be looked up: the look-up ended without an answer", host.host));
        let look_up = LookUp { server, answer, deadline: clock::now() + DEADLINE };
        let started = self.spawn(ROLE, Vec::new(), Kind::LookUp(look_up)).and_then(|id| {
            let order = orders::encode(&(&host.host, host.port));
            self.children.get(&id).map_or(Ok(()), |child| child.channel.send(&order, Duration::ZERO))
        });
        if let Err(error) = started {
            let result = Err(format!("no process could be started to look its name up: {error}"));
            self.inputs.push_back(Input::Resolved { server, result });
        }
    }

    pub(super) fn look_up_ended(&mut self, look_up: LookUp) {
        self.inputs.push_back(Input::Resolved { server: look_up.server, result: look_up.answer });
    }
}
