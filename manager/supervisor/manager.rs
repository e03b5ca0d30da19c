//! The loop itself: one thread, one runtime, one place where anything happens.

mod reload;

use std::path::PathBuf;
use std::time::Duration;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::core::{Core, Input};
use super::effects::{After, Effects, Found, Tools};
use super::event::Event;
use crate::control::{Incoming, Listener, Reply, Request, Server};
use crate::logging::Logger;
use crate::plugins::watch::{Notice, Notices};
use crate::system::clock;
use crate::system::daemonize::Announce;
use crate::system::ears::{ChildId, Ear};
use crate::system::errors::reason;
use crate::system::service::Service;
use crate::version;
use reload::Reloads;
pub use reload::Reread;

/// Requests of commands that wait for the loop.
const REQUESTS: usize = 16;

/// What a manager is made of.
pub struct Setup {
    /// Configuration, log, store, program.
    pub tools: Tools,
    /// What the configuration's reader warned of.
    pub warnings: Vec<String>,
    /// Whoever started it.
    pub announce: Announce,
    /// The service manager, if one is to be told.
    pub service: Service,
    /// What it is called.
    pub instance: String,
    /// Where its state is.
    pub state_dir: PathBuf,
    /// Where commands find it.
    pub control: PathBuf,
    /// Whether a terminal's hang-up is a stop.
    pub foreground: bool,
    /// Reads the configuration again.
    pub reread: Reread,
}

/// A manager at work.
pub struct Manager {
    core: Core,
    effects: Effects,
    announce: Option<Announce>,
    service: Service,
    instance: String,
    foreground: bool,
    /// When the core wants to be woken, as of the last time it was asked something. Not worked out anew at each turn: a
    /// moment that has just passed would be taken for one that was dealt with.
    due: Option<Duration>,
    rescan: Option<Instant>,
    reloads: Reloads,
    /// Where changes of the worker directories come in.
    notices: Option<Notices>,
    /// When what is being written is looked at.
    settle: Option<Instant>,
    end: Option<u8>,
}

/// One turn's news.
enum News {
    Signal(Caught),
    Children(Vec<(ChildId, Ear)>),
    Found(Found),
    Noticed(Notice),
    Settled,
    Control(Incoming),
    Watchdog,
    Due,
    Rescan,
    Reload,
}

#[derive(Debug, Clone, Copy)]
enum Caught {
    Terminate,
    Interrupt,
    HangUp,
    User1,
    Child,
}

struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
    user1: Signal,
    child: Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hang_up: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
            child: signal(SignalKind::child())?,
        })
    }

    async fn next(&mut self) -> Caught {
        tokio::select! {
            _ = self.child.recv() => Caught::Child,
            _ = self.terminate.recv() => Caught::Terminate,
            _ = self.interrupt.recv() => Caught::Interrupt,
            _ = self.hang_up.recv() => Caught::HangUp,
            _ = self.user1.recv() => Caught::User1,
        }
    }
}

impl Manager {
    /// Runs to the end; returns the exit code. To be called inside the runtime and a `LocalSet`, on the main thread.
    pub async fn run(setup: Setup) -> u8 {
        let (results, mut found) = mpsc::unbounded_channel();
        let (requests, mut incoming) = mpsc::channel(REQUESTS);
        let Setup { mut tools, warnings, announce, service, instance, state_dir, control, foreground, reread } = setup;
        let feed = tools.feed.clone();
        let opened = Listener::bind(&control)
            .map_err(|error| error.to_string())
            .and_then(|listener| Server::start(listener, feed, requests).map_err(|error| error.to_string()))
            .and_then(|server| {
                Ok((server, Signals::listen().map_err(|error| format!("cannot take signals: {}", reason(&error)))?))
            });
        let (server, mut signals) = match opened {
            Ok(both) => both,
            Err(error) => return give_up(&mut tools.logger, announce, 1, &error),
        };
        let config = tools.config.clone();
        let mut effects = match Effects::new(tools, results) {
            Ok(effects) => effects,
            Err(error) => {
                announce.failed(1, &format!("gm-native cannot start: {}", reason(&error)));
                return 1;
            }
        };
        effects.watch();
        let notices = effects.notices();
        let reloads = Reloads::new(reread);
        let (core, first) = Core::new(config, effects.memory(), fastrand::u64(..), clock::now());
        let announce = Some(announce);
        let (due, rescan, settle, end) = (None, None, None, None);
        let mut manager =
            Self { core, effects, announce, service, instance, foreground, due, rescan, reloads, notices, settle, end };
        manager.begin(&state_dir, warnings);
        first.into_iter().for_each(|action| manager.perform(action));
        manager.rest();
        while manager.end.is_none() {
            let news = tokio::select! {
                biased;
                caught = signals.next() => News::Signal(caught),
                () = until(manager.service.watchdog_due()) => News::Watchdog,
                heard = manager.effects.ears.hear() => News::Children(heard.unwrap_or_default()),
                Some(result) = found.recv() => News::Found(result),
                notice = noticed(manager.notices.as_ref()) => News::Noticed(notice),
                Some(request) = incoming.recv() => News::Control(request),
                () = until(manager.next_due()) => News::Due,
                () = until_instant(manager.settle) => News::Settled,
                () = until_instant(manager.rescan) => News::Rescan,
                () = until_instant(manager.reloads.due()) => News::Reload,
            };
            manager.take(news);
        }
        let code = manager.end.unwrap_or_default();
        let mut logger = manager.effects.finish().await;
        server.close().await;
        logger.retry();
        code
    }

    fn begin(&mut self, state_dir: &std::path::Path, warnings: Vec<String>) {
        self.effects.tell(&Event::Starting {
            version: version::WITH_REVISION.into(),
            instance: self.instance.clone(),
            state_dir: state_dir.display().to_string(),
        });
        warnings.into_iter().for_each(|text| self.effects.tell(&Event::ConfigWarning { text }));
        self.rescan_later();
    }

    fn rescan_later(&mut self) {
        let interval = self.effects.config.rescan_interval;
        self.rescan = (!interval.is_zero()).then(|| Instant::now() + interval);
    }

    fn take(&mut self, news: News) {
        match news {
            News::Signal(caught) => self.caught(caught),
            News::Children(heard) => heard.into_iter().for_each(|(child, ear)| self.effects.hear(child, ear)),
            News::Found(found) => {
                let input = self.effects.found(found);
                self.input(input);
            }
            // What is complete is looked at now; what is being written, when it has been quiet for a while.
            News::Noticed(Notice::Complete) => self.changed(),
            News::Noticed(Notice::Writing) => self.settle = Some(Instant::now() + self.effects.config.settle_time),
            News::Settled => self.changed(),
            News::Control(request) => self.answer(request),
            News::Watchdog => self.service.watchdog(clock::now()),
            News::Due => {
                self.effects.tick();
                for counted in self.effects.count(self.core.canaries()) {
                    self.input(Input::Counted(counted));
                }
                for seen in self.effects.see(self.core.to_look_at(clock::now())) {
                    self.input(Input::Seen(seen));
                }
                self.input(Input::Timer);
            }
            News::Reload => self.reload(),
            News::Rescan => {
                self.rescan_later();
                self.effects.logger.retry();
                self.input(Input::Rescan);
            }
        }
        self.rest();
    }

    /// Whatever effects have found out meanwhile goes to the core, until there is nothing left.
    fn rest(&mut self) {
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
            self.tell_service();
        }
    }

    /// What a service manager is told beside the end of the start: one line, when it has changed. During the start it
    /// would be one for each worker.
    fn tell_service(&mut self) {
        if !self.service.listens() || (self.core.is_starting() && !self.core.is_draining()) {
            return;
        }
        let (functions, serving, workers) = self.core.counts();
        if self.core.is_draining() {
            self.service.stopping();
            self.service.status(&format!("stopping, {workers} workers left"));
        } else {
            self.service.status(&format!("{functions} functions, {serving} of {workers} workers ready"));
        }
    }

    fn perform(&mut self, action: super::core::Action) {
        match self.effects.perform(action) {
            After::Nothing => {}
            After::Announce(note) => {
                if let Some(announce) = self.announce.take()
                    && let Err(error) = announce.ready(note.as_deref())
                {
                    self.effects.trouble(format!("cannot leave the terminal: {}", reason(&error)));
                    self.end = Some(1);
                } else {
                    self.service.ready();
                }
            }
            After::Fail(code, text) => {
                self.end = Some(code);
                if let Some(announce) = self.announce.take() {
                    give_up(&mut self.effects.logger, announce, code, &text);
                }
            }
            After::Finish => self.end = Some(0),
        }
    }

    fn changed(&mut self) {
        self.settle = None;
        self.input(Input::Changed);
    }

    fn caught(&mut self, caught: Caught) {
        match caught {
            Caught::Child => self.effects.reap(),
            Caught::Terminate => self.input(Input::Stop { by: "SIGTERM" }),
            Caught::Interrupt => self.input(Input::Stop { by: "SIGINT" }),
            Caught::HangUp if self.foreground => self.input(Input::Stop { by: "SIGHUP (the terminal is gone)" }),
            Caught::HangUp => self.hangs_up(),
            Caught::User1 => self.reopen(),
        }
    }

    fn reopen(&mut self) {
        self.effects.logger.reopen();
        self.effects.tell(&Event::Reloaded { text: "SIGUSR1: the log was opened anew".into() });
    }

    fn answer(&mut self, incoming: Incoming) {
        let reply = match incoming.request {
            Request::Status => Reply::Status(Box::new(self.effects.status(&self.core, &self.instance))),
            Request::Versions => Reply::Versions(self.effects.versions(&self.core)),
            Request::Retry { function } => self.retry(function),
            Request::Rollback { function, hash } => self.roll_back(function, hash.as_deref()),
            Request::Events { .. } => return,
        };
        // The client may be gone by now.
        let _ = incoming.reply.send(reply);
    }

    fn retry(&mut self, function: String) -> Reply {
        if !self.core.knows(&function) {
            return Reply::refused(format!("there is no function {function}"));
        }
        let text = format!("{function}: its file in worker_dir is tried again");
        self.input(Input::Retry { function });
        Reply::Done(text)
    }

    fn roll_back(&mut self, function: String, hash: Option<&str>) -> Reply {
        match self.effects.earlier(&self.core, &function, hash) {
            Err(text) => Reply::refused(text),
            Ok(_) if !self.core.knows(&function) => {
                Reply::refused(format!("there is no function {function}: no library of it is in worker_dir"))
            }
            Ok(version) => {
                let text = format!("{function}: version {} is rolled out, until its file changes", version.hash);
                self.input(Input::Rollback { function, version });
                Reply::Done(text)
            }
        }
    }

    fn next_due(&self) -> Option<Duration> {
        [self.due, self.effects.next_due()].into_iter().flatten().min()
    }
}

/// Says in the log and to whoever started the manager why it does not start.
fn give_up(logger: &mut Logger, announce: Announce, code: u8, text: &str) -> u8 {
    logger.say(crate::logging::Level::Error, &format!("gm-native does not start: {text}"));
    announce.failed(code, &format!("gm-native: {text}"));
    code
}

async fn noticed(notices: Option<&Notices>) -> Notice {
    match notices {
        Some(notices) => notices.next().await,
        None => std::future::pending().await,
    }
}

async fn until(due: Option<Duration>) {
    match due {
        Some(due) => sleep_until(Instant::now() + due.saturating_sub(clock::now())).await,
        None => std::future::pending().await,
    }
}

async fn until_instant(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
