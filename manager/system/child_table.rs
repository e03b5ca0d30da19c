//! The list of a manager's children, which its guardian reads once the manager is gone. The two exchange no messages
//! and neither wakes up for the other: the manager writes to memory that they share, at a few stores for each child.
//!
//! A child is identified by its process id and its start time in kernel ticks: the id alone may belong to another
//! process by the time it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{
    AtomicU32, AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use super::process::started;
use super::shared_memory::{Access, Seal, Shareable, SharedMapping};

/// Room for more children than a manager can be configured to start. Only the slots that were ever used take memory.
const PLACES: usize = 1 << 17;

/// How long a child may run on without its manager.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum OrphanGrace {
    /// For the manager's grace period: it has a job to finish.
    Grace = 0,
    /// Not at all.
    None = 1,
}

#[repr(C)]
struct TableHeader {
    grace_ms: AtomicU64,
    /// How many slots were ever used; all others are unused.
    used: AtomicU64,
}

/// A free slot has process id 0.
#[repr(C)]
struct ChildSlot {
    pid: AtomicU32,
    grace: AtomicU32,
    started: AtomicU64,
}

// SAFETY: atomics, and any bytes are some.
unsafe impl Shareable for TableHeader {}
// SAFETY: as above.
unsafe impl Shareable for ChildSlot {}

type TableMapping = SharedMapping<TableHeader, ChildSlot>;

/// The manager's side.
pub(crate) struct ChildTable {
    fd: OwnedFd,
    mapping: TableMapping,
    places: BTreeMap<i32, usize>,
    free: BTreeSet<usize>,
}

impl ChildTable {
    /// An empty table.
    ///
    /// # Errors
    /// The system's: out of descriptors or memory.
    pub(crate) fn new(grace: Duration) -> io::Result<Self> {
        let (fd, mapping) = TableMapping::create(c"gm-native-children", PLACES, Access::Write, Seal::LaterWrites)?;
        let table = Self { fd, mapping, places: BTreeMap::new(), free: BTreeSet::new() };
        table.set_grace(grace);
        Ok(table)
    }

    /// A copy of the descriptor, for a guardian.
    ///
    /// # Errors
    /// The system's: out of descriptors.
    pub(crate) fn share(&self) -> io::Result<OwnedFd> {
        self.fd.try_clone()
    }

    /// Sets how long children may run on without the manager.
    pub(crate) fn set_grace(&self, grace: Duration) {
        self.mapping.header().grace_ms.store(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX), Relaxed);
    }

    /// Adds a child that was not reaped yet. One beyond [`PLACES`], or one that /proc does not list, is left out.
    pub(crate) fn add(&mut self, pid: i32, grace: OrphanGrace) {
        let place = self.free.first().copied().unwrap_or(self.places.len());
        let (Some(slot), Some(started)) = (self.mapping.items().get(place), started(pid)) else { return };
        self.free.remove(&place);
        slot.grace.store(grace as u32, Relaxed);
        slot.started.store(started, Relaxed);
        slot.pid.store(pid.cast_unsigned(), Release);
        let used = &self.mapping.header().used;
        used.store(used.load(Relaxed).max(place as u64 + 1), Release);
        self.places.insert(pid, place);
    }

    /// Removes a reaped child, if it is listed.
    pub(crate) fn remove(&mut self, pid: i32) {
        if let Some(place) = self.places.remove(&pid) {
            self.mapping.items()[place].pid.store(0, Release);
            self.free.insert(place);
        }
    }
}

/// A child as listed in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ListedChild {
    pub pid: i32,
    /// When it started, in the kernel's clock ticks.
    pub started: u64,
    /// How long it may run on.
    pub grace: OrphanGrace,
}

/// The guardian's side.
pub(crate) struct ChildList(TableMapping);

impl ChildList {
    /// Maps an inherited table.
    ///
    /// # Errors
    /// The system's, if `fd` is no such table.
    pub(crate) fn map(fd: &OwnedFd) -> io::Result<Self> {
        Ok(Self(TableMapping::map(fd, PLACES, Access::Read)?))
    }

    /// How long children may run on.
    pub(crate) fn grace(&self) -> Duration {
        Duration::from_millis(self.0.header().grace_ms.load(Relaxed))
    }

    /// All listed children. Call it when nothing writes to the table any more.
    pub(crate) fn children(&self) -> Vec<ListedChild> {
        let used = usize::try_from(self.0.header().used.load(Acquire)).unwrap_or(PLACES).min(PLACES);
        let listed = |place: &ChildSlot| {
            let pid = place.pid.load(Acquire).cast_signed();
            let grace = if place.grace.load(Relaxed) == 0 { OrphanGrace::Grace } else { OrphanGrace::None };
            (pid > 0).then(|| ListedChild { pid, started: place.started.load(Relaxed), grace })
        };
        self.0.items()[..used].iter().filter_map(listed).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_come_and_go_and_their_places_are_used_again() {
        let mut table = ChildTable::new(Duration::from_secs(3)).unwrap();
        let list = ChildList::map(&table.share().unwrap()).unwrap();
        let mut sleepers: Vec<_> =
            (0..3).map(|_| std::process::Command::new("sleep").arg("60").spawn().unwrap()).collect();
        let pids: Vec<i32> = sleepers.iter().map(|sleeper| sleeper.id().cast_signed()).collect();
        let listed = |pids: &[i32]| {
            let children = list.children();
            assert!(children.iter().all(|child| Some(child.started) == started(child.pid)));
            assert_eq!(children.iter().map(|child| child.pid).collect::<Vec<_>>(), pids);
            children
        };
        assert_eq!((list.grace(), listed(&[]).len()), (Duration::from_secs(3), 0));
        table.add(pids[0], OrphanGrace::Grace);
        table.add(pids[1], OrphanGrace::None);
        assert_eq!(
            listed(&pids[..2]).iter().map(|child| child.grace).collect::<Vec<_>>(),
            [OrphanGrace::Grace, OrphanGrace::None]
        );
        table.remove(pids[0]);
        table.remove(pids[0]);
        table.add(pids[2], OrphanGrace::Grace);
        listed(&[pids[2], pids[1]]);
        table.set_grace(Duration::MAX);
        assert_eq!(list.grace(), Duration::from_millis(u64::MAX));
        // A process that is gone is not listed.
        sleepers[0].kill().unwrap();
        sleepers[0].wait().unwrap();
        table.add(pids[0], OrphanGrace::Grace);
        listed(&[pids[2], pids[1]]);
        for sleeper in &mut sleepers[1..] {
            sleeper.kill().unwrap();
            sleeper.wait().unwrap();
        }
    }
}
