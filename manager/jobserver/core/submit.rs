//! Requests of clients: submit a job, ask for a job's status.

use super::error_reply::ErrorReply;
use super::jobs::{CoalesceKey, QueueName, QueuedJob, QueuedJobId, QueuedJobState};
use super::{ConnectionId, LONGEST_NAME, ServerCore, ServerReplies, ServerReply, Sleep, refuse};
use crate::gearman::packet::{JobStatus, Priority, Submission, SubmittedJob, answer};

/// gearmand's limit.
const LONGEST_UNIQUE: usize = 64;

impl ServerCore {
    /// Accepts a job, or adds its client to the same job's.
    pub(super) fn submit(
        &mut self,
        from: ConnectionId,
        how: Submission,
        job: &SubmittedJob<'_>,
        reducer: &[u8],
        out: &mut ServerReplies,
    ) {
        match self.accept(from, how, job, reducer, out) {
            Ok(id) => {
                let handle = self.jobs.handle(id);
                out.push((from, ServerReply::packet(|buf| answer::job_created(buf, &handle))));
            }
            Err(refusal) => refuse(from, refusal, out),
        }
    }

    fn accept(
        &mut self,
        from: ConnectionId,
        how: Submission,
        job: &SubmittedJob<'_>,
        reducer: &[u8],
        out: &mut ServerReplies,
    ) -> Result<QueuedJobId, ErrorReply> {
        if job.unique.len() > LONGEST_UNIQUE {
            return Err(ErrorReply::UNIQUE_TOO_LONG);
        }
        if job.function.len().max(reducer.len()) > LONGEST_NAME {
            return Err(ErrorReply::NAME_TOO_LONG);
        }
        let waits = matches!(how, Submission::Foreground(_));
        let function = self.functions.reach(job.function).ok_or(ErrorReply::TOO_MANY_NAMES)?;
        let merge = CoalesceKey::of(job);
        let there = merge.clone().and_then(|merge| self.jobs.merged(merge, &function));
        let more = usize::from(there.is_none()) + usize::from(waits);
        if more > self.limits.queued.saturating_sub(self.jobs.count() + self.waiting) {
            return Err(ErrorReply::QUEUE_FULL);
        }
        let id = match there {
            Some(id) => id,
            None => self.create(how, function, merge, job, reducer)?,
        };
        match self.jobs.get_mut(id) {
            Some(_) if waits => self.wait_for(from, id),
            // A client that got JOB_CREATED and disconnected relies on it, even if another client waits for the job.
            Some(job) => job.background = true,
            None => {}
        }
        if there.is_none() {
            match how {
                Submission::At(seconds) => self.jobs.put_off(id, seconds),
                Submission::Foreground(_) | Submission::Background(_) => self.enqueue(id, out),
            }
        }
        Ok(id)
    }

    fn create(
        &mut self,
        how: Submission,
        function: QueueName,
        merge: Option<CoalesceKey>,
        job: &SubmittedJob<'_>,
        reducer: &[u8],
    ) -> Result<QueuedJobId, ErrorReply> {
        let held = job.workload.len() + job.unique.len() + reducer.len();
        if held > self.limits.held.saturating_sub(self.jobs.held()) {
            return Err(ErrorReply::QUEUE_FULL);
        }
        if let Some(function) = self.functions.get_mut(&function) {
            function.total += 1;
        }
        let mut new = QueuedJob::new(function, merge, job);
        new.reducer = reducer.into();
        (new.priority, new.background) = match how {
            Submission::Foreground(priority) => (priority, false),
            Submission::Background(priority) => (priority, true),
            Submission::At(_) => (Priority::Normal, true),
        };
        Ok(self.jobs.insert(new))
    }

    fn wait_for(&mut self, client: ConnectionId, id: QueuedJobId) {
        let (Some(connection), Some(job)) = (self.connections.get_mut(&client), self.jobs.get_mut(id)) else { return };
        connection.waits_for.insert(id);
        job.waiting.push(client);
        self.waiting += 1;
    }

    /// Queues a job that no worker has, and wakes the sleeping workers of its function.
    pub(super) fn enqueue(&mut self, id: QueuedJobId, out: &mut ServerReplies) {
        let Some(job) = self.jobs.get_mut(id) else { return };
        job.state = QueuedJobState::Queued(self.functions.queue(&job.function, job.priority, id));
        let workers = self.functions.get(&job.function).map_or(&[][..], |function| &function.workers);
        for worker in workers {
            let Some(connection) = self.connections.get_mut(worker) else { continue };
            if connection.sleep == Sleep::Asleep {
                connection.sleep = Sleep::Woken;
                out.push((*worker, ServerReply::noop()));
            }
        }
    }

    /// A client disconnected. Drops the jobs that no one waits for any more, unless a worker has them.
    pub(super) fn stop_waiting(&mut self, client: ConnectionId) {
        let Some(connection) = self.connections.get_mut(&client) else { return };
        for id in std::mem::take(&mut connection.waits_for) {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            let before = job.waiting.len();
            job.waiting.retain(|waiting| *waiting != client);
            self.waiting -= before - job.waiting.len();
            if job.is_abandoned() && !matches!(job.state, QueuedJobState::Running(_)) {
                self.forget(id);
            }
        }
    }

    /// A job has ended or is dropped. Returns the clients that waited for it.
    pub(super) fn forget(&mut self, id: QueuedJobId) -> Vec<ConnectionId> {
        let Some(job) = self.jobs.remove(id) else { return Vec::new() };
        if let Some(function) = self.functions.get_mut(&job.function) {
            function.total -= 1;
            match job.state {
                QueuedJobState::Queued(place) => function.unqueue(place),
                QueuedJobState::Running(_) => function.running -= 1,
                QueuedJobState::Loose | QueuedJobState::Later(_) => {}
            }
        }
        if let QueuedJobState::Running(worker) = job.state
            && let Some(connection) = self.connections.get_mut(&worker)
        {
            connection.running.retain(|running| *running != id);
        }
        self.waiting -= job.waiting.len();
        for client in &job.waiting {
            if let Some(connection) = self.connections.get_mut(client) {
                connection.waits_for.remove(&id);
            }
        }
        job.waiting
    }

    pub(super) fn send_status(&mut self, from: ConnectionId, handle: &[u8], out: &mut ServerReplies) {
        let status = self.status_of(self.jobs.find(handle));
        out.push((from, ServerReply::packet(|buf| answer::status_res(buf, handle, status))));
    }

    pub(super) fn send_status_unique(&mut self, from: ConnectionId, unique: &[u8], out: &mut ServerReplies) {
        let id = self.jobs.find_unique(unique);
        let waiting = id.and_then(|id| self.jobs.get(id)).map_or(0, |job| job.waiting.len() as u64);
        let status = self.status_of(id);
        out.push((from, ServerReply::packet(|buf| answer::status_res_unique(buf, unique, status, waiting))));
    }

    fn status_of(&self, id: Option<QueuedJobId>) -> JobStatus {
        match id.and_then(|id| self.jobs.get(id)) {
            None => JobStatus { known: false, running: false, done: 0, of: 0 },
            Some(job) => {
                let running = matches!(job.state, QueuedJobState::Running(_));
                JobStatus { known: true, running, done: job.done, of: job.of }
            }
        }
    }
}
