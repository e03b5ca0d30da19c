//! The job server's logic: requests in, replies out. No IO, no clock.
//!
//! A job's path: `submit` accepts it and wakes sleeping workers; `work` assigns it to the worker that grabs it,
//! forwards what the worker reports and forgets the job at its end. If its worker disconnects, the job is requeued.

mod admin;
mod error_reply;
mod functions;
mod jobs;
mod submit;
mod work;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod walk;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::reply::ServerReply;
use crate::gearman::packet::{Request, answer};
use error_reply::ErrorReply;
use functions::FunctionQueues;
use jobs::{QueueName, QueuedJobId, QueuedJobs};
use work::AssignmentDetail;

/// gearmand truncates a client's id here.
const LONGEST_ID: usize = 127;

/// Longer function names are refused. gearmand has no limit, libgearman's is 512.
const LONGEST_NAME: usize = 2048;

/// The most functions a connection may register; one registered twice counts twice.
const MAX_OFFERS: usize = 10_000;

/// gearmand's clients allow handles of at most 63 bytes: `H:`, this, `:` and a number.
const LONGEST_HOST: usize = 40;

/// A connection, by a number that is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// What to send to which connection. Replies to one connection are sent in this order.
pub type ServerReplies = Vec<(ConnectionId, ServerReply)>;

/// How much the server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Jobs, and clients waiting for jobs.
    pub queued: usize,
    /// Bytes that the jobs hold.
    pub held: usize,
}

/// How the server presents itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerIdentity {
    /// The host in its handles: `H:host:1`.
    pub host: String,
    /// What `version` says.
    pub version: String,
    /// What `getpid` says.
    pub pid: u32,
}

/// The state of a job server.
pub struct ServerCore {
    identity: ServerIdentity,
    limits: ServerLimits,
    connections: BTreeMap<ConnectionId, Peer>,
    functions: FunctionQueues,
    jobs: QueuedJobs,
    /// How many times a client waits for a job, over all jobs.
    waiting: usize,
}

/// A peer: a worker, a client, or both.
struct Peer {
    address: IpAddr,
    /// The name it gave itself.
    id: Vec<u8>,
    /// The functions it registered, in that order.
    offers: Vec<QueueName>,
    /// The jobs assigned to it, in that order.
    running: Vec<QueuedJobId>,
    /// The jobs it waits for.
    waits_for: BTreeSet<QueuedJobId>,
    sleep: Sleep,
    /// It asked for exceptions.
    exceptions: bool,
}

/// Whether to wake a worker for new jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sleep {
    Awake,
    /// It sent PRE_SLEEP.
    Asleep,
    /// It was sent a NOOP and gets no other until it grabs, even if it sleeps again.
    Woken,
}

impl ServerCore {
    /// A server without connections.
    #[must_use]
    pub fn new(identity: ServerIdentity, limits: ServerLimits) -> Self {
        let host: String = identity.host.chars().filter(char::is_ascii_graphic).take(LONGEST_HOST).collect();
        let (connections, functions, jobs) =
            (BTreeMap::new(), FunctionQueues::default(), QueuedJobs::new(format!("H:{host}")));
        Self { identity, limits, connections, functions, jobs, waiting: 0 }
    }

    /// A connection was made.
    pub fn opened(&mut self, id: ConnectionId, address: IpAddr) {
        let connection = Peer {
            address,
            id: b"-".to_vec(),
            offers: Vec::new(),
            running: Vec::new(),
            waits_for: BTreeSet::new(),
            sleep: Sleep::Awake,
            exceptions: false,
        };
        self.connections.insert(id, connection);
    }

    /// A connection ended: requeues its jobs at once, and drops those that only it waited for.
    pub fn closed(&mut self, id: ConnectionId) -> ServerReplies {
        let mut out = ServerReplies::new();
        self.take_back_all(id, &mut out);
        self.stop_waiting(id);
        self.connections.remove(&id);
        out
    }

    /// A packet arrived. Does nothing if the connection is unknown.
    pub fn handle(&mut self, from: ConnectionId, request: Request<'_>) -> ServerReplies {
        let mut out = ServerReplies::new();
        if !self.connections.contains_key(&from) {
            return out;
        }
        match request {
            Request::CanDo { function } | Request::CanDoTimeout { function, .. } => {
                self.offer(from, c_string(function), &mut out);
            }
            Request::CantDo { function } => self.take_back(from, c_string(function), &mut out),
            Request::ResetAbilities => self.take_back_all(from, &mut out),
            Request::PreSleep => self.sleep(from, &mut out),
            Request::GrabJob => self.grab(from, AssignmentDetail::Least, &mut out),
            Request::GrabJobUniq => self.grab(from, AssignmentDetail::Unique, &mut out),
            Request::GrabJobAll => self.grab(from, AssignmentDetail::All, &mut out),
            Request::SetClientId(id) => self.set_client_id(from, c_string(id)),
            Request::WorkStatus { handle, done, of } => self.work_status(from, handle, done, of, &mut out),
            Request::WorkData { handle, data } => {
                self.relay(from, handle, data, answer::work_data_head, &mut out);
            }
            Request::WorkWarning { handle, data } => {
                self.relay(from, handle, data, answer::work_warning_head, &mut out);
            }
            Request::WorkComplete { handle, data } => self.complete(from, handle, data, &mut out),
            Request::WorkFail { handle } => self.fail(from, handle, &mut out),
            Request::WorkException { handle, data } => self.raise(from, handle, data, &mut out),
            Request::Submit { how, job } => self.submit(from, how, &job, b"", &mut out),
            Request::SubmitReduce { how, job, reducer } => self.submit(from, how, &job, reducer, &mut out),
            Request::GetStatus { handle } => self.send_status(from, c_string(handle), &mut out),
            Request::GetStatusUnique { unique } => self.send_status_unique(from, c_string(unique), &mut out),
            Request::EchoReq(data) => out.push((from, ServerReply::packet(|buf| answer::echo_res(buf, data)))),
            Request::OptionReq(option) => self.set_option(from, c_string(option), &mut out),
            Request::AllYours | Request::SubmitSched { .. } => refuse(from, ErrorReply::NOT_EXPECTED, &mut out),
        }
        out
    }

    /// Answers a line of the administrative protocol.
    #[must_use]
    pub fn command(&self, line: &[u8]) -> ServerReply {
        ServerReply::text(self.answer_command(line))
    }

    /// When the next delayed job is due, in seconds since 1970: then call [`release`](Self::release).
    #[must_use]
    pub fn next_due(&self) -> Option<u64> {
        self.jobs.next_due()
    }

    /// Queues the jobs that are due at that time.
    pub fn release(&mut self, now: u64) -> ServerReplies {
        let mut out = ServerReplies::new();
        while let Some(id) = self.jobs.take_due(now) {
            self.enqueue(id, &mut out);
        }
        out
    }

    fn set_client_id(&mut self, from: ConnectionId, id: &[u8]) {
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.id = id[..id.len().min(LONGEST_ID)].to_vec();
        }
    }

    fn set_option(&mut self, from: ConnectionId, option: &[u8], out: &mut ServerReplies) {
        if !option.eq_ignore_ascii_case(b"exceptions") {
            return refuse(from, ErrorReply::UNKNOWN_OPTION, out);
        }
        if let Some(connection) = self.connections.get_mut(&from) {
            connection.exceptions = true;
        }
        out.push((from, ServerReply::packet(|buf| answer::option_res(buf, option))));
    }
}

fn refuse(to: ConnectionId, refusal: ErrorReply, out: &mut ServerReplies) {
    out.push((to, refusal.answer()));
}

/// Up to the first NUL, as gearmand reads names, handles and uniques.
fn c_string(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}
