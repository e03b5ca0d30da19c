//! When the queues of the job servers are checked: together with a re-scan where possible, so that both wake the manager
//! once.

use std::time::Duration;

use super::Manager;
use crate::supervisor::core::Input;
use crate::supervisor::effects::QueueAnswer;
use crate::system::clock;

impl Manager {
    pub(super) fn check_queues_later(&mut self) {
        self.queue_check = next_check(clock::now(), self.effects.config.queue_check, self.rescan);
    }

    pub(super) fn check_queues(&mut self) {
        self.check_queues_later();
        let servers = self.core.queues_to_ask();
        if !servers.is_empty() {
            self.effects.ask_queues(servers, self.core.queued_functions());
        }
    }

    /// A job server has listed its queues, or not answered.
    pub(super) fn queues_listed(&mut self, answer: QueueAnswer) {
        let server = answer.server;
        let workers = self.core.workers_connected_to(server);
        let readings = self.effects.queue_readings(answer, &workers);
        self.input(Input::QueuesRead { server, readings });
    }
}

/// The next check, moved to a re-scan that is due at about that time.
fn next_check(now: Duration, interval: Duration, rescan: Option<Duration>) -> Option<Duration> {
    if interval.is_zero() {
        return None;
    }
    let due = now.saturating_add(interval);
    let is_near = |rescan: &Duration| rescan.abs_diff(due) <= clock::fraction(interval, 0.25);
    Some(rescan.filter(is_near).unwrap_or(due))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_is_made_with_a_rescan_that_is_near() {
        let seconds = Duration::from_secs;
        for (interval, rescan, expected) in [
            (30, Some(130), Some(130)),
            (30, Some(125), Some(125)),
            (30, Some(137), Some(137)),
            (30, Some(110), Some(130)),
            (30, Some(200), Some(130)),
            (30, None, Some(130)),
            (0, Some(130), None),
        ] {
            let due = next_check(seconds(100), seconds(interval), rescan.map(seconds));
            assert_eq!(due, expected.map(seconds), "{interval} {rescan:?}");
        }
    }
}
