//! The functions that were offered or asked for: who offers them, and what waits to be run.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::ConnectionId;
use super::jobs::QueuedJobId;
use crate::gearman::packet::Priority;

/// The name of a function.
pub(super) type QueueName = Rc<[u8]>;

/// A place in a queue: high before normal before low, then first come, first served.
pub(super) type QueuePosition = (Reverse<Priority>, u64);

/// The most names to keep. A name nobody uses any more stays listed, as gearmand has it, until there are that many.
const MOST_NAMES: usize = 10_000;

/// What is known of a function.
#[derive(Default)]
pub(super) struct FunctionQueue {
    /// Connections that offer it, each as often as it sent CAN_DO.
    pub(super) workers: Vec<ConnectionId>,
    queue: BTreeMap<QueuePosition, QueuedJobId>,
    /// Its jobs: queued, running, and for later.
    pub(super) total: usize,
    /// Its jobs that are with a worker.
    pub(super) running: usize,
}

impl FunctionQueue {
    fn is_unused(&self) -> bool {
        self.workers.is_empty() && self.total == 0
    }

    /// Whether a job waits to be run.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Takes a job out of the queue; nothing happens if it is not there.
    pub(super) fn unqueue(&mut self, place: QueuePosition) {
        self.queue.remove(&place);
    }

    /// Takes the job that is next.
    pub(super) fn take(&mut self) -> Option<QueuedJobId> {
        self.queue.pop_first().map(|(_, id)| id)
    }

    #[cfg(test)]
    pub(super) fn queue(&self) -> &BTreeMap<QueuePosition, QueuedJobId> {
        &self.queue
    }
}

/// All functions, by name.
#[derive(Default)]
pub(super) struct FunctionQueues {
    all: BTreeMap<QueueName, FunctionQueue>,
    places: u64,
}

impl FunctionQueues {
    /// The function of that name, known from now on; `None` where there are too many.
    pub(super) fn reach(&mut self, name: &[u8]) -> Option<QueueName> {
        if let Some((known, _)) = self.all.get_key_value(name) {
            return Some(Rc::clone(known));
        }
        if self.all.len() >= MOST_NAMES {
            self.all.retain(|_, function| !function.is_unused());
        }
        if self.all.len() >= MOST_NAMES {
            return None;
        }
        let name = QueueName::from(name);
        self.all.insert(Rc::clone(&name), FunctionQueue::default());
        Some(name)
    }

    pub(super) fn get(&self, name: &[u8]) -> Option<&FunctionQueue> {
        self.all.get(name)
    }

    pub(super) fn get_mut(&mut self, name: &[u8]) -> Option<&mut FunctionQueue> {
        self.all.get_mut(name)
    }

    /// Puts a job behind the others of its priority.
    pub(super) fn queue(&mut self, name: &[u8], priority: Priority, id: QueuedJobId) -> QueuePosition {
        self.places += 1;
        let place = (Reverse(priority), self.places);
        if let Some(function) = self.all.get_mut(name) {
            function.queue.insert(place, id);
        }
        place
    }

    /// All of them, by name.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&QueueName, &FunctionQueue)> {
        self.all.iter()
    }
}
