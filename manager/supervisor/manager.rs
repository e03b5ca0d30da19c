//! The manager's loop: one thread, one runtime, one place where everything happens.

mod kill_requests;
mod log_level;
mod loop_input;
mod owned_paths;
mod queue_checks;
mod reload;
mod requests;

use std::path::PathBuf;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::yield_now;

use super::core::{Core, Input};
use super::effects::{BackgroundResult, EffectResources, Effects, LoopAction};
use super::event::{Event, counted, seconds};
use crate::control::Access;
use crate::logging::{Logger, Reopened};
use crate::plugins::watcher::{WatchEvent, WatchEvents};
use crate::system::clock;
use crate::system::daemonize::StartReport;
use crate::system::errors::reason;
use crate::system::limits::explained;
use crate::system::service::ServiceManager;
use crate::version;
use loop_input::{LoopInput, LoopSources, ManagerSignal, ManagerSignals};
pub(crate) use owned_paths::HeldPaths;
use owned_paths::{ControlSocket, OwnedPaths};
pub(crate) use reload::ConfigReader;
use reload::ReloadSchedule;
use requests::WaitingRequests;

/// Requests of commands that wait for the loop.
const REQUESTS: usize = 16;
/// The share of each loop iteration for reading children, so that everything else is handled soon, however much they
/// send.
const READ_BUDGET: Duration = Duration::from_millis(10);

/// The parts of a manager.
pub(crate) struct ManagerSetup {
    /// Configuration, log, store, program.
    pub resources: EffectResources,
    /// Warnings from reading the configuration.
    pub warnings: Vec<String>,
    /// The process that started it, which waits for the outcome.
    pub announce: StartReport,
    /// The service manager, if there is one to notify.
    pub service: ServiceManager,
    /// What it is called.
    pub instance: String,
    /// What it holds already.
    pub held: HeldPaths,
    /// The sockets on which commands reach it.
    pub sockets: Vec<(PathBuf, Access)>,
    /// Whether SIGHUP from a terminal means stop.
    pub foreground: bool,
    /// Reads the configuration again.
    pub reread: ConfigReader,
}

/// A running manager.
pub(crate) struct Manager {
    core: Core,
    effects: Effects,
    announce: Option<StartReport>,
    /// Warnings about the configuration, until the caller has received them.
    warnings: Vec<String>,
    service: ServiceManager,
    instance: String,
    foreground: bool,
    /// When the core wants to be woken, as of its last input. It is not recomputed in each iteration: a time that has
    /// just passed would then seem to be already handled.
    due: Option<Duration>,
    rescan: Option<Duration>,
    /// When the queues of the job servers are checked next.
    queue_check: Option<Duration>,
    reloads: ReloadSchedule,
    places: OwnedPaths,
    /// Where changes of the worker directories come in.
    notices: Option<WatchEvents>,
    /// When files that are being written are checked.
    settle: Option<Duration>,
    waiting: WaitingRequests,
    /// When the log level of the configuration is in force again.
    log_level_until: Option<Duration>,
    end: Option<u8>,
}

impl Manager {
    /// Runs to the end; returns the exit code. To be called inside the runtime and a `LocalSet`, on the main thread.
    pub(crate) async fn run(setup: ManagerSetup) -> u8 {
        let (results, found) = mpsc::unbounded_channel();
        let (sender, requests) = mpsc::channel(REQUESTS);
        let ManagerSetup { mut resources, warnings, announce, service, instance, held, sockets, foreground, reread } =
            setup;
        let open = |(path, access)| ControlSocket::open(path, access, resources.feed.clone(), sender.clone());
        let opened = sockets.into_iter().map(open).collect::<Result<Vec<_>, _>>().and_then(|sockets| {
            let signals =
                ManagerSignals::listen().map_err(|error| format!("cannot take signals: {}", reason(&error)))?;
            Ok((OwnedPaths::new(held, sockets), signals))
        });
        let (places, signals) = match opened {
            Ok(both) => both,
            Err(error) => return refuse_start(&mut resources.logger, announce, 1, &error),
        };
        let (config, audience) = (resources.config.clone(), resources.audience);
        let mut effects = match Effects::new(resources, results) {
            Ok(effects) => effects,
            Err(error) => {
                announce.failed(1, &format!("gm-native: cannot start: {}", explained(&error)));
                return 1;
            }
        };
        let mut sources = LoopSources { signals, found, requests };
        effects.provide_guardian();
        effects.watch();
        let notices = effects.notices();
        let reloads = ReloadSchedule::new(reread);
        let (mut core, first) = Core::new(config, effects.memory(), fastrand::u64(..), clock::now());
        core.restore_pauses(effects.saved_pauses());
        core.kill_at_signal(audience.signals_that_kill());
        let announce = Some(announce);
        let (due, rescan, queue_check, settle, end) = (None, None, None, None, None);
        let mut manager = Self {
            core,
            effects,
            announce,
            warnings,
            service,
            instance,
            foreground,
            due,
            rescan,
            queue_check,
            reloads,
            places,
            notices,
            settle,
            waiting: WaitingRequests::default(),
            log_level_until: None,
            end,
        };
        manager.begin();
        first.into_iter().for_each(|action| manager.perform(action));
        manager.drain_inputs();
        while manager.end.is_none() {
            let due = manager.next_due();
            let news = sources.next(&mut manager.effects.poller, manager.notices.as_ref(), due).await;
            manager.take(news);
            // A real one: else the runtime would look for signals and timers only when there is nothing left to do.
            yield_now().await;
        }
        let code = manager.end.unwrap_or_default();
        let OwnedPaths { held, sockets, .. } = manager.places;
        let mut logger = manager.effects.finish().await;
        for socket in sockets {
            socket.close().await;
        }
        logger.retry();
        // Not before there is nothing left of it.
        drop(held);
        code
    }

    fn begin(&mut self) {
        self.effects.report(&Event::Starting {
            version: version::WITH_REVISION.into(),
            instance: self.instance.clone(),
            state_dir: self.places.held.lock.dir().display().to_string(),
        });
        if let Some(earlier_pid) = self.places.held.lock.left_by() {
            let grace = seconds(self.effects.config.graceful_shutdown_wait_time);
            self.effects.report(&Event::EarlierManagerDied { earlier_pid, grace });
        }
        self.warnings.iter().for_each(|text| self.effects.report(&Event::ConfigWarning { text: text.clone() }));
        // A program that became this one by exec may have left children, whose SIGCHLD will not come again.
        while self.effects.reap() {}
        self.rescan_later();
        self.check_queues_later();
    }

    fn rescan_later(&mut self) {
        let interval = self.effects.config.rescan_interval;
        self.rescan = (!interval.is_zero()).then(|| clock::now().saturating_add(interval));
    }

    /// One iteration. Short and rare work comes first; reading children takes a bounded time.
    fn take(&mut self, news: LoopInput) {
        news.caught.into_iter().for_each(|caught| self.handle_signal(caught));
        if self.effects.is_reaping() {
            self.reap();
        }
        if let Some(found) = news.found {
            match found {
                BackgroundResult::Queues(answer) => self.queues_listed(answer),
                BackgroundResult::Files(scan) => {
                    let input = self.effects.finish_scan(scan);
                    self.input(input);
                }
                BackgroundResult::Version { server, version } => self.input(Input::Version { server, version }),
            }
        }
        self.take_due(clock::now());
        if let Some(request) = news.request {
            self.request(request);
        }
        match news.notice {
            // What is complete is looked at now; what is being written, when it has been quiet for a while.
            Some(WatchEvent::Complete) => self.changed(),
            Some(WatchEvent::Writing) => {
                self.settle = Some(clock::now().saturating_add(self.effects.config.settle_time));
            }
            None => {}
        }
        self.answer_waiting(clock::now());
        self.drain_inputs();
        self.poll();
    }

    /// Handles everything that is due.
    fn take_due(&mut self, now: Duration) {
        let is_due = |at: Option<Duration>| at.is_some_and(|at| now >= at);
        if is_due(self.service.watchdog_due()) {
            self.service.watchdog(now);
        }
        if is_due(self.due) || is_due(self.effects.next_due()) {
            self.check_deadlines(now);
        }
        if is_due(self.settle) {
            self.changed();
        }
        if is_due(self.rescan) {
            self.rescan_later();
            self.effects.event_log.logger.retry();
            self.effects.look_at_memory();
            self.effects.record_totals(&self.core);
            self.keep_places();
            self.input(Input::Rescan);
        }
        if is_due(self.queue_check) {
            self.check_queues();
        }
        if is_due(self.reloads.due()) {
            self.reload();
        }
        if is_due(self.log_level_until) {
            self.restore_log_level();
        }
    }

    /// Passes the time to the core, after reading everything from workers whose deadlines are over.
    fn check_deadlines(&mut self, now: Duration) {
        self.effects.tick(now);
        self.effects.catch_up_with(&self.core.workers_to_read(now));
        let canaries: Vec<_> = self.core.canaries().into_iter().map(|(worker, _)| worker).collect();
        self.effects.reap_those(&canaries);
        self.effects.reap_those(&self.core.scoreboards_due(now));
        self.drain_inputs();
        self.input(Input::Timer { read: now });
        for counted in self.effects.count(self.core.canaries()) {
            self.input(Input::Counted(counted));
        }
        for seen in self.effects.read_scoreboards(self.core.scoreboards_due(now)) {
            self.input(Input::ScoreboardRead(seen));
        }
        if let Some(round) = self.core.liveness_due(now) {
            // One that has exited is not unresponsive.
            self.effects.reap_those(&round.last_looks());
            self.drain_inputs();
            let seen = self.effects.read_liveness(&round);
            self.input(Input::LivenessRead(round, seen));
        }
        for reading in self.effects.read_failures(self.core.failures_to_read(now)) {
            self.input(Input::FailuresRead(reading));
        }
    }

    /// Reaps exited children, for a bounded time; the rest follow in the next iteration.
    fn reap(&mut self) {
        let until = clock::now().saturating_add(READ_BUDGET);
        while self.effects.reap() && clock::now() < until {
            self.drain_inputs();
        }
    }

    /// Reads from children, for a bounded time, in round-robin order.
    fn poll(&mut self) {
        let until = clock::now().saturating_add(READ_BUDGET);
        self.effects.resume_paused(clock::now());
        self.effects.read_exited();
        while let Some(read) = self.effects.poll() {
            self.drain_inputs();
            self.effects.read(&read, clock::now());
            if clock::now() >= until {
                break;
            }
        }
    }

    /// Passes inputs that the effects have queued to the core, until none is left.
    fn drain_inputs(&mut self) {
        while let Some(input) = self.effects.next_input() {
            self.input(input);
        }
    }

    fn input(&mut self, input: Input) {
        let now = clock::now();
        let actions = self.core.handle(input, now);
        self.due = self.core.next_due(now);
        let changed = !actions.is_empty();
        actions.into_iter().for_each(|action| self.perform(action));
        if changed {
            self.notify_service();
        }
    }

    /// What a service manager is notified of besides the end of the start: one line, when it has changed. During the
    /// start it would be one for each worker.
    fn notify_service(&mut self) {
        if !self.service.listens() || (self.core.is_starting() && !self.core.is_draining()) {
            return;
        }
        let (functions, serving, workers) = self.core.counts();
        if self.core.is_draining() {
            self.service.stopping();
            self.service.status(&format!("stopping, {} left", counted(workers, "worker")));
        } else {
            let reload =
                self.reloads.failed(clock::now()).map_or("", |_| "; the last reload failed: see `gm-native status`");
            self.service
                .status(&format!("{}, {serving} of {workers} workers ready{reload}", counted(functions, "function")));
        }
    }

    fn perform(&mut self, action: super::core::Action) {
        match self.effects.perform(action) {
            LoopAction::Nothing => {}
            LoopAction::Announce(note) => {
                let lost = self.effects.event_log.logger.lost_lines();
                let warnings = std::mem::take(&mut self.warnings).into_iter().map(|text| format!("warning: {text}"));
                let note = warnings.chain(note).collect::<Vec<_>>().join("\n");
                let note = Some(note).filter(|note| !note.is_empty());
                if let Some(announce) = self.announce.take()
                    && let Err(error) = announce.ready(note.as_deref(), lost.as_deref())
                {
                    self.effects.report_error(format!("cannot leave the terminal: {}", reason(&error)));
                    self.end = Some(1);
                } else {
                    self.service.ready();
                }
            }
            LoopAction::Fail(code, text) => {
                self.end = Some(code);
                if let Some(announce) = self.announce.take() {
                    refuse_start(&mut self.effects.event_log.logger, announce, code, &text);
                }
            }
            LoopAction::Finish => self.end = Some(0),
        }
    }

    fn changed(&mut self) {
        self.settle = None;
        self.input(Input::Changed);
    }

    fn handle_signal(&mut self, caught: ManagerSignal) {
        match caught {
            ManagerSignal::Child => self.effects.children_ended(),
            ManagerSignal::Terminate => self.input(Input::Stop { by: "SIGTERM" }),
            ManagerSignal::Quit => self.input(Input::Stop { by: "SIGQUIT" }),
            ManagerSignal::Interrupt => self.input(Input::Stop { by: "SIGINT" }),
            ManagerSignal::HangUp if self.foreground => self.input(Input::Stop { by: "SIGHUP (the terminal is gone)" }),
            ManagerSignal::HangUp => self.hangs_up("SIGHUP", None),
            ManagerSignal::User1 => {
                let by = "SIGUSR1";
                if let Some(log) = self.reopen_log(by) {
                    self.effects.report(&Event::LogNotReopened { by, log });
                }
                self.keep_places();
            }
        }
    }

    /// Returns what the log is, if it is not a file that could be reopened.
    fn reopen_log(&mut self, by: &'static str) -> Option<String> {
        match self.effects.event_log.logger.reopen() {
            Reopened::Done => self.effects.report(&Event::LogReopened { by }),
            Reopened::Stays(log) => return Some(log),
            Reopened::Failed(reason) => self.effects.report_error(format!("{by}: {reason}")),
        }
        None
    }

    /// When the next iteration is due if nothing happens; at once if the last one left work.
    fn next_due(&self) -> Option<Duration> {
        if self.effects.has_work_left() {
            return Some(Duration::ZERO);
        }
        let own =
            [self.due, self.service.watchdog_due(), self.settle, self.rescan, self.reloads.due(), self.waiting.due()];
        let own = own.into_iter().chain([self.log_level_until, self.queue_check]);
        let effects = [self.effects.next_due(), self.effects.resume_due()];
        own.chain(effects).flatten().min()
    }
}

/// Logs why the manager does not start, and reports it to the caller.
fn refuse_start(logger: &mut Logger, announce: StartReport, code: u8, text: &str) -> u8 {
    logger.log(crate::logging::Level::Error, &format!("gm-native does not start: {text}"));
    announce.failed(code, &format!("gm-native: {text}"));
    code
}
