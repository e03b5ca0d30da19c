//! When each process and each link was not as it should be.

use std::borrow::Borrow;
use std::collections::BTreeMap;

use crate::history::{Closer, Entry, Fault, Link, Party, Record, Time};

/// From, and until.
type Window = (Time, Time);

/// How a connection ended.
pub struct End {
    /// Whose it was.
    pub link: Link,
    /// Who ended it.
    pub by: Closer,
    /// When.
    pub at: Time,
}

/// The faults of a history, as spans of time.
#[derive(Default)]
pub struct Windows {
    dead_servers: BTreeMap<usize, Vec<Window>>,
    stopped_servers: BTreeMap<usize, Vec<Window>>,
    dead_managers: BTreeMap<usize, Vec<Window>>,
    ending_managers: BTreeMap<usize, Vec<Window>>,
    stopped_managers: BTreeMap<usize, Vec<Window>>,
    disturbed: BTreeMap<Link, Vec<Window>>,
    cuts: BTreeMap<Link, Vec<Window>>,
    resubmissions: BTreeMap<String, Vec<Window>>,
    begins: BTreeMap<u64, Time>,
    ends: BTreeMap<u64, End>,
}

impl Windows {
    /// The faults of this history.
    pub fn of(history: &[Entry]) -> Self {
        let mut windows = Self::default();
        for Entry { at, record } in history {
            match record {
                Record::Fault(fault) => windows.add(*at, fault),
                Record::Opened { connection, .. } => {
                    windows.begins.insert(*connection, *at);
                }
                Record::Closed { connection, link, by } => {
                    windows.ends.insert(*connection, End { link: *link, by: *by, at: *at });
                }
                _ => {}
            }
        }
        windows
    }

    fn add(&mut self, at: Time, fault: &Fault) {
        match fault {
            Fault::ServerKilled { server } => open(&mut self.dead_servers, *server, at),
            Fault::ServerStarted { server } => close(&mut self.dead_servers, server, at),
            Fault::ServerStopped { server } => open(&mut self.stopped_servers, *server, at),
            Fault::ServerContinued { server } => close(&mut self.stopped_servers, server, at),
            Fault::ManagerKilled { manager } => open(&mut self.dead_managers, *manager, at),
            Fault::ManagerEnding { manager } => open(&mut self.ending_managers, *manager, at),
            Fault::ManagerStarted { manager } => {
                close(&mut self.dead_managers, manager, at);
                close(&mut self.ending_managers, manager, at);
            }
            Fault::ManagerStopped { manager } => open(&mut self.stopped_managers, *manager, at),
            Fault::ManagerContinued { manager } => close(&mut self.stopped_managers, manager, at),
            Fault::Disturbed { link, .. } => open(&mut self.disturbed, *link, at),
            Fault::Healed { link } => close(&mut self.disturbed, link, at),
            Fault::Cut { link } => {
                open(&mut self.cuts, *link, at);
                close(&mut self.cuts, link, at);
            }
            Fault::Resubmitted { sub, .. } => {
                self.resubmissions.entry(sub.clone()).or_default().push((at, at));
            }
            _ => {}
        }
    }

    /// Whether a server was killed or dead.
    pub fn server_died(&self, server: usize, from: Time, until: Time) -> bool {
        overlaps(&self.dead_servers, &server, from, until)
    }

    /// Whether a manager was killed or dead.
    pub fn manager_died(&self, manager: usize, from: Time, until: Time) -> bool {
        overlaps(&self.dead_managers, &manager, from, until)
    }

    /// Whether a manager was dead, stopped or ending.
    pub fn manager_was_away(&self, manager: usize, from: Time, until: Time) -> bool {
        let all = [&self.dead_managers, &self.ending_managers, &self.stopped_managers];
        all.iter().any(|windows| overlaps(windows, &manager, from, until))
    }

    /// Whether the connections of a link were cut.
    pub fn was_cut(&self, link: Link, from: Time, until: Time) -> bool {
        overlaps(&self.cuts, &link, from, until)
    }

    /// Whether a job in quarantine was submitted again.
    pub fn was_resubmitted(&self, sub: &str, from: Time, until: Time) -> bool {
        overlaps(&self.resubmissions, sub, from, until)
    }

    /// Whether a link was disturbed, or its server stopped or dead, or its manager stopped.
    pub fn was_slow(&self, link: Link, from: Time, until: Time) -> bool {
        let manager_was = match link.party {
            Party::Clients => false,
            Party::Manager(manager) => overlaps(&self.stopped_managers, &manager, from, until),
        };
        manager_was
            || overlaps(&self.disturbed, &link, from, until)
            || overlaps(&self.stopped_servers, &link.server, from, until)
            || self.server_died(link.server, from, until)
    }

    /// When a connection began, if that was written down.
    pub fn begin_of(&self, connection: u64) -> Option<Time> {
        self.begins.get(&connection).copied()
    }

    /// How a connection ended, if it did.
    pub fn end_of(&self, connection: u64) -> Option<&End> {
        self.ends.get(&connection)
    }
}

fn open<K: Ord>(windows: &mut BTreeMap<K, Vec<Window>>, key: K, at: Time) {
    windows.entry(key).or_default().push((at, Time::MAX));
}

/// What is not open stays as it is.
fn close<K: Ord>(windows: &mut BTreeMap<K, Vec<Window>>, key: &K, at: Time) {
    if let Some(last) = windows.get_mut(key).and_then(|windows| windows.last_mut()) {
        last.1 = last.1.min(at);
    }
}

fn overlaps<K, Q>(windows: &BTreeMap<K, Vec<Window>>, key: &Q, from: Time, until: Time) -> bool
where
    K: Ord + Borrow<Q>,
    Q: Ord + ?Sized,
{
    windows.get(key).is_some_and(|windows| windows.iter().any(|(begin, end)| *begin <= until && from <= *end))
}
