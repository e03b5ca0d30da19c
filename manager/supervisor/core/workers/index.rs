//! Indexes over the worker records, all derived from them: who is in which group, who serves the same functions, how
//! many are in which state, and what is due when.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::rc::Rc;
use std::time::Duration;

use crate::plugins::content_hash::ShortHash;
use crate::plugins::function_version::FunctionVersion;
use crate::supervisor::core::worker_record::{DrainReport, ScoreboardWatch};
use crate::supervisor::core::{GroupKey, WorkerRecord};
use crate::supervisor::reconcile::{JobAllowance, WorkerId};
use crate::supervisor::worker_state::WorkerState;

/// What is due for a worker at some time, or was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::supervisor::core) enum DueTime {
    /// Its state has a deadline.
    Deadline,
    /// Its start becomes slow (see [`super::super::slow_start`]).
    Slow,
    /// It has loaded, and looks for a job server.
    Loaded,
    /// It waits for the command to connect; has no time, so that the oldest comes first.
    Queued,
    /// It got that command, and has not found a job server yet.
    Connecting,
    /// It began to serve.
    Serving,
    /// It serves, and will be too old.
    Retires,
    /// The next reading of its scoreboard has to be planned; has no time.
    ScoreboardUnplanned,
    /// Its scoreboard is read.
    ScoreboardDue,
    /// It owes a sign that it responds, which is looked for.
    Look,
}

const DUE_TIMES: [DueTime; 10] = [
    DueTime::Deadline,
    DueTime::Slow,
    DueTime::Loaded,
    DueTime::Queued,
    DueTime::Connecting,
    DueTime::Serving,
    DueTime::Retires,
    DueTime::ScoreboardUnplanned,
    DueTime::ScoreboardDue,
    DueTime::Look,
];

impl DueTime {
    fn of(self, worker: &WorkerRecord) -> Option<Duration> {
        match (self, worker.state) {
            (Self::Deadline, state) => state.deadline(),
            (Self::Slow, _) => worker.slow_at(),
            (Self::Loaded, WorkerState::Loaded { since }) | (Self::Serving, WorkerState::Serving { since }) => {
                Some(since)
            }
            (Self::Queued, WorkerState::Loaded { .. }) => worker.start.connects.is_none().then_some(Duration::ZERO),
            (Self::Connecting, WorkerState::Loaded { .. }) => worker.start.connects,
            (Self::Retires, WorkerState::Serving { .. }) => Some(worker.retirement.at),
            (Self::ScoreboardUnplanned, state) => {
                let is_new = state.is_at_work() && worker.job_watch.next == ScoreboardWatch::Unplanned;
                is_new.then_some(Duration::ZERO)
            }
            (Self::ScoreboardDue, _) => worker.scoreboard_due(),
            (Self::Look, state) if state.polls() => worker.liveness.next(),
            _ => None,
        }
    }
}

/// What a worker serves, by name. Workers that serve the same share it.
#[derive(Debug, Clone)]
pub(in crate::supervisor::core) struct FunctionSet(Rc<[FunctionVersion]>);

impl FunctionSet {
    pub(in crate::supervisor::core) fn new(functions: &[FunctionVersion]) -> Self {
        let mut functions = functions.to_vec();
        functions.sort_unstable();
        Self(functions.into())
    }

    /// Its version of a function, if it has one.
    pub(in crate::supervisor::core) fn version_of(&self, function: &str) -> Option<ShortHash> {
        let place = self.0.binary_search_by(|version| version.function.as_str().cmp(function)).ok()?;
        Some(self.0[place].hash)
    }

    pub(in crate::supervisor::core) fn iter(&self) -> impl Iterator<Item = &FunctionVersion> {
        self.0.iter()
    }

    pub(in crate::supervisor::core) fn len(&self) -> usize {
        self.0.len()
    }
}

impl PartialEq for FunctionSet {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for FunctionSet {}

impl PartialOrd for FunctionSet {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for FunctionSet {
    fn cmp(&self, other: &Self) -> Ordering {
        if Rc::ptr_eq(&self.0, &other.0) { Ordering::Equal } else { self.0.cmp(&other.0) }
    }
}

/// How many workers are in which state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::supervisor::core) struct WorkerTotals {
    pub all: usize,
    pub starting: usize,
    pub loaded: usize,
    pub activating: usize,
    pub serving: usize,
    pub live: usize,
    /// They serve, need not stop, and are not canaries.
    pub counted: usize,
}

impl WorkerTotals {
    fn of(key: &IndexKey) -> Self {
        let IndexKey { state, runs, is_canary, .. } = *key;
        let one = |is: bool| usize::from(is);
        Self {
            all: 1,
            starting: one(matches!(state, WorkerState::Starting { .. })),
            loaded: one(state.is_loaded()),
            activating: one(matches!(state, WorkerState::Activating)),
            serving: one(state.is_serving()),
            live: one(state.is_live()),
            counted: one(state.is_serving() && !is_canary && runs != JobAllowance::None),
        }
    }

    fn combine(self, other: Self, with: impl Fn(usize, usize) -> usize) -> Self {
        Self {
            all: with(self.all, other.all),
            starting: with(self.starting, other.starting),
            loaded: with(self.loaded, other.loaded),
            activating: with(self.activating, other.activating),
            serving: with(self.serving, other.serving),
            live: with(self.live, other.live),
            counted: with(self.counted, other.counted),
        }
    }

    fn add(&mut self, other: Self) {
        *self = self.combine(other, usize::saturating_add);
    }

    fn subtract(&mut self, other: Self) {
        *self = self.combine(other, usize::saturating_sub);
    }
}

/// Workers of one group that serve the same.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor::core) struct AlikeWorkers {
    pub totals: WorkerTotals,
    /// The settled ones, by the time at which they are too old.
    pub settled: BTreeSet<(Duration, WorkerId)>,
}

/// The workers of a group.
#[derive(Debug, Default, PartialEq, Eq)]
pub(in crate::supervisor::core) struct GroupIndex {
    pub totals: WorkerTotals,
    pub alike: BTreeMap<FunctionSet, AlikeWorkers>,
    /// Those that are not settled: they start, drain, are canaries, or are close to their job limit.
    pub unsettled: BTreeSet<WorkerId>,
}

impl GroupIndex {
    /// All of them.
    pub(in crate::supervisor::core) fn ids(&self) -> impl Iterator<Item = WorkerId> {
        self.settled_ids().chain(self.unsettled.iter().copied())
    }

    /// The settled ones.
    pub(in crate::supervisor::core) fn settled_ids(&self) -> impl Iterator<Item = WorkerId> {
        self.alike.values().flat_map(|alike| alike.settled.iter().map(|(_, id)| *id))
    }
}

/// The parts of a worker's record that the index depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct IndexKey {
    state: WorkerState,
    runs: JobAllowance,
    retires: Duration,
    is_canary: bool,
    has_served: bool,
    drain_report: Option<DrainReport>,
    due_times: [Option<Duration>; DUE_TIMES.len()],
}

impl IndexKey {
    pub(super) fn of(worker: &WorkerRecord) -> Self {
        Self {
            state: worker.state,
            runs: worker.retirement.runs,
            retires: worker.retirement.at,
            is_canary: worker.canary.is_some(),
            has_served: worker.has_served,
            drain_report: worker.drain_report,
            due_times: DUE_TIMES.map(|due| due.of(worker)),
        }
    }

    /// The parts that decisions about its group depend on: not the progress of its start, unless it is slow.
    pub(super) fn decides(&self) -> impl PartialEq + use<> {
        let state = match self.state {
            WorkerState::Starting { .. } => WorkerState::Starting { deadline: Duration::ZERO },
            other => other,
        };
        (state, self.runs, self.retires, self.is_canary, self.has_served, self.drain_report)
    }

    /// Whether it is settled.
    fn is_settled(&self) -> bool {
        self.state.is_serving() && self.runs == JobAllowance::Many && !self.is_canary
    }

    fn due_times(&self) -> impl Iterator<Item = (DueTime, Duration)> {
        DUE_TIMES.into_iter().zip(self.due_times).filter_map(|(due, at)| Some((due, at?)))
    }
}

/// The index.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct WorkerIndex {
    pub(super) groups: BTreeMap<GroupKey, GroupIndex>,
    pub(super) canaries: BTreeSet<WorkerId>,
    pub(super) totals: WorkerTotals,
    due_times: BTreeSet<(DueTime, Duration, WorkerId)>,
}

impl WorkerIndex {
    pub(super) fn of(records: &BTreeMap<WorkerId, WorkerRecord>) -> Self {
        let mut index = Self::default();
        records.iter().for_each(|(id, record)| index.add(*id, record));
        index
    }

    /// Shares the set of functions with other workers of the group, so that each set is stored once.
    pub(super) fn shared(&self, key: &GroupKey, functions: FunctionSet) -> FunctionSet {
        let known = self.groups.get(key).and_then(|group| group.alike.get_key_value(&functions));
        known.map_or(functions, |(known, _)| known.clone())
    }

    pub(super) fn add(&mut self, id: WorkerId, record: &WorkerRecord) {
        let key = IndexKey::of(record);
        self.add_to_group(id, record, &key);
        self.due_times.extend(key.due_times().map(|(due, at)| (due, at, id)));
    }

    pub(super) fn remove(&mut self, id: WorkerId, record: &WorkerRecord) {
        let key = IndexKey::of(record);
        self.remove_from_group(id, record, &key);
        for (due, at) in key.due_times() {
            self.due_times.remove(&(due, at, id));
        }
    }

    /// The worker was as `before`, and is as `after`.
    pub(super) fn replace(&mut self, id: WorkerId, record: &WorkerRecord, before: &IndexKey, after: &IndexKey) {
        if before.decides() != after.decides() {
            self.remove_from_group(id, record, before);
            self.add_to_group(id, record, after);
        }
        for (due, (was, is)) in DUE_TIMES.into_iter().zip(before.due_times.into_iter().zip(after.due_times)) {
            if was != is {
                if let Some(at) = was {
                    self.due_times.remove(&(due, at, id));
                }
                self.due_times.extend(is.map(|at| (due, at, id)));
            }
        }
    }

    fn add_to_group(&mut self, id: WorkerId, record: &WorkerRecord, key: &IndexKey) {
        let totals = WorkerTotals::of(key);
        self.totals.add(totals);
        if key.is_canary {
            self.canaries.insert(id);
        }
        let group = self.groups.entry(record.key.clone()).or_default();
        group.totals.add(totals);
        let alike = group.alike.entry(record.alike.clone()).or_default();
        alike.totals.add(totals);
        match key.is_settled() {
            true => alike.settled.insert((key.retires, id)),
            false => group.unsettled.insert(id),
        };
    }

    fn remove_from_group(&mut self, id: WorkerId, record: &WorkerRecord, key: &IndexKey) {
        let totals = WorkerTotals::of(key);
        self.totals.subtract(totals);
        self.canaries.remove(&id);
        let Some(group) = self.groups.get_mut(&record.key) else { return };
        group.totals.subtract(totals);
        group.unsettled.remove(&id);
        if let Some(alike) = group.alike.get_mut(&record.alike) {
            alike.totals.subtract(totals);
            alike.settled.remove(&(key.retires, id));
            if alike.totals.all == 0 {
                group.alike.remove(&record.alike);
            }
        }
        if group.totals.all == 0 {
            self.groups.remove(&record.key);
        }
    }

    fn after(
        &self,
        due: DueTime,
        after: Option<Duration>,
    ) -> impl DoubleEndedIterator<Item = &(DueTime, Duration, WorkerId)> {
        let first = match after {
            Some(after) => Bound::Excluded((due, after, WorkerId(u64::MAX))),
            None => Bound::Included((due, Duration::ZERO, WorkerId(0))),
        };
        self.due_times.range((first, Bound::Included((due, Duration::MAX, WorkerId(u64::MAX)))))
    }

    pub(super) fn between(
        &self,
        due: DueTime,
        after: Option<Duration>,
        until: Duration,
    ) -> impl Iterator<Item = WorkerId> {
        self.after(due, after).take_while(move |(_, at, _)| *at <= until).map(|(.., id)| *id)
    }

    pub(super) fn next(&self, due: DueTime, after: Option<Duration>) -> Option<Duration> {
        self.after(due, after).next().map(|(_, at, _)| *at)
    }

    pub(super) fn last(&self, due: DueTime) -> Option<Duration> {
        self.after(due, None).next_back().map(|(_, at, _)| *at)
    }

    pub(super) fn first(&self, due: DueTime) -> Option<WorkerId> {
        self.after(due, None).next().map(|(.., id)| *id)
    }
}
