//! The workers. Every change of a record goes through here, so that the [index](WorkerIndex) is always right and no
//! step has to iterate over all of them.

mod index;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::time::Duration;

use super::{GroupKey, WorkerRecord};
use crate::plugins::function_version::FunctionVersion;
use crate::supervisor::reconcile::WorkerId;
pub(super) use index::{AlikeWorkers, DueTime, FunctionSet, GroupIndex, WorkerTotals};
use index::{IndexKey, WorkerIndex};

/// All workers, by id.
#[derive(Debug, Default)]
pub(super) struct Workers {
    records: BTreeMap<WorkerId, WorkerRecord>,
    index: WorkerIndex,
    /// Groups in which something has changed that may need a decision.
    changed_groups: BTreeSet<GroupKey>,
}

/// Looks up a record, as in any map.
impl Deref for Workers {
    type Target = BTreeMap<WorkerId, WorkerRecord>;

    fn deref(&self) -> &Self::Target {
        &self.records
    }
}

impl Workers {
    pub(super) fn insert(&mut self, id: WorkerId, mut record: WorkerRecord) {
        record.alike = self.index.shared(&record.key, record.alike);
        self.index.add(id, &record);
        self.changed_groups.insert(record.key.clone());
        self.records.insert(id, record);
    }

    pub(super) fn remove(&mut self, id: WorkerId) -> Option<WorkerRecord> {
        let record = self.records.remove(&id)?;
        self.index.remove(id, &record);
        self.changed_groups.insert(record.key.clone());
        Some(record)
    }

    /// Changes a worker, if it exists. Its group and its functions must not change.
    pub(super) fn change<R>(&mut self, id: WorkerId, change: impl FnOnce(&mut WorkerRecord) -> R) -> Option<R> {
        let record = self.records.get_mut(&id)?;
        let before = IndexKey::of(record);
        let result = change(record);
        let after = IndexKey::of(record);
        if before != after {
            self.index.replace(id, record, &before, &after);
            if before.decides() != after.decides() {
                self.changed_groups.insert(record.key.clone());
            }
        }
        Some(result)
    }

    /// Changes every worker.
    pub(super) fn change_all(&mut self, change: impl Fn(&mut WorkerRecord)) {
        self.records.values_mut().for_each(change);
        self.index = WorkerIndex::of(&self.records);
        self.changed_groups.extend(self.records.values().map(|record| record.key.clone()));
    }

    /// The groups in which a worker was added, removed or changed since the last call.
    pub(super) fn take_changed_groups(&mut self) -> BTreeSet<GroupKey> {
        std::mem::take(&mut self.changed_groups)
    }

    /// The groups that have workers.
    pub(super) fn group_keys(&self) -> impl Iterator<Item = &GroupKey> {
        self.index.groups.keys()
    }

    /// The workers of a group, if it has any.
    pub(super) fn group(&self, key: &GroupKey) -> Option<&GroupIndex> {
        self.index.groups.get(key)
    }

    /// The workers of a group, by id.
    pub(super) fn of_group(&self, key: &GroupKey) -> impl Iterator<Item = (WorkerId, &WorkerRecord)> {
        let ids: BTreeSet<WorkerId> = self.group(key).into_iter().flat_map(GroupIndex::ids).collect();
        ids.into_iter().filter_map(|id| Some((id, self.records.get(&id)?)))
    }

    /// The workers of a group that are not settled, by id.
    pub(super) fn unsettled(&self, key: &GroupKey) -> impl Iterator<Item = (WorkerId, &WorkerRecord)> {
        let ids = self.group(key).into_iter().flat_map(|group| &group.unsettled);
        ids.filter_map(|id| Some((*id, self.records.get(id)?)))
    }

    /// The workers that serve a function, by group.
    pub(super) fn with_function<'a>(&'a self, function: &'a str) -> impl Iterator<Item = (WorkerId, &'a WorkerRecord)> {
        let serve = |group: &GroupIndex| group.alike.keys().any(|functions| functions.version_of(function).is_some());
        let groups = self.index.groups.iter().filter(move |(_, group)| serve(group)).map(|(key, _)| key);
        groups.flat_map(|key| self.of_group(key)).filter(move |(_, worker)| worker.serves(function))
    }

    /// The workers that serve one function alone, in this version.
    pub(super) fn alone<'a>(&'a self, version: &'a FunctionVersion) -> impl Iterator<Item = &'a WorkerRecord> {
        let is_it = |functions: &FunctionSet| {
            functions.len() == 1 && functions.version_of(&version.function) == Some(version.hash)
        };
        self.index.groups.values().flat_map(move |group| {
            let alike = group.alike.iter().filter(move |(functions, _)| is_it(functions));
            let settled = alike.clone().flat_map(|(_, alike)| alike.settled.iter().map(|(_, id)| *id));
            let is_there = alike.count() > 0;
            let unsettled = group.unsettled.iter().copied().filter(move |_| is_there);
            let ids = settled.chain(unsettled);
            ids.filter_map(|id| self.records.get(&id)).filter(move |worker| is_it(&worker.alike))
        })
    }

    /// How many of all workers are in which state.
    pub(super) fn totals(&self) -> WorkerTotals {
        self.index.totals
    }

    /// The workers that serve a function, for each set of identical workers.
    pub(super) fn serving_alike<'a>(
        &'a self,
        function: &'a str,
    ) -> impl Iterator<Item = (&'a FunctionSet, &'a AlikeWorkers)> {
        let alike = self.index.groups.values().flat_map(|group| &group.alike);
        alike.filter(move |(functions, _)| functions.version_of(function).is_some())
    }

    /// All sets of identical workers, whatever they serve.
    pub(super) fn all_alike(&self) -> impl Iterator<Item = (&FunctionSet, &AlikeWorkers)> {
        self.index.groups.values().flat_map(|group| &group.alike)
    }

    /// The canaries.
    pub(super) fn canaries(&self) -> impl Iterator<Item = (WorkerId, &WorkerRecord)> {
        self.index.canaries.iter().filter_map(|id| Some((*id, self.records.get(id)?)))
    }

    /// The workers, by id, whose due time of this kind lies after the first time (if given) and not after the second.
    pub(super) fn between(&self, due: DueTime, after: Option<Duration>, until: Duration) -> BTreeSet<WorkerId> {
        self.index.between(due, after, until).collect()
    }

    /// The number of those workers.
    pub(super) fn count_after(&self, due: DueTime, after: Option<Duration>) -> usize {
        self.index.between(due, after, Duration::MAX).count()
    }

    /// The earliest due time of this kind of any worker, after the given time if there is one.
    pub(super) fn next(&self, due: DueTime, after: Option<Duration>) -> Option<Duration> {
        self.index.next(due, after)
    }

    /// The latest due time of this kind of any worker.
    pub(super) fn last(&self, due: DueTime) -> Option<Duration> {
        self.index.last(due)
    }

    /// The first worker that has a due time of this kind.
    pub(super) fn first(&self, due: DueTime) -> Option<WorkerId> {
        self.index.first(due)
    }

    /// What [`take_changed_groups`](Self::take_changed_groups) would return.
    #[cfg(test)]
    pub(super) fn changed_groups(&self) -> &BTreeSet<GroupKey> {
        &self.changed_groups
    }

    /// The index says what a look at every worker would.
    #[cfg(test)]
    pub(super) fn check(&self) {
        assert_eq!(self.index, WorkerIndex::of(&self.records), "the index of the workers is wrong");
    }
}
