//! What `gm-native status` shows of workers.

use std::time::Duration;

use super::Effects;
use super::children::{ChildKind, WorkerHandle};
use super::status::text;
use crate::control::{WorkerCondition, WorkerCounts, WorkerStatus};
use crate::scoreboard::Snapshot;
use crate::supervisor::core::{Core, WorkerView};
use crate::supervisor::reconcile::WorkerId;
use crate::supervisor::worker_state::WorkerState;
use crate::system::process;

impl Effects {
    /// How many workers there are; reads each scoreboard once.
    pub(super) fn worker_counts(&self, core: &Core) -> WorkerCounts {
        let mut counts = WorkerCounts::default();
        for (id, state) in core.worker_states() {
            let seen = self.handle(id).map(|worker| worker.scoreboard.read());
            let condition = condition(core, id, state, seen.as_ref());
            let is_ready = matches!(condition, WorkerCondition::Idle | WorkerCondition::Busy);
            let is_busy = condition == WorkerCondition::Busy || seen.is_some_and(|seen| seen.job.is_some());
            counts.all += 1;
            counts.ready += usize::from(is_ready);
            counts.busy += usize::from(is_busy);
            counts.ready_or_busy += usize::from(is_ready || is_busy);
        }
        counts
    }

    pub(super) fn worker(&self, core: &Core, view: WorkerView, now: Duration) -> WorkerStatus {
        let worker = self.handle(view.id);
        let seen = worker.map(|worker| worker.scoreboard.read());
        let state = condition(core, view.id, view.state, seen.as_ref());
        // The other times are not believed either.
        let intact = worker.filter(|_| seen.as_ref().is_some_and(|seen| !seen.overwritten));
        let ended = intact.and_then(|worker| worker.scoreboard.last_job_ended());
        let received = intact.and_then(|worker| worker.scoreboard.received());
        let job = seen.as_ref().and_then(|seen| seen.job.as_ref());
        let job_began = job.map(|job| Duration::from_nanos(job.started_ns));
        let since = match state {
            WorkerCondition::Busy => job_began.unwrap_or(view.since),
            WorkerCondition::Idle => ended.map_or(view.since, |ended| ended.max(view.since)),
            _ => view.since,
        };
        let ago = |at: Duration| now.saturating_sub(at).as_secs_f64();
        WorkerStatus {
            pid: view.pid.cast_unsigned(),
            state,
            state_seconds: ago(since),
            functions: view.functions.iter().map(|version| version.function.clone()).collect(),
            versions: view.functions.iter().map(|version| version.hash).collect(),
            current_function: job.and_then(|job| worker?.functions.get(job.function).cloned()),
            handle: job.and_then(|job| text(job.handle.as_deref())),
            unique: job.and_then(|job| text(job.unique.as_deref())),
            job_seconds: job_began.map(ago),
            generation: view.generation,
            jobs: intact.map_or(0, jobs),
            started_seconds_ago: now.saturating_sub(view.born).as_secs(),
            memory_bytes: process::resident(view.pid),
            last_job_ended_seconds_ago: ended.map(ago),
            last_server_contact_seconds_ago: received.map(ago),
        }
    }

    fn handle(&self, id: WorkerId) -> Option<&WorkerHandle> {
        match &self.children.get(self.workers.get(&id)?)?.kind {
            ChildKind::Worker(worker) => Some(worker),
            _ => None,
        }
    }
}

/// Jobs that it has run to their end.
fn jobs(worker: &WorkerHandle) -> u64 {
    let counters = (0..worker.functions.len()).map(|index| worker.scoreboard.intact_counters(index));
    counters.fold(0, |sum, counters| sum.saturating_add(counters.jobs()))
}

fn condition(core: &Core, id: WorkerId, state: WorkerState, seen: Option<&Snapshot>) -> WorkerCondition {
    let has_job = seen.is_some_and(|seen| seen.activity.has_job());
    match state.condition(has_job) {
        WorkerCondition::Idle if core.is_cut_off(id) => WorkerCondition::CutOff,
        condition => condition,
    }
}
