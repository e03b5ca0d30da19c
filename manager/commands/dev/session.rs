//! The loop of `dev`: build, start the manager, and build whenever a source changes, until the manager exits.

use std::io;
use std::process::Child;
use std::time::Duration;

use nix::sys::signal::Signal as Number;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::build::{Crate, FinishedBuild, InstallDirectory, RunningBuild};
use super::depinfo;
use super::manager::{self, ManagerOptions};
use super::sources::SourceWatcher;
use crate::logging::{Level, Logger};
use crate::system::clock;
use crate::system::errors::reason;

/// How long a source must be quiet before it is built: an editor writes more than once.
const SETTLE: Duration = Duration::from_millis(100);

/// Everything `dev` does but for serving jobs.
pub(super) struct DevSession {
    logger: Logger,
    start: ManagerOptions,
    crates: Vec<Crate>,
    /// When each crate is to be built, if it is.
    due: Vec<Option<Instant>>,
    place: InstallDirectory,
    release: bool,
    build: Option<(usize, RunningBuild)>,
    manager: Option<Child>,
    stopping: bool,
}

/// One turn's news.
enum DevInput {
    Stop(Number),
    Child,
    Changed(usize),
    Notice(String),
    Due,
}

struct DevSignals {
    child: Signal,
    interrupt: Signal,
    quit: Signal,
    terminate: Signal,
    hang_up: Signal,
}

impl DevSignals {
    fn listen() -> io::Result<Self> {
        Ok(Self {
            child: signal(SignalKind::child())?,
            interrupt: signal(SignalKind::interrupt())?,
            quit: signal(SignalKind::quit())?,
            terminate: signal(SignalKind::terminate())?,
            hang_up: signal(SignalKind::hangup())?,
        })
    }

    async fn next(&mut self) -> DevInput {
        tokio::select! {
            _ = self.child.recv() => DevInput::Child,
            _ = self.interrupt.recv() => DevInput::Stop(Number::SIGINT),
            _ = self.quit.recv() => DevInput::Stop(Number::SIGQUIT),
            _ = self.terminate.recv() => DevInput::Stop(Number::SIGTERM),
            // The terminal is gone; to a manager without one, HUP would be a reload.
            _ = self.hang_up.recv() => DevInput::Stop(Number::SIGTERM),
        }
    }
}

impl DevSession {
    pub(super) fn new(
        logger: Logger,
        start: ManagerOptions,
        crates: Vec<Crate>,
        place: InstallDirectory,
        release: bool,
    ) -> Self {
        let due = vec![Some(Instant::now()); crates.len()];
        Self { logger, start, crates, due, place, release, build: None, manager: None, stopping: false }
    }

    /// Logs something for the user at the terminal.
    pub(super) fn say(&mut self, text: &str) {
        self.logger.say(Level::Info, text);
    }

    /// Runs to the end; returns the manager's exit code. To be called inside the runtime, on the main thread.
    ///
    /// # Errors
    /// What cannot be started; a sentence.
    pub(super) async fn run(&mut self, mut notices: UnboundedReceiver<String>) -> Result<u8, String> {
        // Before any child is there: none of its signals is missed.
        let mut signals = DevSignals::listen().map_err(|error| format!("cannot take signals: {}", reason(&error)))?;
        let dirs: Vec<_> = self.crates.iter().map(|one| one.dir.clone()).collect();
        let mut sources =
            SourceWatcher::new(dirs).map_err(|error| format!("sources cannot be watched: {}", reason(&error)))?;
        loop {
            if let Some(code) = self.go_on(&mut sources)? {
                return Ok(code);
            }
            let news = tokio::select! {
                news = signals.next() => news,
                index = sources.next() => DevInput::Changed(index),
                Some(text) = notices.recv() => DevInput::Notice(text),
                () = until(self.next_due()) => DevInput::Due,
            };
            match news {
                DevInput::Stop(number) => self.stop(number),
                DevInput::Child => self.child_ended(&mut sources)?,
                DevInput::Changed(index) => self.due[index] = Some(clock::after(SETTLE).into()),
                DevInput::Notice(text) => self.logger.say(Level::Warn, &format!("job server: {text}")),
                DevInput::Due => {}
            }
        }
    }

    /// Starts the next step; the exit code, once there is nothing left to wait for.
    fn go_on(&mut self, sources: &mut SourceWatcher) -> Result<Option<u8>, String> {
        if self.stopping {
            return if self.manager.is_none() { Ok(Some(0)) } else { self.manager_ended() };
        }
        let now = Instant::now();
        let next = self.due.iter().position(|due| due.is_some_and(|at| at <= now));
        if let (None, Some(index)) = (&self.build, next) {
            self.due[index] = None;
            self.begin(index, sources);
        }
        // The first time everything is built before: so the first line says how many functions there are.
        if self.manager.is_none() && self.build.is_none() && self.next_due().is_none() {
            self.manager =
                Some(self.start.start().map_err(|error| format!("the manager cannot be started: {}", reason(&error)))?);
        }
        self.manager_ended()
    }

    fn begin(&mut self, index: usize, sources: &mut SourceWatcher) {
        let one = &self.crates[index];
        if let Err(error) = sources.follow(index) {
            let text = format!("{} cannot be watched: {}; start dev again to build changes", one.name, reason(&error));
            self.logger.say(Level::Warn, &text);
        }
        match one.build(self.release) {
            Ok(build) => {
                self.logger.say(Level::Info, &format!("{}: cargo build", one.name));
                self.build = Some((index, build));
            }
            Err(text) => self.logger.say(Level::Error, &text),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        // A build at a time.
        self.due.iter().flatten().min().copied().filter(|_| self.build.is_none())
    }

    fn child_ended(&mut self, sources: &mut SourceWatcher) -> Result<(), String> {
        let Some((index, build)) = &mut self.build else { return Ok(()) };
        let ended = build.ended().map_err(|error| format!("cargo cannot be waited for: {}", reason(&error)))?;
        if let Some(built) = ended {
            let index = *index;
            self.build = None;
            self.built(index, &built, sources);
        }
        Ok(())
    }

    fn built(&mut self, index: usize, built: &FinishedBuild, sources: &mut SourceWatcher) {
        let one = &self.crates[index];
        let took = built.took.as_secs_f64();
        let installed = match built.status.success() {
            true => built.install(&one.dir, &self.place),
            false => Err(format!("cargo build failed after {took:.1} s, as said above")),
        };
        match installed {
            Ok(libraries) => {
                let names: Vec<_> = libraries.iter().filter_map(|path| path.file_name()?.to_str()).collect();
                let dir = self.place.worker_dir.display();
                let text = format!("{}: built in {took:.1} s; {} put into {dir}", one.name, names.join(", "));
                self.logger.say(Level::Info, &text);
                let folders = libraries.iter().flat_map(|library| depinfo::packages(library)).collect();
                if let Err(error) = sources.depend(index, folders) {
                    let text = format!("what {} depends on cannot be watched: {}", one.name, reason(&error));
                    self.logger.say(Level::Warn, &text);
                }
            }
            Err(text) => {
                let text = format!("{}: {text}; the previous code stays in service", one.name);
                self.logger.say(Level::Error, &text);
            }
        }
    }

    /// Asks the manager for the end; the fifth time it does not wait any more.
    fn stop(&mut self, number: Number) {
        self.stopping = true;
        if let Some((_, mut build)) = self.build.take() {
            build.kill();
        }
        if let Some(manager) = &self.manager {
            manager::tell(manager, number);
        }
    }

    fn manager_ended(&mut self) -> Result<Option<u8>, String> {
        let Some(manager) = &mut self.manager else { return Ok(None) };
        let ended =
            manager.try_wait().map_err(|error| format!("the manager cannot be waited for: {}", reason(&error)))?;
        let Some(status) = ended else { return Ok(None) };
        if let Some((_, mut build)) = self.build.take() {
            build.kill();
        }
        match status.code().and_then(|code| u8::try_from(code).ok()) {
            Some(code) => Ok(Some(code)),
            None => Err(format!("the manager was ended from outside ({status})")),
        }
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
