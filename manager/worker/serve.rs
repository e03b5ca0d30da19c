//! The job loop: one GRAB out over all job servers, one job in hand.

use std::sync::Arc;
use std::time::Duration;

use crate::gearman::packet::{Assigned, FromServer, encode};
use crate::system::clock;
use crate::system::deny_list::{DeniedJobs, Name};
use crate::system::errors::reason;
use crate::system::page::{Doing, PageWriter};
use crate::system::stop_signal::StopSignal;
use crate::worker::growth::Growth;
use crate::worker::host;
use crate::worker::job::{self, Assignment};
use crate::worker::journal::{DEBUG, job_name};
use crate::worker::line::Line;
use crate::worker::orders::{Limits, Order, Orders, Word};
use crate::worker::plugin::Function;
use crate::worker::ready::Step;
use crate::worker::runs::Runs;
use crate::worker::sender;
use crate::worker::session::Session;
use crate::worker::taken::LastJob;
use crate::worker::talk::{Heard, Next, Talk};
use crate::worker::titles::Titles;
use crate::worker::trace;

/// A job server is asked again and again for this long, then the next one has its turn.
pub(super) const TURN: Duration = Duration::from_millis(10);

/// A worker at work.
pub struct Worker {
    pub(super) line: &'static Line,
    pub(super) stop: StopSignal,
    pub(super) page: Arc<PageWriter>,
    pub(super) sessions: Vec<Session>,
    pub(super) limits: Limits,
    /// Until it is ready.
    pub(super) readiness: Step,
    /// From the order to go until it serves.
    pub(super) registration: Step,
    pub(super) leaving: Option<Duration>,
    /// Whether it was told to connect.
    pub(super) may_connect: bool,
    pub(super) titles: Titles,
    pub(super) functions: Vec<Function>,
    pub(super) id: String,
    pub(super) connections: u32,
    pub(super) jobs: u64,
    pub(super) runs: Runs,
    pub(super) growth: Growth,
    /// An object is gone and could not be made anew, or a plugin writes where it must not: the worker leaves when the
    /// job in hand is answered.
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
    pub fn new(
        orders: Orders,
        functions: Vec<Function>,
        line: &'static Line,
        stop: StopSignal,
        page: Arc<PageWriter>,
        denied: DeniedJobs,
        titles: Titles,
    ) -> Self {
        let pid = std::process::id();
        // gearmand cuts an id at 127 bytes, and a space breaks its listing.
        let id = format!("{}/{pid}/{}", orders.host, orders.name).replace(|c: char| c.is_ascii_whitespace(), "_");
        let session = |(i, order)| Session::new(order, orders.siblings, u64::from(pid) << 8 | i as u64);
        let (growth, heavy) = Growth::watch(orders.limits.max_memory);
        heavy.into_iter().for_each(|word| line.say(&word));
        host::limit_packets(orders.limits.max_packet);
        Self {
            growth,
            line,
            stop,
            page,
            runs: Runs::new(orders.limits.max_runs),
            sessions: orders.servers.into_iter().enumerate().map(session).collect(),
            limits: orders.limits,
            readiness: Step::default(),
            registration: Step::default(),
            leaving: None,
            may_connect: false,
            titles,
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
            is_answering: false,
            handle: Vec::new(),
            unique: String::new(),
            head: Vec::new(),
            denied,
        }
    }

    /// Serves until told to leave and every server has what it should. Returns what is to be dropped, and how long that
    /// may take.
    pub fn run(mut self) -> (Vec<Function>, Duration) {
        loop {
            for server in 0..self.sessions.len() {
                self.take_packets(server);
                self.register(server);
            }
            // After the jobs: an order that came during one was read with it, and forbids to ask for the next.
            self.take_orders();
            let now = clock::now();
            if self.take_leave(now) {
                break;
            }
            self.tell_serving();
            self.ask();
            self.tell_readiness();
            self.wait();
        }
        self.page.doing(Doing::Left);
        self.line.say(&Word::Left);
        (self.functions, self.limits.stop_timeout)
    }

    fn take_orders(&mut self) {
        self.line.look(clock::now());
        while let Some(order) = self.line.next_order() {
            match order {
                Order::Connect => {
                    self.may_connect = true;
                    self.connect(clock::now());
                }
                Order::Go => self.go(),
                Order::Leave => self.leave(clock::now()),
                Order::Verbosity(verbosity) => {
                    self.line.set_verbosity(verbosity);
                    self.functions.iter().for_each(|function| function.set_verbosity(verbosity));
                }
                Order::Addresses { server, addresses } => {
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
        if self.leaving.is_none() && self.registration.begins(clock::now()) {
            self.page.doing(self.resting());
            self.titles.idle();
            (0..self.sessions.len()).for_each(|server| self.register(server));
        }
    }

    /// Tells the manager when the jobs this worker may run come to an end, and takes no more after the last one.
    pub(super) fn counts_runs(&mut self, last: Duration) {
        let Some(word) = self.runs.news(self.jobs, last) else { return };
        self.line.say(&word);
        if self.runs.are_over(self.jobs) {
            self.sessions.iter_mut().filter_map(Session::connection).for_each(|connection| connection.talk.spent());
        }
    }

    /// Offers the functions where a server has answered its greeting.
    fn register(&mut self, server: usize) {
        if !self.registration.has_begun() || self.leaving.is_some() {
            return;
        }
        let Some(connection) = self.sessions[server].connection().filter(|c| c.talk.wants_registering()) else {
            return;
        };
        let mut packets = Vec::new();
        for function in &self.functions {
            // Names were checked when the file was found; one with a NUL cannot be.
            let _ = encode::can_do(&mut packets, function.name.as_bytes());
        }
        // An ECHO of a few bytes always fits a packet.
        let _ = encode::echo_req(&mut packets, b"registered");
        connection.talk.registered(clock::now());
        if self.runs.are_over(self.jobs) {
            connection.talk.spent();
        }
        let sent = connection.sender().send([&packets]);
        trace::sent(self.line, &self.sessions[server].name, &packets);
        self.check(server, sent);
    }

    /// Asks the next server for a job, unless an answer is awaited.
    fn ask(&mut self) {
        let awaited = self.sessions.iter().any(|session| session.talk().is_some_and(|talk| talk.is_awaited()));
        self.held_until = None;
        self.asks_nobody =
            awaited || !self.registration.is_over() || self.leaving.is_some() || self.runs.are_over(self.jobs);
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
        let mut order = (0..count).map(|step| (self.asked + skip + step) % count);
        let next = order.find(|&server| self.sessions[server].may_ask(now));
        if let Some(server) = next {
            if server != self.asked || skip == 1 {
                (self.asked, self.turn) = (server, now);
            }
            self.send_grab(server, now);
        }
    }

    pub(super) fn send_grab(&mut self, server: usize, now: Duration) {
        let Some(connection) = self.sessions[server].connection() else { return };
        let grab = grab_packet(connection.talk.uses_old_grab());
        let first = if connection.talk.asks_twice() { &encode::PRE_SLEEP[..] } else { &[] };
        connection.talk.asked(now);
        let sent = connection.sender().send([first, grab]);
        [first, grab].iter().for_each(|packet| trace::sent(self.line, &self.sessions[server].name, packet));
        self.check(server, sent);
    }

    /// Works through what a server has sent, running the jobs among it.
    fn take_packets(&mut self, server: usize) {
        loop {
            let now = clock::now();
            let Self { line, sessions, functions, page, jobs, titles, handle, unique, leaving, denied, .. } = self;
            let session = &mut sessions[server];
            let traced = trace::is_wanted(line).then(|| session.name.clone());
            // What comes behind an answer that is under way can wait: a job may be among it.
            let Some((server_name, connection)) = session.named_connection().filter(|(_, c)| c.answer.is_none()) else {
                return;
            };
            let mut missing = 0;
            let packet = match connection.decoder.next() {
                Ok(None) => return,
                Ok(Some(packet)) => {
                    if let Some(server) = &traced {
                        trace::received(line, server, &packet);
                    }
                    missing = packet.missing;
                    FromServer::parse(packet)
                }
                Err(error) => Err(error),
            };
            let packet = match packet {
                Ok(packet) => packet,
                Err(error) => return self.lose(server, &format!("the job server sent nonsense: {}", reason(&error))),
            };
            let is_first = !connection.talk.is_greeted();
            match connection.talk.hear(heard(&packet), now) {
                Next::Nothing => {}
                Next::Greeted => self.greeted(server),
                Next::Sleep => {
                    let sent = connection.sender().send([&encode::PRE_SLEEP]);
                    trace::sent(self.line, &self.sessions[server].name, &encode::PRE_SLEEP);
                    self.check(server, sent);
                }
                Next::Superseded => self.note(server, "a result came too late: the job has been given to another"),
                Next::Complain => {
                    if let FromServer::Error { code, text } = packet {
                        let (code, text) = (String::from_utf8_lossy(code), String::from_utf8_lossy(text));
                        let words = format!("answered with the error {code}: {text}");
                        self.note(server, &words);
                    }
                }
                Next::Run => {
                    let Some(job) = assigned(&packet) else { continue };
                    *jobs += 1;
                    if *jobs == 1 && leaving.is_some() {
                        line.say(&Word::Leaving { jobs: *jobs });
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
                    let name =
                        Name { server: server_name, function: job.function, handle: job.handle, unique: job.unique };
                    if let Some(why) = denied.reason(&name, now) {
                        line.log(2, Some(job::name(&job)), &format!("is not run again, but fails: {why}"));
                        self.answer(server, job::refused(why));
                        continue;
                    }
                    let known = functions.iter().position(|f| f.name.as_bytes() == job.function);
                    if let Some(function) = known {
                        titles.running(function);
                        host::job_begins(*jobs, &functions[function].name, job.handle, &connection.sender);
                        if line.wants(DEBUG) {
                            line.log_bytes(job_name(&functions[function].name, job.handle), "workload", job.workload);
                        }
                    }
                    let assignment = Assignment { job, number: *jobs, connection: connection.number };
                    sender::lock(&connection.sender).job_begins();
                    let finished = job::run(&assignment, functions, page);
                    host::job_ends();
                    self.answer(server, finished);
                    // A job in answer to the greeting, which asked for none before a function was offered.
                    if is_first && self.sessions[server].talk().is_some_and(Talk::is_greeted) {
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

fn heard<'a>(packet: &FromServer<'a>) -> Heard<'a> {
    match *packet {
        FromServer::Noop => Heard::Noop,
        FromServer::NoJob => Heard::NoJob,
        FromServer::JobAssign(_) | FromServer::JobAssignUniq(_) | FromServer::JobAssignAll { .. } => Heard::Assigned,
        FromServer::EchoRes(_) => Heard::Echo,
        FromServer::Error { code, .. } => Heard::Error(code),
        _ => Heard::Other,
    }
}

fn assigned<'a>(packet: &FromServer<'a>) -> Option<Assigned<'a>> {
    match *packet {
        FromServer::JobAssign(job) | FromServer::JobAssignUniq(job) | FromServer::JobAssignAll { job, .. } => Some(job),
        _ => None,
    }
}
