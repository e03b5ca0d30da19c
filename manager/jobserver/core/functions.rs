//! The functions that were registered or asked for: which connections serve them, and which jobs are queued.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::ConnectionId;
use super::jobs::{QueueName, QueuePosition, QueuedJobId};
use crate::gearman::packet::Priority;

/// The most names to keep. A name that is not used any more stays listed, as in gearmand, until there are this many.
const MAX_NAMES: usize = 10_000;

/// A function's workers and jobs.
#[derive(Default)]
pub(super) struct FunctionQueue {
    /// Connections that registered it, once for each CAN_DO.
    pub(super) workers: Vec<ConnectionId>,
    queue: BTreeMap<QueuePosition, QueuedJobId>,
    /// Its jobs: queued, running, and delayed.
    pub(super) total: usize,
    /// Its jobs that a worker runs.
    pub(super) running: usize,
}

impl FunctionQueue {
    fn is_unused(&self) -> bool {
        self.workers.is_empty() && self.total == 0
    }

    /// Whether a job is queued.
    pub(super) fn has_work(&self) -> bool {
        !self.queue.is_empty()
    }

    /// Removes a job from the queue, if it is there.
    pub(super) fn unqueue(&mut self, place: QueuePosition) {
        self.queue.remove(&place);
    }

    /// Takes the next job.
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
    /// The function of that name, added if it is new; `None` if there are too many.
    pub(super) fn reach(&mut self, name: &[u8]) -> Option<QueueName> {
        if let Some((known, _)) = self.all.get_key_value(name) {
            return Some(Rc::clone(known));
        }
        if self.all.len() >= MAX_NAMES {
            self.all.retain(|_, function| !function.is_unused());
        }
        if self.all.len() >= MAX_NAMES {
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

    /// Queues a job after the others of its priority.
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
