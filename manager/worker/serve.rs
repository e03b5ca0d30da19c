//! The job loop.

use std::sync::Arc;
use std::time::Duration;

use crate::deny_list::DeniedJobs;
use crate::gearman::packet::encode;
use crate::scoreboard::{ScoreboardWriter, WorkerActivity};
use crate::system::clock;
use crate::system::stop_signal::StopSignal;
use crate::worker::answer::Answering;
use crate::worker::grab::GrabTurns;
use crate::worker::job_limit::JobLimit;
use crate::worker::job_runner::{JobRunner, LastNames};
use crate::worker::manager_link::ManagerLink;
use crate::worker::memory_limit::MemoryLimit;
use crate::worker::messages::{Command, WorkerConfig, WorkerLimits, WorkerMessage};
use crate::worker::plugin::LoadedFunction;
use crate::worker::prefetch::Prefetch;
use crate::worker::proctitle::ProcTitle;
use crate::worker::ready::WorkerStartup;
use crate::worker::renewal::Renewal;
use crate::worker::session::ServerSession;
use crate::worker::trace;

/// A worker at work.
pub(super) struct Worker {
    pub(super) manager_link: &'static ManagerLink,
    pub(super) stop: StopSignal,
    /// The worker's id, as job servers show it.
    pub(super) id: String,
    pub(super) limits: WorkerLimits,
    pub(super) sessions: Vec<ServerSession>,
    /// The number of connections so far, which is also the number of the last one.
    pub(super) connections: u32,
    pub(super) runner: JobRunner,
    pub(super) startup: WorkerStartup,
    /// When draining began.
    pub(super) draining: Option<Duration>,
    /// Which functions the job servers are told of.
    pub(super) offered: Vec<bool>,
    /// A change of these that is under way.
    pub(super) renewal: Option<Renewal>,
    pub(super) grabs: GrabTurns,
    pub(super) prefetch: Prefetch,
    pub(super) answering: Answering,
    pub(super) exit_conditions: ExitConditions,
    /// When everything was polled last.
    pub(super) polled: Duration,
}

/// Reasons for a worker to stop taking jobs without a command.
pub(super) struct ExitConditions {
    pub(super) job_limit: JobLimit,
    pub(super) memory_limit: MemoryLimit,
    /// An object could not be made again after a panic, or a plugin overwrote memory that is not its own. The worker
    /// drains once the current job is answered.
    pub(super) is_broken: bool,
}

impl Worker {
    /// A worker whose functions are loaded; it connects on command.
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
        let offered = functions.len();
        let (memory_limit, heavy) = MemoryLimit::watch(config.limits.max_memory);
        heavy.into_iter().for_each(|message| manager_link.send(&message));
        Self {
            manager_link,
            stop,
            id: id.chars().take(120).collect(),
            sessions: config.servers.into_iter().enumerate().map(session).collect(),
            connections: 0,
            runner: JobRunner {
                functions,
                scoreboard,
                proctitle,
                manager_link,
                denied,
                max_packet: config.limits.max_packet,
                last: LastNames::default(),
            },
            startup: WorkerStartup::default(),
            draining: None,
            offered: vec![true; offered],
            renewal: None,
            grabs: GrabTurns::default(),
            prefetch: Prefetch::new(
                if config.is_canary { 1 } else { config.limits.prefetch },
                config.limits.prefetch_hold,
                config.limits.prefetch_probation,
            ),
            answering: Answering::default(),
            exit_conditions: ExitConditions {
                job_limit: JobLimit::new(config.limits.max_runs),
                memory_limit,
                is_broken: false,
            },
            polled: Duration::ZERO,
            limits: config.limits,
        }
    }

    /// Serves until the worker has drained and every server has its results. Returns the functions to drop, and the
    /// time limit for that.
    pub(super) fn run(mut self) -> (Vec<LoadedFunction>, Duration) {
        self.runner.scoreboard.polled(clock::now());
        loop {
            for server in 0..self.sessions.len() {
                self.take_packets(server);
                self.register(server);
            }
            // After the jobs: a command that came during one must take effect before the next job is asked for.
            self.carry_out_commands();
            let now = clock::now();
            if self.advance_drain(now) {
                break;
            }
            self.advance_renewal(now);
            self.report_serving();
            self.ask();
            self.report_ready();
            self.wait();
        }
        self.runner.scoreboard.activity(WorkerActivity::Disconnected);
        self.manager_link.send(&WorkerMessage::Disconnected);
        (self.runner.functions, self.limits.stop_timeout)
    }

    fn carry_out_commands(&mut self) {
        self.manager_link.poll_commands(clock::now());
        while let Some(command) = self.manager_link.next_command() {
            match command {
                Command::Connect => {
                    self.startup.may_connect = true;
                    self.connect(clock::now());
                }
                Command::Activate => self.activate(),
                Command::Drain => self.begin_drain(clock::now()),
                // The worker is awake, and has shown it.
                Command::Ping => {}
                Command::Promote => self.prefetch.set_most(self.limits.prefetch),
                Command::Verbosity(verbosity) => {
                    self.manager_link.set_verbosity(verbosity);
                    self.runner.functions.iter().for_each(|function| function.set_verbosity(verbosity));
                }
                Command::Offer { number, left_out } => self.offer(number, &left_out),
                Command::Addresses { server, addresses } => {
                    if let Some(session) = self.sessions.get_mut(server) {
                        session.set_addresses(addresses);
                    }
                }
            }
        }
        if self.stop.asked() {
            self.begin_drain(clock::now());
        }
    }

    fn activate(&mut self) {
        if self.draining.is_none() && self.startup.registration.begins(clock::now()) {
            self.runner.scoreboard.activity(self.resting());
            self.runner.proctitle.idle();
            (0..self.sessions.len()).for_each(|server| self.register(server));
        }
    }

    /// Tells the manager when this worker nears its job limit, and takes no more jobs once it is reached.
    pub(super) fn check_job_limit(&mut self, last: Duration) {
        let Some(message) = self.exit_conditions.job_limit.due_message(self.runner.last.number, last) else { return };
        self.manager_link.send(&message);
        if self.exit_conditions.job_limit.is_reached(self.runner.last.number) {
            self.sessions
                .iter_mut()
                .filter_map(ServerSession::connection)
                .for_each(|connection| connection.protocol.forbid_grabs());
        }
    }

    /// Registers the functions with a server that has answered its greeting.
    fn register(&mut self, server: usize) {
        if !self.startup.registration.has_begun() || self.draining.is_some() {
            return;
        }
        let Some(connection) = self.sessions[server].connection().filter(|c| c.protocol.needs_registration()) else {
            return;
        };
        let mut packets = Vec::new();
        let offered = self.runner.functions.iter().zip(&self.offered).filter(|(_, offered)| **offered);
        for (function, _) in offered {
            // Names were checked when the file was found, so none contains a NUL.
            let _ = encode::can_do(&mut packets, function.name.as_bytes());
        }
        // An ECHO of a few bytes always fits a packet.
        let _ = encode::echo_req(&mut packets, b"registered");
        connection.protocol.functions_registered(clock::now());
        if self.exit_conditions.job_limit.is_reached(self.runner.last.number) {
            connection.protocol.forbid_grabs();
        }
        let sent = connection.sender().send([&packets]);
        trace::sent(self.manager_link, &self.sessions[server].name, &packets);
        self.check(server, sent);
    }
}
