//! The job loop: one GRAB out over all job servers, one job in hand.

use std::sync::Arc;
use std::time::Duration;

use crate::deny_list::{DeniedJobs, JobIdentity};
use crate::gearman::packet::{AssignedJob, PacketType, Response, encode};
use crate::scoreboard::{ScoreboardWriter, WorkerActivity};
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::stop_signal::StopSignal;
use crate::worker::failures::FailureReports;
use crate::worker::job::{self, Assignment};
use crate::worker::job_limit::JobLimit;
use crate::worker::job_log::{DEBUG, job_name};
use crate::worker::manager_link::ManagerLink;
use crate::worker::memory_limit::MemoryLimit;
use crate::worker::messages::{Command, WorkerConfig, WorkerLimits, WorkerMessage};
use crate::worker::plugin::LoadedFunction;
use crate::worker::plugin_host;
use crate::worker::proctitle::ProcTitle;
use crate::worker::ready::StartupStep;
use crate::worker::sender;
use crate::worker::server_connection::{Reaction, ServerConnection, ServerMessage};
use crate::worker::session::ServerSession;
use crate::worker::taken::LastJob;
use crate::worker::trace;

/// A job server is asked again and again for this long, then the next one has its turn.
pub(super) const TURN: Duration = Duration::from_millis(10);

/// A worker at work.
pub(super) struct Worker {
    pub(super) manager_link: &'static ManagerLink,
    pub(super) stop: StopSignal,
    pub(super) scoreboard: Arc<ScoreboardWriter>,
    pub(super) sessions: Vec<ServerSession>,
    pub(super) limits: WorkerLimits,
    /// Until it is ready.
    pub(super) readiness: StartupStep,
    /// From [`Command::Go`] until it serves.
    pub(super) registration: StartupStep,
    pub(super) draining: Option<Duration>,
    /// Whether it was told to connect.
    pub(super) may_connect: bool,
    pub(super) proctitle: ProcTitle,
    pub(super) functions: Vec<LoadedFunction>,
    pub(super) id: String,
    pub(super) connections: u32,
    pub(super) jobs: u64,
    pub(super) job_limit: JobLimit,
    pub(super) memory_limit: MemoryLimit,
    /// An object is gone and could not be made again, or a plugin writes where it must not. The worker drains once the
    /// current job is answered.
    pub(super) is_broken: bool,
    /// Which server was asked last, and since when it has its turn.
    pub(super) asked: usize,
    pub(super) turn: Duration,
    /// When everything was polled last.
    pub(super) polled: Duration,
    /// Nobody was asked for a job although somebody could be; until when, where that is because answers wait for room.
    pub(super) asks_nobody: bool,
    pub(super) held_until: Option<Duration>,
    /// The last job that began.
    pub(super) last_job: Option<LastJob>,
    pub(super) failure_reports: FailureReports,
    /// Its function has returned, and its answer is not even made.
    pub(super) is_answering: bool,
    /// Buffers kept from job to job.
    pub(super) handle: Vec<u8>,
    pub(super) unique: String,
    pub(super) head: Vec<u8>,
    /// Jobs that nobody may run again.
    denied: DeniedJobs,
}

impl Worker {
    /// A worker whose functions are loaded; it connects when it is told to.
    pub(super) fn new(
        config: WorkerConfig,
        functions: Vec<LoadedFunction>,
        manager_link: &'static ManagerLink,
        stop: StopSignal,
        scoreboard: Arc<ScoreboardWriter>,
        denied: DeniedJobs,
        proctitle: ProcTitle,
    ) -> Self {
        let pid = std::process::id();
        // gearmand cuts an id at 127 bytes, and a space breaks its listing.
        let id = format!("{}/{pid}/{}", config.host, config.name).replace(|c: char| c.is_ascii_whitespace(), "_");
        let session = |(i, server)| ServerSession::new(server, config.siblings, u64::from(pid) << 8 | i as u64);
        let (memory_limit, heavy) = MemoryLimit::watch(config.limits.max_memory);
        heavy.into_iter().for_each(|message| manager_link.say(&message));
        plugin_host::limit_packets(config.limits.max_packet);
        Self {
            memory_limit,
            manager_link,
            stop,
            scoreboard,
            job_limit: JobLimit::new(config.limits.max_runs),
            sessions: config.servers.into_iter().enumerate().map(session).collect(),
            limits: config.limits,
            readiness: StartupStep::default(),
            registration: StartupStep::default(),
            draining: None,
            may_connect: false,
            proctitle,
            functions,
            id: id.chars().take(120).collect(),
            connections: 0,
            jobs: 0,
            is_broken: false,
            asked: 0,
            turn: Duration::ZERO,
            polled: Duration::ZERO,
            asks_nobody: false,
            held_until: None,
            last_job: None,
            failure_reports: FailureReports::default(),
            is_answering: false,
            handle: Vec::new(),
            unique: String::new(),
            head: Vec::new(),
            denied,
        }
    }

    /// Serves until the worker is told to drain and every server has its results. Returns what to drop, and how long that
    /// may take.
    pub(super) fn run(mut self) -> (Vec<LoadedFunction>, Duration) {
        loop {
            for server in 0..self.sessions.len() {
                self.take_packets(server);
                self.register(server);
            }
            // After the jobs: a command that came during one must take effect before the next job is asked for.
            self.carry_out_commands();
            let now = clock::now();
            if self.drain(now) {
                break;
            }
            self.tell_serving();
            self.ask();
            self.tell_readiness();
            self.wait();
        }
        self.scoreboard.activity(WorkerActivity::Left);
        self.manager_link.say(&WorkerMessage::Left);
        (self.functions, self.limits.stop_timeout)
    }

    fn carry_out_commands(&mut self) {
        self.manager_link.look(clock::now());
        while let Some(command) = self.manager_link.next_command() {
            match command {
                Command::Connect => {
                    self.may_connect = true;
                    self.connect(clock::now());
                }
                Command::Go => self.go(),
                Command::Leave => self.leave(clock::now()),
                Command::Verbosity(verbosity) => {
                    self.manager_link.set_verbosity(verbosity);
                    self.functions.iter().for_each(|function| function.set_verbosity(verbosity));
                }
                Command::Addresses { server, addresses } => {
                    if let Some(session) = self.sessions.get_mut(server) {
                        session.set_addresses(addresses);
                    }
                }
            }
        }
        if self.stop.asked() {
            self.leave(clock::now());
        }
    }

    fn go(&mut self) {
        if self.draining.is_none() && self.registration.begins(clock::now()) {
            self.scoreboard.activity(self.resting());
            self.proctitle.idle();
            (0..self.sessions.len()).for_each(|server| self.register(server));
        }
    }

    /// Tells the manager when this worker nears its job limit, and takes no more jobs once it is reached.
    pub(super) fn check_job_limit(&mut self, last: Duration) {
        let Some(message) = self.job_limit.news(self.jobs, last) else { return };
        self.manager_link.say(&message);
        if self.job_limit.is_reached(self.jobs) {
            self.sessions
                .iter_mut()
                .filter_map(ServerSession::connection)
                .for_each(|connection| connection.protocol.forbid_grabs());
        }
    }

    /// Registers the functions with a server that has answered its greeting.
    fn register(&mut self, server: usize) {
        if !self.registration.has_begun() || self.draining.is_some() {
            return;
        }
        let Some(connection) = self.sessions[server].connection().filter(|c| c.protocol.needs_registration()) else {
            return;
        };
        let mut packets = Vec::new();
        for function in &self.functions {
            // Names were checked when the file was found; one with a NUL cannot be.
            let _ = encode::can_do(&mut packets, function.name.as_bytes());
        }
        // An ECHO of a few bytes always fits a packet.
        let _ = encode::echo_req(&mut packets, b"registered");
        connection.protocol.functions_registered(clock::now());
        if self.job_limit.is_reached(self.jobs) {
            connection.protocol.forbid_grabs();
        }
        let sent = connection.sender().send([&packets]);
        trace::sent(self.manager_link, &self.sessions[server].name, &packets);
        self.check(server, sent);
    }

    /// Asks the next server for a job, unless an answer is awaited.
    fn ask(&mut self) {
        let awaited =
            self.sessions.iter().any(|session| session.protocol().is_some_and(|protocol| protocol.awaits_job()));
        self.held_until = None;
        self.asks_nobody =
            awaited || !self.registration.is_over() || self.draining.is_some() || self.job_limit.is_reached(self.jobs);
        if self.asks_nobody {
            return;
        }
        let now = clock::now();
        self.held_until = self.held_until(now);
        if self.held_until.is_some() {
            self.asks_nobody = true;
            return;
        }
        let skip = usize::from(now.saturating_sub(self.turn) >= TURN);
        let count = self.sessions.len();
        let mut round = (0..count).map(|step| (self.asked + skip + step) % count);
        let next = round.find(|&server| self.sessions[server].may_ask(now));
        if let Some(server) = next {
            if server != self.asked || skip == 1 {
                (self.asked, self.turn) = (server, now);
            }
            self.send_grab(server, now);
        }
    }

    pub(super) fn send_grab(&mut self, server: usize, now: Duration) {
        let Some(connection) = self.sessions[server].connection() else { return };
        let grab = grab_packet(connection.protocol.uses_old_grab());
        let first = if connection.protocol.grabs_with_pre_sleep() { &encode::PRE_SLEEP[..] } else { &[] };
        connection.protocol.grab_sent(now);
        let sent = connection.sender().send([first, grab]);
        [first, grab].iter().for_each(|packet| trace::sent(self.manager_link, &self.sessions[server].name, packet));
        self.check(server, sent);
    }

    /// Works through what a server has sent, running the jobs among it.
    fn take_packets(&mut self, server: usize) {
        loop {
            let now = clock::now();
            let Self {
                manager_link,
                sessions,
                functions,
                scoreboard,
                jobs,
                proctitle,
                handle,
                unique,
                draining,
                denied,
                ..
            } = self;
            let session = &mut sessions[server];
            let lost = session.lost_at;
            let traced = trace::is_wanted(manager_link).then(|| session.name.clone());
            // What comes behind an answer that is under way can wait: a job may be among it.
            let Some((server_name, connection)) = session.named_connection().filter(|(_, c)| c.answer.is_none()) else {
                return;
            };
            let (mut kind, mut missing) = (PacketType::Noop, 0);
            let packet = match connection.decoder.next() {
                Ok(None) => return,
                Ok(Some(packet)) => {
                    if let Some(server) = &traced {
                        trace::received(manager_link, server, &packet);
                    }
                    (kind, missing) = (packet.kind, packet.missing);
                    Response::parse(packet)
                }
                Err(error) => Err(error),
            };
            let packet = match packet {
                Ok(packet) => packet,
                Err(error) => return self.lose(server, &format!("the job server sent nonsense: {}", reason(&error))),
            };
            let is_first = !connection.protocol.is_greeted();
            match connection.protocol.receive(heard(&packet), now) {
                Reaction::Nothing => {}
                Reaction::Unexpected if !manager_link.wants(DEBUG) => {}
                Reaction::Unexpected => {
                    let text = format!("job server {server_name}: unexpected {}", kind.name());
                    manager_link.log(DEBUG, None, &text);
                }
                Reaction::Greeted => self.greeted(server),
                Reaction::Sleep => {
                    let sent = connection.sender().send([&encode::PRE_SLEEP]);
                    trace::sent(self.manager_link, &self.sessions[server].name, &encode::PRE_SLEEP);
                    self.check(server, sent);
                }
                Reaction::Superseded => self.note(server, "a result came too late: the job has been given to another"),
                Reaction::LogError => {
                    if let Response::Error { code, text } = packet {
                        let (code, text) = (String::from_utf8_lossy(code), String::from_utf8_lossy(text));
                        let words = format!("answered with the error {code}: {text}");
                        self.note(server, &words);
                    }
                }
                Reaction::Run => {
                    let Some(job) = assigned(&packet) else { continue };
                    *jobs += 1;
                    if *jobs == 1 && draining.is_some() {
                        manager_link.say(&WorkerMessage::Leaving { jobs: *jobs });
                    }
                    handle.clear();
                    handle.extend_from_slice(job.handle);
                    unique.clear();
                    unique.push_str(&String::from_utf8_lossy(job.unique));
                    if missing > 0 {
                        let (finished, text) = job::refuse_long(&job, missing, self.limits.max_packet);
                        self.note(server, &text);
                        self.answer(server, finished);
                        continue;
                    }
                    let name = JobIdentity {
                        server: server_name,
                        function: job.function,
                        handle: job.handle,
                        unique: job.unique,
                    };
                    if let Some(why) = denied.reason(&name, lost, now) {
                        manager_link.log(2, Some(job::name(&job)), &format!("is not run again, but fails: {why}"));
                        self.answer(server, job::refused(why));
                        continue;
                    }
                    let known = functions.iter().position(|f| f.name.as_bytes() == job.function);
                    if let Some(function) = known {
                        proctitle.running(function);
                        plugin_host::job_begins(*jobs, &functions[function].name, job.handle, &connection.sender);
                        if manager_link.wants(DEBUG) {
                            manager_link.log_bytes(
                                job_name(&functions[function].name, job.handle),
                                "workload",
                                job.workload,
                            );
                        }
                    }
                    let assignment = Assignment { job, number: *jobs, connection: connection.number };
                    sender::lock(&connection.sender).job_begins();
                    let finished = job::run(&assignment, functions, scoreboard);
                    plugin_host::job_ends();
                    self.answer(server, finished);
                    // A job in answer to the greeting, which asked for none before a function was offered.
                    if is_first && self.sessions[server].protocol().is_some_and(ServerConnection::is_greeted) {
                        self.greeted(server);
                    }
                }
            }
        }
    }
}

pub(super) fn grab_packet(old: bool) -> &'static [u8] {
    if old { &encode::GRAB_JOB } else { &encode::GRAB_JOB_UNIQ }
}

fn heard<'a>(packet: &Response<'a>) -> ServerMessage<'a> {
    match *packet {
        Response::Noop => ServerMessage::Noop,
        Response::NoJob => ServerMessage::NoJob,
        Response::JobAssign(_) | Response::JobAssignUniq(_) | Response::JobAssignAll { .. } => ServerMessage::Assigned,
        Response::EchoRes(_) => ServerMessage::Echo,
        Response::Error { code, .. } => ServerMessage::Error(code),
        _ => ServerMessage::Other,
    }
}

fn assigned<'a>(packet: &Response<'a>) -> Option<AssignedJob<'a>> {
    match *packet {
        Response::JobAssign(job) | Response::JobAssignUniq(job) | Response::JobAssignAll { job, .. } => Some(job),
        _ => None,
    }
}
