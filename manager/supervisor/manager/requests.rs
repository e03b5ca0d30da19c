//! What clients ask for over the control socket.
//!
//! What changes a function's version waits until the manager has seen what the worker directories hold now: its client may
//! have changed them a moment ago, and speaks of what is there.

use std::time::{Duration, SystemTime};

use super::Manager;
use crate::control::{
    AcceptedReply, CalledOffFile, ControlRequest, JoinedRollback, PendingRequest, Reply, Requester, RollbackReply,
    StatusReply,
};
use crate::logging::date;
use crate::plugins::name::FunctionName;
use crate::supervisor::core::{Input, Order, RequestOrigin};
use crate::supervisor::effects::manager_state;
use crate::supervisor::event::{Event, ReceivedRequest};
use crate::supervisor::pause_records::Pause;
use crate::supervisor::rollback::{PendingFile, RollbackRequest};
use crate::system::clock;

/// How long a request waits for a copy that is under way: it may be one without end.
const QUIET: Duration = Duration::from_secs(2);
/// How much of a time is in a pause: `2026-11-24 12:00:00`.
const SECONDS: usize = 19;
/// How long it waits in all: the file system of a worker directory may hang.
const LOOK: Duration = Duration::from_secs(4);

/// Requests that wait for a look at the worker directories.
#[derive(Default)]
pub(super) struct WaitingRequests {
    requests: Vec<WaitingRequest>,
    /// The number of the latest request that is logged.
    last_request: u64,
}

struct WaitingRequest {
    request: PendingRequest,
    since: Duration,
    /// The look that it waits for is under way. Before that, it waits until nothing is being written.
    is_looking: bool,
}

impl WaitingRequest {
    /// Until when it waits at most.
    fn until(&self) -> Duration {
        self.since.saturating_add(if self.is_looking { LOOK } else { QUIET })
    }
}

impl WaitingRequests {
    /// When the first of them waits no longer for what it waits for.
    pub(super) fn due(&self) -> Option<Duration> {
        self.requests.iter().map(WaitingRequest::until).min()
    }
}

impl Manager {
    /// Answers a request, or lets it wait.
    pub(super) fn request(&mut self, request: PendingRequest) {
        match request.request {
            ControlRequest::Retry { .. } | ControlRequest::Rollback { .. } => {
                self.waiting.requests.push(WaitingRequest { request, since: clock::now(), is_looking: false });
            }
            _ => self.answer(request),
        }
    }

    /// Has the worker directories read for the requests that wait for it, and answers those that have waited enough.
    pub(super) fn answer_waiting(&mut self, now: Duration) {
        let is_quiet = self.settle.is_none();
        let mut looks = false;
        for waiting in
            self.waiting.requests.iter_mut().filter(|one| !one.is_looking && (is_quiet || now >= one.until()))
        {
            (waiting.is_looking, looks) = (true, true);
        }
        if looks {
            self.input(Input::Changed);
        }
        let is_seen = !self.effects.is_scanning();
        let is_ready = |one: &mut WaitingRequest| one.is_looking && (is_seen || now >= one.until());
        let ready: Vec<WaitingRequest> = self.waiting.requests.extract_if(.., is_ready).collect();
        ready.into_iter().for_each(|waiting| self.answer(waiting.request));
    }

    fn answer(&mut self, incoming: PendingRequest) {
        let PendingRequest { request, requester, reply } = incoming;
        // The client may be gone by now.
        let _ = reply.send(self.reply(request, &requester).unwrap_or_else(Reply::refused));
    }

    /// Carries out a request; or one sentence: why it is refused.
    fn reply(&mut self, request: ControlRequest, by: &Requester) -> Result<Reply, String> {
        Ok(match request {
            ControlRequest::Status { workers } => Reply::Status(Box::new(self.status(workers))),
            ControlRequest::Ping => {
                let state = manager_state(&self.core).label();
                Reply::Done(format!("the manager (pid {}) is {state}", std::process::id()))
            }
            ControlRequest::Output { pid } => {
                let lines = self.effects.recent_output(pid);
                Reply::Output(lines.ok_or_else(|| format!("there is no worker {pid}"))?)
            }
            ControlRequest::Versions => Reply::Versions(self.effects.versions(&self.core)),
            ControlRequest::Retry { function } => self.retry(&function, by)?,
            ControlRequest::Rollback { function, hash, force } => {
                self.roll_back(&function, hash.as_deref(), force, by)?
            }
            ControlRequest::ClearAttempts(of) => {
                let text = format!("{}: the job gets all its attempts again", of.function);
                self.input(Input::ClearAttempts(of));
                Reply::Done(text)
            }
            ControlRequest::Restart { function } => self.restart(function.as_ref(), by)?,
            ControlRequest::Kill { pid, handle } => self.end_job(pid, handle.as_deref(), by)?,
            ControlRequest::Pause { function, drain } => self.pause(&function, drain, by)?,
            ControlRequest::Resume { function } => self.resume(&function, by)?,
            ControlRequest::Scale { function, workers } => self.scale(&function, workers, by)?,
            ControlRequest::Reload => self.reload_on_request(by)?,
            ControlRequest::Stop => self.stop_on_request(by),
            ControlRequest::LogLevel { level, milliseconds } => {
                self.change_log_level(level, milliseconds.map(Duration::from_millis), by)?
            }
            ControlRequest::Events { .. } => return Err("the feed answers this".into()),
        })
    }

    fn status(&mut self, with_workers: bool) -> StatusReply {
        let mut status = self.effects.status(&self.core, &self.instance, with_workers);
        status.warnings.extend(self.places.failures().cloned());
        status.failed_reload = self.reloads.failed(clock::now());
        status
    }

    /// The number of another request, which is logged.
    pub(super) fn received(&mut self, command: &'static str, target: Option<String>, by: &Requester) -> u64 {
        self.waiting.last_request += 1;
        let request = self.waiting.last_request;
        let (user, uid) = (by.to_string(), by.uid);
        self.effects.report(&Event::RequestReceived(ReceivedRequest { request, command, target, user, uid }));
        request
    }

    fn retry(&mut self, function: &str, by: &Requester) -> Result<Reply, String> {
        let function = self.core.may_retry(function)?;
        // Two at the same time wait for the same.
        let under_way = self.core.retry_under_way(&function);
        let request = under_way.unwrap_or_else(|| self.received("retry", Some(function.to_string()), by));
        self.input(Input::Retry { function, asked: RequestOrigin { request, uid: by.uid } });
        Ok(Reply::Accepted(AcceptedReply { request, begun: String::new() }))
    }

    fn restart(&mut self, function: Option<&FunctionName>, by: &Requester) -> Result<Reply, String> {
        let order = self.core.may_restart(function.map(FunctionName::as_str))?;
        let begun = match function {
            Some(function) => format!("the workers of {function} are being replaced"),
            None => "all workers are being replaced".into(),
        };
        Ok(self.order(order, begun, by))
    }

    fn pause(&mut self, function: &str, drains: bool, by: &Requester) -> Result<Reply, String> {
        let function = self.core.may_pause(function)?;
        let since: String = date(SystemTime::now()).chars().take(SECONDS).collect();
        let begun = format!("{function} is being paused");
        let pause = Pause { by: by.to_string(), since };
        Ok(self.order(Order::Pause { function, pause, drains }, begun, by))
    }

    fn resume(&mut self, function: &str, by: &Requester) -> Result<Reply, String> {
        let function = self.core.may_resume(function)?;
        let begun = format!("{function} is being resumed");
        Ok(self.order(Order::Resume(function), begun, by))
    }

    fn scale(&mut self, function: &str, workers: u32, by: &Requester) -> Result<Reply, String> {
        let order = self.core.may_scale(function, workers)?;
        Ok(self.order(order, format!("{function} is being scaled to {workers}"), by))
    }

    /// Logs an order, and has the core carry it out.
    pub(super) fn order(&mut self, order: Order, begun: String, by: &Requester) -> Reply {
        let request = self.received(order.command(), Some(order.target()), by);
        self.input(Input::Request { request, order });
        Reply::Accepted(AcceptedReply { request, begun })
    }

    fn stop_on_request(&mut self, by: &Requester) -> Reply {
        let request = self.received("stop", None, by);
        // A further request waits for the same stop. Unlike a further signal, it does not count towards those that kill.
        if !self.core.is_draining() {
            self.input(Input::Stop { by: "stop" });
        }
        Reply::Accepted(AcceptedReply { request, begun: "the manager is stopping".into() })
    }

    fn roll_back(&mut self, function: &str, hash: Option<&str>, force: bool, by: &Requester) -> Result<Reply, String> {
        let function = self.core.may_roll_back(function)?;
        let (version, target) =
            self.effects.rollback_target(&self.core, RollbackRequest { function: &function, hash, force })?;
        // One that leads to the same version has the number of the one under way: they end together.
        let under_way = self.core.rollback_under_way(&function).filter(|one| one.version == version.hash);
        let under_way = under_way.map(|one| (one.asked, clock::now().saturating_sub(one.since)));
        let asked = under_way.map_or_else(
            || {
                let request = self.received("rollback", Some(format!("{function} to version {}", version.hash)), by);
                RequestOrigin { request, uid: by.uid }
            },
            |(asked, _)| asked,
        );
        let joined = under_way.filter(|_| target.joins);
        let off = |PendingFile { path, version }| CalledOffFile { path, version };
        let reply = RollbackReply {
            request: asked.request,
            joined: joined.map(|(first, ago)| JoinedRollback { uid: first.uid, seconds_ago: ago.as_secs_f64() }),
            version: version.hash,
            from: self.core.served(&function),
            rejected: target.rejected,
            called_off: target.called_off.map(off),
        };
        if joined.is_none() {
            self.input(Input::Rollback { function, version, asked });
        }
        Ok(Reply::RolledBack(reply))
    }
}
