//! The job servers, as the workers see them.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::worker_record::EarlyRetirement;
use super::{Action, Core, WorkerRecord};
use crate::config::JobServerAddress;
use crate::gearman::admin::ServerVersion;
use crate::supervisor::event::Event;
use crate::supervisor::reconcile::WorkerId;

/// The time between two reports of lost wake-ups at one server: jobs for a later time look the same, and may be many.
const WAKE_UP_REPORTS: Duration = Duration::from_secs(600);

/// How many reports of a worker that it is cut off make it one to replace. The first may come just after the others
/// have found their server again.
const CUT_OFF_REPORTS: u32 = 2;

/// One job server.
#[derive(Debug)]
pub(crate) struct JobServerState {
    /// As configured.
    pub name: String,
    host: JobServerAddress,
    /// Whether it is in the configuration. Indices in the list are never reused, because old workers still report about
    /// the servers they were started with.
    used: bool,
    /// What its name resolved to last.
    pub addresses: Vec<SocketAddr>,
    /// Whether it is an IP address, which needs no look-up.
    literal: bool,
    pub(super) resolving: bool,
    up: BTreeSet<WorkerId>,
    /// Workers whose connection it accepted but does not answer.
    unresponsive: BTreeSet<WorkerId>,
    /// Whether it was reported that it answers only some workers.
    partly_reported: bool,
    reported: ReportedState,
    /// When a worker last lost its connection to it.
    last_answer: Option<Duration>,
    /// Whether it was asked for its version since it came up.
    asked: bool,
    lost_wake_ups: LostWakeUps,
}

/// Jobs that waited at a server until a sleeping worker asked by itself.
#[derive(Debug, Default)]
struct LostWakeUps {
    all: u64,
    unreported: u64,
    /// When they may be reported again.
    report_at: Duration,
}

impl LostWakeUps {
    /// One more. Returns how many there were since the last report, if it is time for another.
    fn count(&mut self, now: Duration) -> Option<u64> {
        self.all = self.all.saturating_add(1);
        self.unreported = self.unreported.saturating_add(1);
        if now < self.report_at {
            return None;
        }
        self.report_at = now.saturating_add(WAKE_UP_REPORTS);
        Some(std::mem::take(&mut self.unreported))
    }
}

/// What was last reported of a job server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ReportedState {
    Nothing,
    Up { since: Duration },
    Down { since: Duration, reason: String },
}

impl ReportedState {
    fn is_up(&self) -> bool {
        matches!(self, Self::Up { .. })
    }

    fn is_down(&self) -> bool {
        matches!(self, Self::Down { .. })
    }
}

impl JobServerState {
    pub(super) fn new(host: &JobServerAddress) -> Self {
        let address: Option<IpAddr> = host.host.parse().ok();
        Self {
            name: host.to_string(),
            host: host.clone(),
            used: true,
            addresses: address.map(|ip| SocketAddr::new(ip, host.port)).into_iter().collect(),
            literal: address.is_some(),
            resolving: address.is_none(),
            up: BTreeSet::new(),
            unresponsive: BTreeSet::new(),
            partly_reported: false,
            reported: ReportedState::Nothing,
            last_answer: None,
            asked: false,
            lost_wake_ups: LostWakeUps::default(),
        }
    }

    pub(super) fn look_up(&self, server: usize) -> Action {
        Action::Resolve { server, host: self.host.clone() }
    }

    /// Workers connected to it.
    pub(crate) fn workers(&self) -> usize {
        self.up.len()
    }

    /// Whether it is in the configuration.
    pub(super) fn is_used(&self) -> bool {
        self.used
    }

    /// The workers connected to it.
    pub(super) fn connected_workers(&self) -> impl Iterator<Item = &WorkerId> {
        self.up.iter()
    }

    /// Jobs that waited there until a sleeping worker asked by itself.
    pub(crate) fn lost_wake_ups(&self) -> u64 {
        self.lost_wake_ups.all
    }

    /// A worker is no longer connected to it. Returns whether it was.
    fn loses(&mut self, id: WorkerId, now: Duration) -> bool {
        let was_up = self.up.remove(&id);
        if was_up {
            self.last_answer = Some(now);
        }
        was_up
    }

    /// It answers this worker, or the worker has exited.
    fn answers(&mut self, id: WorkerId) {
        self.unresponsive.remove(&id);
        self.partly_reported &= !self.unresponsive.is_empty();
    }

    /// Whether it is known not to answer.
    pub(crate) fn is_down(&self) -> bool {
        self.reported.is_down()
    }

    /// What was last reported of it.
    pub(crate) fn reported(&self) -> &ReportedState {
        &self.reported
    }

    /// When it last answered a worker, if it ever has.
    pub(crate) fn last_answer(&self, now: Duration) -> Option<Duration> {
        if self.up.is_empty() { self.last_answer } else { Some(now) }
    }
}

impl Core {
    /// The job servers that are configured.
    pub(crate) fn servers(&self) -> impl Iterator<Item = &JobServerState> {
        self.servers.iter().filter(|server| server.used)
    }

    /// Their indices, for a worker to be started.
    pub(super) fn used_servers(&self) -> impl Iterator<Item = usize> {
        (0..self.servers.len()).filter(|n| self.servers[*n].used)
    }

    /// Applies another list of job servers: known ones keep their state, new ones are looked up.
    pub(super) fn use_servers(&mut self) {
        self.servers.iter_mut().for_each(|server| server.used = false);
        for host in self.config.hosts.clone() {
            match self.servers.iter().position(|server| server.host == host) {
                Some(known) => self.servers[known].used = true,
                None => {
                    let server = JobServerState::new(&host);
                    if server.resolving {
                        let look_up = server.look_up(self.servers.len());
                        self.push_action(look_up);
                    }
                    self.servers.push(server);
                }
            }
        }
    }

    /// The index in the list of the server that a worker refers to.
    fn place(&self, id: WorkerId, server: usize) -> Option<usize> {
        self.workers.get(&id)?.servers.get(server).copied()
    }

    /// The server that a worker refers to.
    fn meant(&mut self, id: WorkerId, server: usize) -> Option<&mut JobServerState> {
        let place = self.place(id, server)?;
        self.servers.get_mut(place)
    }

    pub(super) fn server_up(&mut self, id: WorkerId, server: usize, now: Duration) {
        self.workers.change(id, |worker| worker.cut_off_reports = 0);
        let Some(server) = self.meant(id, server) else { return };
        server.up.insert(id);
        server.answers(id);
        if !server.reported.is_up() {
            server.reported = ReportedState::Up { since: now };
            // It may not be the same server as before.
            server.asked = false;
            let event = Event::ServerUp { server: server.name.clone() };
            self.report(event);
            self.ask_versions();
        }
    }

    pub(super) fn server_down(&mut self, id: WorkerId, server: usize, reason: String, now: Duration) {
        let Some(place) = self.place(id, server) else { return };
        let Some(server) = self.servers.get_mut(place) else { return };
        let was_up = server.loses(id, now);
        let was_last = was_up && server.up.is_empty();
        let is_news = server.used && server.up.is_empty() && !server.reported.is_down();
        if is_news {
            server.reported = ReportedState::Down { since: now, reason: reason.clone() };
            let event = Event::ServerDown { server: server.name.clone(), reason };
            self.report(event);
        }
        if was_last {
            self.jobs.forget_server(place);
        }
        if was_up {
            // Workers in long jobs do not notice that it went down. A job that it still has may run once more than
            // necessary, at most.
            let name = self.servers[place].name.clone();
            self.push_action(Action::ForgetDenied { server: name });
        }
    }

    /// A worker still cannot reach a server. Where that is so of all its servers, and they answer others, the fault is
    /// with the worker: a library may have used up its descriptors or moved it to another network. It is replaced like
    /// one that is too old, so it stays until another worker has found a job server.
    pub(super) fn server_still_down(&mut self, id: WorkerId, server: usize, reason: String, now: Duration) {
        let is_cut_off = self.is_cut_off(id);
        let reports = self.workers.change(id, |worker| {
            worker.cut_off_reports = if is_cut_off { worker.cut_off_reports.saturating_add(1) } else { 0 };
            worker.cut_off_reports
        });
        if reports != Some(CUT_OFF_REPORTS) {
            return;
        }
        self.workers.change(id, |worker| worker.retirement.retire_early(EarlyRetirement::CutOff, now));
        let Some(worker) = self.workers.get(&id) else { return };
        let (pid, functions) = (worker.pid, worker.names());
        let Some(server) = self.meant(id, server) else { return };
        let (workers_connected, server) = (server.up.len(), server.name.clone());
        self.report_with_pid(pid, |pid| Event::WorkerCutOff { pid, functions, server, workers_connected, reason });
    }

    /// Whether a worker that takes jobs is answered by no job server, although its servers answer others.
    pub(crate) fn is_cut_off(&self, id: WorkerId) -> bool {
        let Some(worker) = self.workers.get(&id).filter(|worker| worker.state.is_serving()) else { return false };
        let mut its = worker.servers.iter().filter_map(|server| self.servers.get(*server)).filter(|server| server.used);
        its.clone().all(|server| !server.up.contains(&id)) && its.any(|server| !server.up.is_empty())
    }

    /// If a server is out of descriptors, the kernel accepts connections that the server never answers, while it serves
    /// those it has. Only the difference between workers shows that.
    pub(super) fn server_unresponsive(&mut self, id: WorkerId, server: usize) {
        let Some(server) = self.meant(id, server) else { return };
        server.unresponsive.insert(id);
        let others = server.up.iter().filter(|up| **up != id).count();
        if server.used && others > 0 && !std::mem::replace(&mut server.partly_reported, true) {
            let event = Event::ServerUnresponsive { server: server.name.clone(), workers_connected: others };
            self.report(event);
        }
    }

    /// A job waited at a server that had woken nobody for it.
    pub(super) fn wake_up_lost(&mut self, id: WorkerId, server: usize, now: Duration) {
        let Some(server) = self.meant(id, server).filter(|server| server.used) else { return };
        if let Some(jobs) = server.lost_wake_ups.count(now) {
            let event = Event::WakeUpLost { server: server.name.clone(), jobs };
            self.report(event);
        }
    }

    /// The server's version matters only if priorities are configured.
    pub(super) fn ask_versions(&mut self) {
        if self.plan.prioritized(&self.config).is_empty() {
            return;
        }
        for (number, server) in self.servers.iter_mut().enumerate() {
            if server.used && server.reported.is_up() && !std::mem::replace(&mut server.asked, true) {
                self.actions.push(Action::AskVersion { server: number, addresses: server.addresses.clone() });
            }
        }
    }

    /// A job server's version; one that sends none is treated like the others.
    pub(super) fn is_version(&mut self, server: usize, version: Option<&ServerVersion>) {
        let Some(version) = version.filter(|version| ignores_priorities(version)) else { return };
        let Some(server) = self.servers.get(server).filter(|server| server.used) else { return };
        let functions = self.plan.prioritized(&self.config);
        if functions.is_empty() {
            return;
        }
        let text = format!(
            "job server {} is gearmand {}, which gives a worker its functions in turn: the priority of {} has no \
             effect there (gearmand 1.1 keeps to it; dedicated workers do on any)",
            server.name,
            version.text,
            functions.join(", "),
        );
        self.report(Event::ConfigWarning { text });
    }

    /// A worker has exited: its connections no longer count.
    pub(super) fn forget_connections(&mut self, id: WorkerId, now: Duration) {
        for server in &mut self.servers {
            server.loses(id, now);
            server.answers(id);
        }
    }

    pub(super) fn resolved(&mut self, number: usize, result: Result<Vec<SocketAddr>, String>, now: Duration) {
        let Some(server) = self.servers.get_mut(number) else { return };
        server.resolving = false;
        match result {
            Ok(addresses) if addresses != server.addresses => {
                server.addresses.clone_from(&addresses);
                let place = |worker: &WorkerRecord| worker.servers.iter().position(|server| *server == number);
                let all: Vec<(WorkerId, usize)> =
                    self.workers.iter().filter_map(|(id, worker)| Some((*id, place(worker)?))).collect();
                all.into_iter().for_each(|(id, own)| self.push_action(Action::Addresses(id, own, addresses.clone())));
            }
            Ok(_) => {}
            Err(reason) if !server.reported.is_down() && server.up.is_empty() => {
                server.reported = ReportedState::Down { since: now, reason: reason.clone() };
                let event = Event::ServerDown { server: server.name.clone(), reason };
                self.report(event);
            }
            Err(_) => {}
        }
    }

    /// A name that does not resolve, or resolved to a dead server, may resolve to another address by now.
    pub(super) fn look_up_again(&mut self) {
        let due = |server: &JobServerState| server.used && !server.literal && !server.resolving && server.up.is_empty();
        let due: Vec<usize> = (0..self.servers.len()).filter(|n| due(&self.servers[*n])).collect();
        for number in due {
            self.servers[number].resolving = true;
            let look_up = self.servers[number].look_up(number);
            self.push_action(look_up);
        }
    }
}

/// Round robin cannot be switched off in gearmand 2.x. Measured: docs/gearmand.md.
fn ignores_priorities(version: &ServerVersion) -> bool {
    version.major.is_some_and(|major| major >= 2)
}
