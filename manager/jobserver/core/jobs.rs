//! All jobs, by handle, by unique and by time, and the memory they use.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::ConnectionId;
use crate::gearman::packet::{Priority, SubmittedJob};

/// The name of a function.
pub(super) type QueueName = Rc<[u8]>;

/// A position in a queue: by priority, then first come, first served.
pub(super) type QueuePosition = (Reverse<Priority>, u64);

/// A job's number, counted from 1: what its handle ends in.
pub(super) type QueuedJobId = u64;

/// A job that is neither done nor dropped.
pub(super) struct QueuedJob {
    pub(super) function: QueueName,
    /// The client's name for it; may be empty.
    pub(super) unique: Rc<[u8]>,
    /// The function that combines its results; empty for nearly all jobs.
    pub(super) reducer: Rc<[u8]>,
    pub(super) workload: Rc<[u8]>,
    pub(super) priority: Priority,
    /// Runs even if no client waits.
    pub(super) background: bool,
    /// The clients that wait for it: a connection once for each time it submitted the job.
    pub(super) waiting: Vec<ConnectionId>,
    pub(super) state: QueuedJobState,
    pub(super) done: u64,
    pub(super) of: u64,
    /// What another submission must match to be the same job.
    merge: Option<CoalesceKey>,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum QueuedJobState {
    /// Nowhere yet: it was just created, or just taken from a worker.
    Loose,
    /// Delayed until that time, in seconds since 1970.
    Later(u64),
    /// In its function's queue.
    Queued(QueuePosition),
    /// With a worker.
    Running(ConnectionId),
}

/// What makes two submissions of a function the same job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CoalesceKey {
    Unique(Rc<[u8]>),
    /// The unique `-` stands for the workload; this is its SHA-256.
    Workload([u8; 32]),
}

impl CoalesceKey {
    /// The key of a submission; `None` if each is a job of its own.
    pub(super) fn of(job: &SubmittedJob<'_>) -> Option<Self> {
        match job.unique {
            b"" => None,
            b"-" if job.workload.is_empty() => None,
            b"-" => Some(Self::Workload(Sha256::digest(job.workload).into())),
            unique => Some(Self::Unique(unique.into())),
        }
    }
}

impl QueuedJob {
    pub(super) fn new(function: QueueName, merge: Option<CoalesceKey>, job: &SubmittedJob<'_>) -> Self {
        Self {
            function,
            unique: job.unique.into(),
            reducer: Rc::default(),
            workload: job.workload.into(),
            priority: Priority::Normal,
            background: false,
            waiting: Vec::new(),
            state: QueuedJobState::Loose,
            done: 0,
            of: 0,
            merge,
        }
    }

    /// Whether no client asks for it any more.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.background && self.waiting.is_empty()
    }

    fn held(&self) -> usize {
        self.workload.len() + self.unique.len() + self.reducer.len()
    }
}

/// All jobs.
pub(super) struct QueuedJobs {
    /// What precedes the number and its colon in a handle.
    prefix: String,
    last: QueuedJobId,
    all: HashMap<QueuedJobId, QueuedJob>,
    merges: BTreeMap<(CoalesceKey, QueueName), QueuedJobId>,
    later: BTreeSet<(u64, QueuedJobId)>,
    held: usize,
}

impl QueuedJobs {
    pub(super) fn new(prefix: String) -> Self {
        Self { prefix, last: 0, all: HashMap::new(), merges: BTreeMap::new(), later: BTreeSet::new(), held: 0 }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.all.len()
    }

    /// How many bytes they hold.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    /// Adds a job and gives it a number.
    pub(super) fn insert(&mut self, job: QueuedJob) -> QueuedJobId {
        self.last += 1;
        self.held += job.held();
        if let Some(merge) = &job.merge {
            self.merges.insert((merge.clone(), job.function.clone()), self.last);
        }
        self.all.insert(self.last, job);
        self.last
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, id: QueuedJobId) -> Option<QueuedJob> {
        let mut job = self.all.remove(&id)?;
        self.held -= job.held();
        if let QueuedJobState::Later(at) = job.state {
            self.later.remove(&(at, id));
        }
        if let Some(merge) = job.merge.take() {
            self.merges.remove(&(merge, job.function.clone()));
        }
        Some(job)
    }

    pub(super) fn get(&self, id: QueuedJobId) -> Option<&QueuedJob> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: QueuedJobId) -> Option<&mut QueuedJob> {
        self.all.get_mut(&id)
    }

    /// A job's handle.
    pub(super) fn handle(&self, id: QueuedJobId) -> Vec<u8> {
        format!("{}:{id}", self.prefix).into_bytes()
    }

    /// The job of a handle.
    pub(super) fn find(&self, handle: &[u8]) -> Option<QueuedJobId> {
        let number = handle.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":")?;
        let id = std::str::from_utf8(number).ok()?.parse().ok()?;
        // `+7` and `07` parse as numbers, but no handle ends so.
        (self.all.contains_key(&id) && self.handle(id) == handle).then_some(id)
    }

    /// The job of that function that a submission joins.
    pub(super) fn merged(&self, merge: CoalesceKey, function: &QueueName) -> Option<QueuedJobId> {
        self.merges.get(&(merge, function.clone())).copied()
    }

    /// A job with that unique, of any function.
    pub(super) fn find_unique(&self, unique: &[u8]) -> Option<QueuedJobId> {
        let wanted = CoalesceKey::Unique(unique.into());
        let first = self.merges.range((wanted.clone(), QueueName::default())..).next();
        first.filter(|((merge, _), _)| *merge == wanted).map(|(_, id)| *id)
    }

    /// Delays a job until a time.
    pub(super) fn put_off(&mut self, id: QueuedJobId, at: u64) {
        if let Some(job) = self.all.get_mut(&id) {
            job.state = QueuedJobState::Later(at);
            self.later.insert((at, id));
        }
    }

    /// When the next delayed job is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.later.first().map(|(at, _)| *at)
    }

    /// A delayed job that is due.
    pub(super) fn take_due(&mut self, now: u64) -> Option<QueuedJobId> {
        let (at, id) = *self.later.first()?;
        if at > now {
            return None;
        }
        self.later.pop_first();
        if let Some(job) = self.all.get_mut(&id) {
            job.state = QueuedJobState::Loose;
        }
        Some(id)
    }

    /// All of them, by number.
    #[cfg(test)]
    pub(super) fn all(&self) -> BTreeMap<QueuedJobId, &QueuedJob> {
        self.all.iter().map(|(id, job)| (*id, job)).collect()
    }
}
