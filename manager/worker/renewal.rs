//! Other functions than before are offered: each connection over which the old ones were registered is drained, closed and
//! made again. The old functions are not taken back with CANT_DO, since a job server may have assigned a job meanwhile:
//! a job that has been assigned is run.

use std::time::Duration;

use crate::system::clock;
use crate::worker::messages::WorkerMessage;
use crate::worker::ready::StartupStep;
use crate::worker::serve::Worker;
use crate::worker::session::ServerSession;

/// A change of the offered functions that is under way.
#[derive(Debug)]
pub(super) struct Renewal {
    /// The number of the command.
    number: u64,
    /// For each server, the connection that is drained, and since when the worker waits for the last answers on it.
    drained: Vec<Option<(u32, Duration)>>,
    /// Until the servers know the functions, once all these connections are closed.
    registration: StartupStep,
}

impl Renewal {
    /// When the first server's time for its last answers ends, or that for the registration.
    pub(super) fn next_due(&self, stop_timeout: Duration) -> Option<Duration> {
        let drained = self.drained.iter().flatten().map(|(_, since)| since.saturating_add(stop_timeout));
        drained.chain(self.registration.next_due()).min()
    }

    /// A job has just ended, so the deadlines for the last answers start again.
    pub(super) fn extend(&mut self, now: Duration) {
        self.drained.iter_mut().flatten().for_each(|(_, since)| *since = now);
    }

    /// Whether this connection is drained.
    pub(super) fn drains(&self, server: usize) -> bool {
        self.drained.get(server).is_some_and(Option::is_some)
    }
}

impl Worker {
    /// Offers all functions but these from now on.
    pub(super) fn offer(&mut self, number: u64, left_out: &[usize]) {
        self.manager_link.offer_changed();
        if self.draining.is_some() {
            return;
        }
        let offered: Vec<bool> = (0..self.offered.len()).map(|index| !left_out.contains(&index)).collect();
        let is_changed = offered != self.offered;
        self.offered = offered;
        let now = clock::now();
        let drain = |session: &mut ServerSession| {
            let connection = session.connection().filter(|connection| connection.protocol.is_registered())?;
            connection.protocol.drain();
            Some((connection.number, now))
        };
        let before = self.renewal.take().map(|renewal| renewal.drained).unwrap_or_default();
        let drained = self.sessions.iter_mut().enumerate().map(|(server, session)| {
            let earlier = before.get(server).copied().flatten();
            earlier.or_else(|| if is_changed { drain(session) } else { None })
        });
        self.renewal = Some(Renewal { number, drained: drained.collect(), registration: StartupStep::default() });
    }

    /// Takes the next step of such a change, and reports its end.
    pub(super) fn advance_renewal(&mut self, now: Duration) {
        let Some(mut renewal) = self.renewal.take() else { return };
        for (server, drained) in renewal.drained.iter_mut().enumerate() {
            let Some((number, since)) = *drained else { continue };
            let late = (now >= since.saturating_add(self.limits.stop_timeout)).then_some(since);
            let is_same = |session: &ServerSession| session.connection_ref().is_some_and(|c| c.number == number);
            if is_same(&self.sessions[server]) && self.drain_server(server, now, late) {
                *drained = Some((number, now));
            }
            if !is_same(&self.sessions[server]) {
                if self.sessions[server].connection_ref().is_none() {
                    self.sessions[server].reconnect_soon(now);
                }
                *drained = None;
            }
        }
        if renewal.drained.iter().all(Option::is_none) {
            renewal.registration.begins(now);
            let is_known = |session: &ServerSession| {
                session.is_down() || session.protocol().is_some_and(|protocol| protocol.knows_functions())
            };
            let is_settled = !self.startup.registration.has_begun() || self.sessions.iter().all(is_known);
            if renewal.registration.ends(now, is_settled) {
                self.manager_link.send(&WorkerMessage::Offering { number: renewal.number });
                return;
            }
        }
        self.renewal = Some(renewal);
    }
}
