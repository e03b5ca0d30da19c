//! Performs what the core decides, and reads what children send. Nothing here decides anything.
//!
//! Everything runs on the manager's one thread. No call waits for a child: commands are sent without waiting, children
//! are read when they have sent something, a bounded amount at a time, and the rest of a dead child once it is reaped.

mod child_reader;
mod children;
mod counters;
mod lookups;
mod probes;
mod reload;
mod status;
mod versions;
mod workers;

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::core::{Action, Input};
use super::event::Event;
use super::guardian::Guardian;
use super::reconcile::WorkerId;
use super::requeue::Requeues;
use crate::config::Config;
use crate::control::{EventLine, Feed};
use crate::deny_list::DenyList;
use crate::gearman::admin::ServerVersion;
use crate::logging::{Level, Logger, date};
use crate::plugins::name::FunctionName;
use crate::plugins::scan::{self, ScanResult};
use crate::plugins::store::Store;
use crate::plugins::watcher::{LibraryWatcher, WatchEvents};
use crate::system::child_poller::{ChildId, ChildPoller};
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::limits::explained;
use crate::system::spawn::Program;
use child_reader::ChildReader;
use children::{ManagedChild, SocketCopies};
use counters::RetiredCounts;
use probes::Probes;
pub(crate) use reload::log_target;
use versions::KnownVersions;

/// Before a scan is tried again that could not be made or not see everything: at first, doubled each time, and at last.
const SCAN_PAUSE: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(600)];

/// What the loop is to do after an action; everything else is done within it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LoopAction {
    /// Go on.
    Nothing,
    /// Tell the caller that started the manager that it serves.
    Announce(Option<String>),
    /// Tell the caller that started the manager why it does not serve, and exit.
    Fail(u8, String),
    /// The manager is finished.
    Finish,
}

/// Everything the manager does to and hears from the system.
pub(crate) struct Effects {
    pub(super) config: Config,
    pub(super) logger: Logger,
    pub(super) feed: Feed,
    pub(super) poller: ChildPoller,
    program: Program,
    store: Store,
    known: KnownVersions,
    /// `None` where the system gives no watcher: then the slow re-scan is all there is.
    watch: Option<(Arc<Mutex<LibraryWatcher>>, WatchEvents)>,
    scanning: bool,
    scan_again: bool,
    /// When a scan is tried again that could not be made or not see everything.
    scan_at: Option<Duration>,
    /// How long the next such pause is.
    scan_pause: Duration,
    /// Watch failures that were logged.
    unwatched: Vec<String>,
    host: String,
    children: BTreeMap<ChildId, ManagedChild>,
    pids: BTreeMap<i32, ChildId>,
    workers: BTreeMap<WorkerId, ChildId>,
    next_child: u64,
    child_reader: ChildReader,
    /// Children may have exited that were not reaped yet.
    reaping: bool,
    probes: Probes,
    guardian: Guardian,
    requeues: Requeues,
    /// Jobs that no worker may run again.
    denied: DenyList,
    /// Connections of dead workers whose jobs the core has not decided about yet.
    orphaned: BTreeMap<WorkerId, SocketCopies>,
    /// Counters of workers that are gone, by function.
    past: BTreeMap<FunctionName, RetiredCounts>,
    /// Orphaned processes that the manager has adopted.
    adopted: u64,
    buffer: Vec<u8>,
    /// Inputs for the core, in order.
    inputs: VecDeque<Input>,
    /// Where background threads send their results.
    results: mpsc::UnboundedSender<BackgroundResult>,
}

/// What effects need from outside.
pub(crate) struct EffectResources {
    /// The configuration, paths made absolute.
    pub config: Config,
    /// The open log.
    pub logger: Logger,
    /// Where events go.
    pub feed: Feed,
    /// The running program.
    pub program: Program,
    /// The store of checked libraries, and what is remembered of versions.
    pub store: Store,
}

/// The result of a background thread.
pub(crate) enum BackgroundResult {
    /// What is in the worker directories.
    Files(FinishedScan),
    /// What a job server is.
    Version {
        /// Which server.
        server: usize,
        /// Its version, where it tells.
        version: Option<ServerVersion>,
    },
}

/// A finished scan.
pub(crate) struct FinishedScan {
    scan: ScanResult,
    unwatched: Vec<String>,
}

impl Effects {
    /// Effects with no child yet. To be called inside the runtime.
    ///
    /// # Errors
    /// The system's, out of descriptors.
    pub(crate) fn new(
        resources: EffectResources,
        results: mpsc::UnboundedSender<BackgroundResult>,
    ) -> std::io::Result<Self> {
        let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
        let guardian = Guardian::new(resources.config.graceful_shutdown_wait_time)?;
        Ok(Self {
            config: resources.config,
            logger: resources.logger,
            feed: resources.feed,
            poller: ChildPoller::new()?,
            program: resources.program,
            store: resources.store,
            known: KnownVersions::default(),
            watch: None,
            scanning: false,
            scan_again: false,
            scan_at: None,
            scan_pause: SCAN_PAUSE[0],
            unwatched: Vec::new(),
            host,
            children: BTreeMap::new(),
            pids: BTreeMap::new(),
            workers: BTreeMap::new(),
            next_child: 0,
            child_reader: ChildReader::default(),
            reaping: false,
            probes: Probes::default(),
            guardian,
            requeues: Requeues::default(),
            denied: DenyList::new()?,
            orphaned: BTreeMap::new(),
            past: BTreeMap::new(),
            adopted: 0,
            buffer: vec![0; crate::system::channel::MAX_MESSAGE],
            inputs: VecDeque::new(),
            results,
        })
    }

    /// Performs an action.
    pub(crate) fn perform(&mut self, action: Action) -> LoopAction {
        match action {
            Action::Scan => self.scan(),
            Action::Probe(candidate) => self.probe(candidate),
            Action::ProbeAgain(candidate) => self.probe_again(candidate),
            Action::Resolve { server, host } => self.look_up(server, &host),
            Action::AskVersion { server, addresses } => self.ask_version(server, addresses),
            Action::Start(start) => self.start(&start),
            Action::Connect(id) => self.command(id, &crate::worker::messages::Command::Connect),
            Action::Go(id) => self.command(id, &crate::worker::messages::Command::Go),
            Action::Leave(id) => self.command(id, &crate::worker::messages::Command::Leave),
            Action::Addresses(id, server, addresses) => {
                self.command(id, &crate::worker::messages::Command::Addresses { server, addresses });
            }
            Action::Terminate(id) => self.terminate_worker(id),
            Action::Kill(id) => self.kill_worker(id),
            Action::Release { worker, answer } => self.release(worker, answer),
            Action::Deny { server, job, reason } => {
                self.denied.add(&job.identity(&server), &reason, clock::now());
            }
            Action::ForgetDenied { server } => self.denied.forget_server(&server),
            Action::Tell(event) => self.tell(&event),
            action @ (Action::MarkGood { .. }
            | Action::MarkBad { .. }
            | Action::Forgive { .. }
            | Action::Forget { .. }
            | Action::Pin { .. }) => {
                self.remember(action);
            }
            Action::Announce(note) => return LoopAction::Announce(note),
            Action::Fail(code, text) => return LoopAction::Fail(code, text),
            Action::Finish => return LoopAction::Finish,
        }
        LoopAction::Nothing
    }

    /// The next thing the core has to hear.
    pub(crate) fn next_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Logs an event and sends it to followers.
    pub(crate) fn tell(&mut self, event: &Event) {
        let pid = event.pid().and_then(|pid| u32::try_from(pid).ok()).unwrap_or_else(std::process::id);
        let (level, text) = (event.level(), event.line());
        self.logger.line(level, std::process::id(), &text);
        let time = date(std::time::SystemTime::now());
        self.feed.publish(&EventLine { time, level: level.label().into(), pid, text, event });
    }

    /// Something failed that does not stop the work.
    pub(crate) fn trouble(&mut self, text: String) {
        self.tell(&Event::Trouble { text });
    }

    /// The state directory is a new one: what was remembered of versions is written there.
    pub(crate) fn remember_again(&mut self) {
        if let Err(error) = self.store.records.save() {
            self.trouble(format!("what is known of versions cannot be written: {}", reason(&error)));
        }
    }

    /// When [`Effects::tick`] is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let deadlines = self.children.values().filter_map(ManagedChild::deadline);
        deadlines.chain(self.scan_at).chain(self.guardian.due()).chain(self.probe_room_due()).min()
    }

    /// Ends children whose time is up, begins probes that have waited for a slow one, and reads worker_dir again where that
    /// could not be done.
    pub(crate) fn tick(&mut self, now: Duration) {
        let is_late = |child: &ManagedChild| child.deadline().is_some_and(|at| now >= at);
        let late: Vec<ChildId> = self.children.iter().filter(|(_, child)| is_late(child)).map(|(id, _)| *id).collect();
        for id in late {
            self.catch_up(id);
            if self.children.get(&id).is_some_and(is_late) {
                self.times_out(id);
            }
        }
        self.provide_guardian();
        self.next_probes();
        if self.scan_at.take_if(|at| now >= *at).is_some() {
            self.scan();
        }
    }

    /// Kills what is left and waits for the ends of connections that are under way.
    pub(crate) async fn finish(mut self) -> Logger {
        self.read_all_exited();
        let left: Vec<ChildId> = self.children.keys().copied().collect();
        left.into_iter().for_each(|id| self.kill(id));
        self.guardian.finish();
        self.requeues.finish().await;
        self.logger
    }

    /// Starts a guardian where there is none. The work does not wait for one.
    pub(crate) fn provide_guardian(&mut self) {
        if let Err(error) = self.guardian.start(&self.program, clock::now()) {
            self.trouble(format!(
"no guardian could be started: {}; it is tried again (without one a worker that hears no signal outlives \
 a crash of the manager)",
explained(error)
));
        }
    }

    /// Starts to watch the worker directories, where that is wanted and can be had.
    pub(crate) fn watch(&mut self) {
        if !self.config.auto_update {
            return;
        }
        match LibraryWatcher::new() {
            Ok((watch, notices)) => self.watch = Some((Arc::new(Mutex::new(watch)), notices)),
            Err(error) => self.trouble(format!(
                "worker_dir cannot be watched: {}; changes are seen at the re-scan every {} s only (raise \
                 fs.inotify.max_user_instances where that is the limit)",
                reason(&error),
                self.config.rescan_interval.as_secs_f32()
            )),
        }
    }

    /// Where the watcher's notices come out.
    pub(crate) fn notices(&self) -> Option<WatchEvents> {
        self.watch.as_ref().map(|(_, notices)| notices.clone())
    }

    /// Reads the worker directories on a thread of its own: a hung file system blocks that one only. The watcher is
    /// armed first, so that no change falls between. Where the system gives no thread it is tried again soon.
    fn scan(&mut self) {
        if std::mem::replace(&mut self.scanning, true) {
            self.scan_again = true;
            return;
        }
        let (dirs, results) = (self.config.worker_dirs.clone(), self.results.clone());
        let watch = self.watch.as_ref().map(|(watch, _)| Arc::clone(watch));
        let beside = self.probes.beside();
        let look = move || {
            let follow = |watch: &Arc<Mutex<LibraryWatcher>>| {
                watch.lock().unwrap_or_else(PoisonError::into_inner).follow(&dirs, &beside)
            };
            let unwatched = watch.as_ref().map(follow).unwrap_or_default();
            // The receiver is gone only when the manager ends.
            let _ = results
                .send(BackgroundResult::Files(FinishedScan { scan: scan::scan_with(&dirs, &beside), unwatched }));
        };
        if let Err(error) = thread::Builder::new().name("scan".into()).spawn(look) {
            self.scanning = false;
            self.scan_later();
            self.trouble(format!(
                "no thread could be started to read worker_dir: {}; it is tried again (raise the limit of tasks)",
                reason(&error)
            ));
        }
    }

    fn scan_later(&mut self) {
        self.scan_at = Some(clock::now().saturating_add(self.scan_pause));
        self.scan_pause = self.scan_pause.saturating_mul(2).min(SCAN_PAUSE[1]);
    }

    /// Takes in what was found out beside the loop.
    pub(crate) fn found(&mut self, found: BackgroundResult) -> Input {
        match found {
            BackgroundResult::Files(scanned) => self.scanned(scanned),
            BackgroundResult::Version { server, version } => Input::Version { server, version },
        }
    }

    /// Takes in a scan; starts the next one where something changed meanwhile.
    fn scanned(&mut self, scanned: FinishedScan) -> Input {
        let news: Vec<String> =
            scanned.unwatched.iter().filter(|text| !self.unwatched.contains(text)).cloned().collect();
        news.into_iter().for_each(|text| self.trouble(text));
        self.unwatched = scanned.unwatched;
        self.scanning = false;
        match scanned.scan.look_again {
            true => self.scan_later(),
            false => (self.scan_at, self.scan_pause) = (None, SCAN_PAUSE[0]),
        }
        if std::mem::take(&mut self.scan_again) {
            self.scan();
        }
        Input::Scanned(scanned.scan)
    }

    fn log(&mut self, level: Level, pid: i32, text: &str) {
        self.logger.line(level, pid.cast_unsigned(), text);
    }

    /// Ends the manager's copy of a connection that its worker has given up.
    fn requeue(&mut self, copy: OwnedFd) {
        self.requeues.end(copy, Vec::new());
    }
}
