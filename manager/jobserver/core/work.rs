//! Requests of workers: register functions, grab jobs, sleep, and report on a job.

use std::rc::Rc;

use super::error_reply::ErrorReply;
use super::jobs::{QueueName, QueuedJobId, QueuedJobState};
use super::{ConnectionId, LONGEST_NAME, MAX_OFFERS, ServerCore, ServerReplies, ServerReply, Sleep, c_string, refuse};
use crate::gearman::packet::{ArgumentError, AssignedJob, answer};

/// How much of a job the worker asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AssignmentDetail {
    Least,
    Unique,
    /// Its reducer too, if it has one.
    All,
}

/// An encoder of a packet that is a handle and data.
type Head = fn(&mut Vec<u8>, &[u8], usize) -> Result<(), ArgumentError>;

impl ServerCore {
    /// A worker registers a function. Registered twice it counts twice, as in gearmand.
    pub(super) fn offer(&mut self, from: ConnectionId, function: &[u8], out: &mut ServerReplies) {
        if function.len() > LONGEST_NAME {
            return refuse(from, ErrorReply::NAME_TOO_LONG, out);
        }
        let Some(connection) = self.connections.get_mut(&from) else { return };
        let name = match self.functions.reach(function) {
            Some(name) if connection.offers.len() < MAX_OFFERS => name,
            _ => return refuse(from, ErrorReply::TOO_MANY_NAMES, out),
        };
        if let Some(function) = self.functions.get_mut(&name) {
            function.workers.push(from);
            connection.offers.push(name);
        }
    }

    /// A worker unregisters a function: its jobs of that function are requeued, as gearmand does.
    pub(super) fn take_back(&mut self, from: ConnectionId, function: &[u8], out: &mut ServerReplies) {
        let Some(connection) = self.connections.get_mut(&from) else { return };
        connection.offers.retain(|offered| **offered != *function);
        if let Some(function) = self.functions.get_mut(function) {
            function.workers.retain(|worker| *worker != from);
        }
        let of_function = |id: &QueuedJobId| self.jobs.get(*id).is_some_and(|job| *job.function == *function);
        let (again, kept) = std::mem::take(&mut connection.running).into_iter().partition(of_function);
        connection.running = kept;
        self.queue_again(again, out);
    }

    /// A worker unregisters all functions, or disconnected.
    pub(super) fn take_back_all(&mut self, from: ConnectionId, out: &mut ServerReplies) {
        let Some(connection) = self.connections.get_mut(&from) else { return };
        let mut offers: Vec<QueueName> = std::mem::take(&mut connection.offers);
        let again = std::mem::take(&mut connection.running);
        offers.sort_unstable();
        offers.dedup();
        for name in offers {
            if let Some(function) = self.functions.get_mut(&name) {
                function.workers.retain(|worker| *worker != from);
            }
        }
        self.queue_again(again, out);
    }

    /// Requeues jobs that a worker had, the last one first, as gearmand does. Drops those that no client waits for.
    fn queue_again(&mut self, again: Vec<QueuedJobId>, out: &mut ServerReplies) {
        for id in again.into_iter().rev() {
            let Some(job) = self.jobs.get_mut(id) else { continue };
            if job.is_abandoned() {
                self.forget(id);
                continue;
            }
            job.state = QueuedJobState::Loose;
            (job.done, job.of) = (0, 0);
            if let Some(function) = self.functions.get_mut(&job.function) {
                function.running -= 1;
            }
            self.enqueue(id, out);
        }
    }

    /// A worker wants a NOOP for the next job: at once if there is one.
    pub(super) fn sleep(&mut self, from: ConnectionId, out: &mut ServerReplies) {
        let Some(connection) = self.connections.get_mut(&from) else { return };
        let mut offered = connection.offers.iter().filter_map(|name| self.functions.get(name));
        if offered.any(|function| function.has_work()) {
            out.push((from, ServerReply::noop()));
        } else if connection.sleep == Sleep::Awake {
            connection.sleep = Sleep::Asleep;
        }
    }

    /// Assigns the next job to a worker: of the function it registered last that has any, with the highest priority.
    pub(super) fn grab(&mut self, from: ConnectionId, telling: AssignmentDetail, out: &mut ServerReplies) {
        let Some(connection) = self.connections.get_mut(&from) else { return };
        connection.sleep = Sleep::Awake;
        let taken = connection.offers.iter().rev().find_map(|name| {
            let function = self.functions.get_mut(name)?;
            let id = function.take()?;
            function.running += 1;
            Some(id)
        });
        let Some((id, job)) = taken.and_then(|id| Some((id, self.jobs.get_mut(id)?))) else {
            return out.push((from, ServerReply::no_job()));
        };
        job.state = QueuedJobState::Running(from);
        connection.running.push(id);
        let handle = self.jobs.handle(id);
        let Some(job) = self.jobs.get(id) else { return };
        let assigned =
            AssignedJob { handle: &handle, function: &job.function, unique: &job.unique, workload: &job.workload };
        let assign = ServerReply::packet(|buf| match telling {
            AssignmentDetail::Least => answer::job_assign(buf, &assigned),
            AssignmentDetail::All if !job.reducer.is_empty() => answer::job_assign_all(buf, &assigned, &job.reducer),
            AssignmentDetail::Unique | AssignmentDetail::All => answer::job_assign_uniq(buf, &assigned),
        });
        out.push((from, assign));
    }

    /// The job of a handle, if this worker has it.
    fn job_of(&self, from: ConnectionId, handle: &[u8]) -> Option<QueuedJobId> {
        let id = self.jobs.find(handle)?;
        (self.jobs.get(id)?.state == QueuedJobState::Running(from)).then_some(id)
    }

    /// Progress.
    pub(super) fn work_status(
        &mut self,
        from: ConnectionId,
        handle: &[u8],
        done: u64,
        of: u64,
        out: &mut ServerReplies,
    ) {
        let running = self.job_of(from, handle).and_then(|id| self.jobs.get_mut(id));
        let Some(job) = running else { return refuse(from, ErrorReply::NOT_YOUR_JOB, out) };
        (job.done, job.of) = (done, of);
        let status = ServerReply::packet(|buf| answer::work_status(buf, handle, done, of));
        out.extend(job.waiting.iter().map(|client| (*client, status.clone())));
    }

    /// Data or a warning of a running job.
    pub(super) fn relay(
        &mut self,
        from: ConnectionId,
        handle: &[u8],
        data: &[u8],
        head: Head,
        out: &mut ServerReplies,
    ) {
        let running = self.job_of(from, handle).and_then(|id| self.jobs.get(id));
        let Some(job) = running else { return refuse(from, ErrorReply::NO_SUCH_JOB, out) };
        send_to_all(&job.waiting, handle, data, head, out);
    }

    /// A result.
    pub(super) fn complete(&mut self, from: ConnectionId, handle: &[u8], data: &[u8], out: &mut ServerReplies) {
        let Some(id) = self.job_of(from, handle) else { return refuse(from, ErrorReply::NOT_YOUR_JOB, out) };
        send_to_all(&self.forget(id), handle, data, answer::work_complete_head, out);
    }

    /// A failure. The client gets the packet as the worker sent it: with a NUL at its end, if it had one.
    pub(super) fn fail(&mut self, from: ConnectionId, packet: &[u8], out: &mut ServerReplies) {
        let handle = c_string(packet);
        let Some(id) = self.job_of(from, handle) else { return refuse(from, ErrorReply::NOT_YOUR_JOB, out) };
        let failure =
            if packet.len() > handle.len() { ServerReply::fail_with_nul(handle) } else { ServerReply::fail(handle) };
        out.extend(self.forget(id).into_iter().map(|client| (client, failure.clone())));
    }

    /// A failure with data. A client that did not ask for exceptions gets gearmand's failure, whose handle ends in a
    /// NUL.
    pub(super) fn raise(&mut self, from: ConnectionId, handle: &[u8], data: &[u8], out: &mut ServerReplies) {
        let Some(id) = self.job_of(from, handle) else { return refuse(from, ErrorReply::NO_SUCH_JOB_RAISES, out) };
        let waited = self.forget(id);
        let asked = |client: &ConnectionId| self.connections.get(client).is_some_and(|client| client.exceptions);
        let (with_exceptions, others): (Vec<_>, Vec<_>) = waited.into_iter().partition(asked);
        send_to_all(&with_exceptions, handle, data, answer::work_exception_head, out);
        out.extend(others.into_iter().map(|client| (client, ServerReply::fail_with_nul(handle))));
    }
}

/// Sends the same packet to each client.
fn send_to_all(clients: &[ConnectionId], handle: &[u8], data: &[u8], head: Head, out: &mut ServerReplies) {
    if clients.is_empty() {
        return;
    }
    let data = Rc::from(data);
    let packet = ServerReply::with_data(&data, |buf, len| head(buf, handle, len));
    out.extend(clients.iter().map(|client| (*client, packet.clone())));
}
