//! The jobs there are, by handle, by unique and by time, and what they hold.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::rc::Rc;

use sha2::{Digest, Sha256};

use super::ConnectionId;
use super::functions::{Name, Place};
use crate::gearman::packet::{Priority, Submitted};

/// A job's number, counted from 1: what its handle ends in.
pub(super) type JobId = u64;

/// A job that is neither done nor dropped.
pub(super) struct Job {
    pub(super) function: Name,
    /// The caller's name for it; may be empty.
    pub(super) unique: Rc<[u8]>,
    /// The function that joins its results; empty for nearly all jobs.
    pub(super) reducer: Rc<[u8]>,
    pub(super) workload: Rc<[u8]>,
    pub(super) priority: Priority,
    /// It is run also when nobody waits.
    pub(super) background: bool,
    /// Who waits for it: a connection as often as it submitted the job.
    pub(super) waiting: Vec<ConnectionId>,
    pub(super) state: State,
    pub(super) done: u64,
    pub(super) of: u64,
    /// What another submission must match to be the same job.
    merge: Option<Merge>,
}

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// Nowhere yet: it was just made, or just taken from a worker.
    Loose,
    /// Not before that time, in seconds since 1970.
    Later(u64),
    /// In its function's queue.
    Queued(Place),
    /// With a worker.
    Running(ConnectionId),
}

/// By what two submissions of a function are the same job.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Merge {
    Unique(Rc<[u8]>),
    /// The unique `-` stands for the workload; this is its SHA-256.
    Workload([u8; 32]),
}

impl Merge {
    /// What a submission is known by; `None` where each is a job of its own.
    pub(super) fn of(job: &Submitted<'_>) -> Option<Self> {
        match job.unique {
            b"" => None,
            b"-" if job.workload.is_empty() => None,
            b"-" => Some(Self::Workload(Sha256::digest(job.workload).into())),
            unique => Some(Self::Unique(unique.into())),
        }
    }
}

impl Job {
    pub(super) fn new(function: Name, merge: Option<Merge>, job: &Submitted<'_>) -> Self {
        Self {
            function,
            unique: job.unique.into(),
            reducer: Rc::default(),
            workload: job.workload.into(),
            priority: Priority::Normal,
            background: false,
            waiting: Vec::new(),
            state: State::Loose,
            done: 0,
            of: 0,
            merge,
        }
    }

    /// Nobody asked for it to be run any more.
    pub(super) fn is_abandoned(&self) -> bool {
        !self.background && self.waiting.is_empty()
    }

    fn held(&self) -> usize {
        self.workload.len() + self.unique.len() + self.reducer.len()
    }
}

/// All jobs.
pub(super) struct Jobs {
    /// What stands in a handle before the number and its colon.
    prefix: String,
    last: JobId,
    all: HashMap<JobId, Job>,
    merges: BTreeMap<(Merge, Name), JobId>,
    later: BTreeSet<(u64, JobId)>,
    held: usize,
}

impl Jobs {
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

    /// Takes a job in and gives it a number.
    pub(super) fn insert(&mut self, job: Job) -> JobId {
        self.last += 1;
        self.held += job.held();
        if let Some(merge) = &job.merge {
            self.merges.insert((merge.clone(), job.function.clone()), self.last);
        }
        self.all.insert(self.last, job);
        self.last
    }

    /// Forgets a job.
    pub(super) fn remove(&mut self, id: JobId) -> Option<Job> {
        let mut job = self.all.remove(&id)?;
        self.held -= job.held();
        if let State::Later(at) = job.state {
            self.later.remove(&(at, id));
        }
        if let Some(merge) = job.merge.take() {
            self.merges.remove(&(merge, job.function.clone()));
        }
        Some(job)
    }

    pub(super) fn get(&self, id: JobId) -> Option<&Job> {
        self.all.get(&id)
    }

    pub(super) fn get_mut(&mut self, id: JobId) -> Option<&mut Job> {
        self.all.get_mut(&id)
    }

    /// A job's handle.
    pub(super) fn handle(&self, id: JobId) -> Vec<u8> {
        format!("{}:{id}", self.prefix).into_bytes()
    }

    /// The job of a handle.
    pub(super) fn find(&self, handle: &[u8]) -> Option<JobId> {
        let number = handle.strip_prefix(self.prefix.as_bytes())?.strip_prefix(b":")?;
        let id = std::str::from_utf8(number).ok()?.parse().ok()?;
        // `+7` and `07` are numbers, but no handle ends so.
        (self.all.contains_key(&id) && self.handle(id) == handle).then_some(id)
    }

    /// The job of that function which a submission would be the same as.
    pub(super) fn merged(&self, merge: Merge, function: &Name) -> Option<JobId> {
        self.merges.get(&(merge, function.clone())).copied()
    }

    /// A job with that unique, of any function.
    pub(super) fn find_unique(&self, unique: &[u8]) -> Option<JobId> {
        let wanted = Merge::Unique(unique.into());
        let first = self.merges.range((wanted.clone(), Name::default())..).next();
        first.filter(|((merge, _), _)| *merge == wanted).map(|(_, id)| *id)
    }

    /// Puts a job off until a time.
    pub(super) fn put_off(&mut self, id: JobId, at: u64) {
        if let Some(job) = self.all.get_mut(&id) {
            job.state = State::Later(at);
            self.later.insert((at, id));
        }
    }

    /// When the next job that was put off is due.
    pub(super) fn next_due(&self) -> Option<u64> {
        self.later.first().map(|(at, _)| *at)
    }

    /// A job whose time has come.
    pub(super) fn take_due(&mut self, now: u64) -> Option<JobId> {
        let (at, id) = *self.later.first()?;
        if at > now {
            return None;
        }
        self.later.pop_first();
        if let Some(job) = self.all.get_mut(&id) {
            job.state = State::Loose;
        }
        Some(id)
    }

    /// All of them, by number.
    #[cfg(test)]
    pub(super) fn all(&self) -> BTreeMap<JobId, &Job> {
        self.all.iter().map(|(id, job)| (*id, job)).collect()
    }
}
