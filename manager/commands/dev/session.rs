//! The loop of `dev`: builds, starts the manager, and rebuilds whenever a source changes, until you stop it.
//! Whatever goes wrong (code that does not compile, a library that cannot be used, a `new` that fails, a wrong setting)
//! is logged, and the next save tries again.

use std::process::Child;

use nix::sys::signal::Signal as Number;
use sha2::{Digest, Sha256};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, sleep_until};

use super::build::{FinishedBuild, InstallDirectory, RunningBuild};
use super::changes::{SETTLE, SourceChanges};
use super::depinfo;
use super::manager::{self, ManagerOptions};
use super::options::Setting;
use super::project::Project;
use super::signals::{DevSignal, DevSignals};
use super::sources::{SourceChange, SourceWatcher, WatchedFolders};
use crate::logging::{Level, Logger};
use crate::system::clock;
use crate::system::errors::reason;

/// Reads the manager's settings again, after the configuration has changed.
pub(super) type SettingsReader = Box<dyn Fn() -> Result<Vec<Setting>, String>>;

/// Everything `dev` does except serving jobs.
pub(super) struct DevSession {
    pub(super) logger: Logger,
    pub(super) start: ManagerOptions,
    pub(super) projects: Vec<ServedProject>,
    pub(super) place: InstallDirectory,
    pub(super) release: bool,
    /// For a configuration that has changed.
    pub(super) settings: SettingsReader,
    pub(super) config: ConfigChanges,
    pub(super) build: Option<(usize, RunningBuild)>,
    pub(super) manager: ManagerState,
    pub(super) stopping: bool,
}

/// A project, and how far it got.
pub(super) struct ServedProject {
    source: Project,
    changes: SourceChanges<[u8; 32]>,
    /// Whether one of its libraries was ever put where the manager looks.
    installed: bool,
}

impl From<Project> for ServedProject {
    fn from(source: Project) -> Self {
        Self { source, changes: SourceChanges::never_built(), installed: false }
    }
}

/// The configuration file and its changes.
#[derive(Default)]
pub(super) struct ConfigChanges {
    /// When to act on a change.
    due: Option<Instant>,
    /// Its content when it was last read.
    content: Option<Vec<u8>>,
}

/// The manager that `dev` keeps running.
pub(super) enum ManagerState {
    /// To be started as soon as nothing is left to build.
    Wanted,
    Running(Child),
    /// It drains, since only a new one can do what is needed now.
    Restarting(Child),
    /// It failed. The next change starts another one.
    Failed,
}

/// An input of the loop.
enum DevInput {
    Signal(DevSignal),
    Changed(SourceChange),
    Notice(String),
    Due,
}

impl DevSession {
    /// Logs a line for the user at the terminal.
    pub(super) fn log(&mut self, text: &str) {
        self.logger.log(Level::Info, text);
    }

    /// Runs to the end; returns the manager's exit code. Call it inside the runtime, on the main thread.
    ///
    /// # Errors
    /// Something cannot be started; the error is a sentence.
    pub(super) async fn run(&mut self, mut notices: UnboundedReceiver<String>) -> Result<u8, String> {
        // Before any child starts, so that none of its signals is missed.
        let mut signals = DevSignals::listen().map_err(|error| format!("cannot take signals: {}", reason(&error)))?;
        let dirs: Vec<_> = self.projects.iter().map(|one| WatchedFolders::of(&one.source)).collect();
        let mut sources = SourceWatcher::new(dirs, self.start.file.as_deref())
            .map_err(|error| format!("sources cannot be watched: {}", reason(&error)))?;
        self.config.content = self.read_config();
        loop {
            if let Some(code) = self.advance(&mut sources)? {
                return Ok(code);
            }
            let news = tokio::select! {
                signal = signals.next() => DevInput::Signal(signal),
                change = sources.next() => DevInput::Changed(change),
                Some(text) = notices.recv() => DevInput::Notice(text),
                () = until(self.next_due()) => DevInput::Due,
            };
            match news {
                DevInput::Signal(DevSignal::Stop(number)) => self.stop(number),
                DevInput::Signal(DevSignal::Child) => self.build_ended(&mut sources)?,
                DevInput::Signal(DevSignal::Reload) => self.reload(),
                DevInput::Changed(SourceChange::Config) => self.config.due = Some(clock::after(SETTLE).into()),
                DevInput::Changed(SourceChange::Project(index, files)) => {
                    self.projects[index].changes.note(files, self.build.is_some());
                }
                DevInput::Notice(text) => self.logger.log(Level::Warn, &format!("job server: {text}")),
                DevInput::Due => {}
            }
        }
    }

    /// Starts the next step; returns the exit code once there is nothing left to wait for.
    fn advance(&mut self, sources: &mut SourceWatcher) -> Result<Option<u8>, String> {
        if let Some(code) = self.manager_ended()? {
            return Ok(Some(code));
        }
        if self.stopping {
            let gone = matches!(self.manager, ManagerState::Wanted | ManagerState::Failed);
            return Ok(gone.then_some(0));
        }
        let now = Instant::now();
        if self.config.due.take_if(|at| *at <= now).is_some() {
            self.config_changed();
        }
        while let (None, Some(index)) = (&self.build, self.next_project(now)) {
            if self.projects[index].changes.take(content) {
                self.begin(index, sources);
            }
        }
        // The first time, everything is built first, so that the first line says how many functions there are.
        if matches!(self.manager, ManagerState::Wanted) && self.build.is_none() && self.next_due().is_none() {
            let child =
                self.start.start().map_err(|error| format!("the manager cannot be started: {}", reason(&error)))?;
            self.manager = ManagerState::Running(child);
        }
        Ok(None)
    }

    fn next_project(&self, now: Instant) -> Option<usize> {
        self.projects.iter().position(|one| one.changes.due().is_some_and(|at| at <= now))
    }

    fn begin(&mut self, index: usize, sources: &mut SourceWatcher) {
        let one = &self.projects[index].source;
        if let Err(error) = sources.follow(index) {
            let text = format!("{} cannot be watched: {}; start dev again to build changes", one.name, reason(&error));
            self.logger.log(Level::Warn, &text);
        }
        match one.build(self.release) {
            Ok(build) => {
                self.logger.log(Level::Info, &format!("{}: {}", one.name, one.tool()));
                self.build = Some((index, build));
            }
            Err(text) => self.logger.log(Level::Error, &text),
        }
    }

    fn next_due(&self) -> Option<Instant> {
        // One build at a time.
        let projects = self.projects.iter().filter(|_| self.build.is_none()).filter_map(|one| one.changes.due());
        projects.chain(self.config.due).min()
    }

    fn build_ended(&mut self, sources: &mut SourceWatcher) -> Result<(), String> {
        let Some((index, build)) = &mut self.build else { return Ok(()) };
        let ended = build.ended().map_err(|error| format!("a build cannot be waited for: {}", reason(&error)))?;
        if let Some(built) = ended {
            let index = *index;
            self.build = None;
            self.built(index, &built, sources);
        }
        Ok(())
    }

    fn built(&mut self, index: usize, built: &FinishedBuild, sources: &mut SourceWatcher) {
        let one = &mut self.projects[index];
        let name = &one.source.name;
        let took = built.took.as_secs_f64();
        let installed = match built.status.success() {
            true => built.install(&one.source, &self.place),
            false => Err(format!("{} failed after {took:.1} s; see its messages above", one.source.tool())),
        };
        match installed {
            Ok(libraries) => {
                let names: Vec<_> = libraries.iter().filter_map(|path| path.file_name()?.to_str()).collect();
                let dir = self.place.worker_dir.display();
                let text = format!("{name}: built in {took:.1} s; {} put into {dir}", names.join(", "));
                self.logger.log(Level::Info, &text);
                one.installed = true;
                let of_crate = libraries.iter().filter(|_| one.source.is_crate());
                let folders = of_crate.flat_map(|library| depinfo::packages(library)).collect();
                if let Err(error) = sources.depend(index, folders) {
                    let text = format!("what {name} depends on cannot be watched: {}", reason(&error));
                    self.logger.log(Level::Warn, &text);
                }
                self.try_again();
            }
            Err(text) => {
                let state = match one.installed {
                    true => "the previous code stays in service",
                    false => "nothing of it is served yet; dev builds it again when you save",
                };
                self.logger.log(Level::Error, &format!("{name}: {text}; {state}"));
            }
        }
    }

    /// Something has changed since the manager failed.
    fn try_again(&mut self) {
        if matches!(self.manager, ManagerState::Failed) {
            self.manager = ManagerState::Wanted;
        }
    }

    fn read_config(&self) -> Option<Vec<u8>> {
        std::fs::read(self.start.file.as_ref()?).ok()
    }

    /// The configuration file was written; its content may be the same.
    fn config_changed(&mut self) {
        let content = self.read_config();
        // While an editor replaces the file, it is missing for a moment.
        if content.is_some() && content != self.config.content {
            self.config.content = content;
            self.reload();
        }
    }

    /// Makes the manager read the configuration again.
    fn reload(&mut self) {
        // The manager reports what is wrong in it.
        let settings = (self.settings)().unwrap_or_else(|_| self.start.settings.clone());
        let changed = settings != self.start.settings;
        self.start.settings = settings;
        match std::mem::replace(&mut self.manager, ManagerState::Wanted) {
            ManagerState::Running(manager) if changed => {
                self.log("the configuration has other worker directories now: the manager is started again");
                manager::send_signal(&manager, Number::SIGTERM);
                self.manager = ManagerState::Restarting(manager);
            }
            ManagerState::Running(manager) => {
                manager::send_signal(&manager, Number::SIGHUP);
                self.manager = ManagerState::Running(manager);
            }
            ManagerState::Restarting(manager) => self.manager = ManagerState::Restarting(manager),
            ManagerState::Wanted | ManagerState::Failed => {}
        }
    }

    /// Asks the manager to stop; the second time kills what is left.
    fn stop(&mut self, number: Number) {
        self.stopping = true;
        self.kill_build();
        if let ManagerState::Running(manager) | ManagerState::Restarting(manager) = &self.manager {
            manager::send_signal(manager, number);
        }
    }

    fn kill_build(&mut self) {
        if let Some((_, mut build)) = self.build.take() {
            build.kill();
        }
    }

    /// Checks whether the manager has exited; returns the exit code if that ends `dev`.
    fn manager_ended(&mut self) -> Result<Option<u8>, String> {
        let (ManagerState::Running(manager) | ManagerState::Restarting(manager)) = &mut self.manager else {
            return Ok(None);
        };
        let ended =
            manager.try_wait().map_err(|error| format!("the manager cannot be waited for: {}", reason(&error)))?;
        let Some(status) = ended else { return Ok(None) };
        let Some(code) = status.code().and_then(|code| u8::try_from(code).ok()) else {
            self.kill_build();
            return Err(format!("the manager was ended from outside ({status})"));
        };
        if self.stopping {
            return Ok(Some(code));
        }
        if matches!(self.manager, ManagerState::Restarting(_)) {
            self.manager = ManagerState::Wanted;
            return Ok(None);
        }
        self.manager = ManagerState::Failed;
        // It was stopped from outside; or there is nothing whose change could help.
        if code == 0 || (self.projects.is_empty() && self.start.file.is_none()) {
            self.kill_build();
            return Ok(Some(code));
        }
        let files: Vec<String> =
            self.projects.iter().map(|one| one.source.name.clone()).chain(self.config_name()).collect();
        let text = format!("nothing is served; dev tries again as soon as you save a change in {}", files.join(" or "));
        self.logger.log(Level::Warn, &text);
        Ok(None)
    }

    fn config_name(&self) -> Option<String> {
        Some(self.start.file.as_ref()?.display().to_string())
    }
}

/// The hash of a file's content, to notice a change.
fn content(file: &std::path::Path) -> Option<[u8; 32]> {
    std::fs::read(file).ok().map(|bytes| Sha256::digest(bytes).into())
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
