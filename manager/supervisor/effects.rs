//! Carries out what the core decides, and reads what children send. Decides nothing itself.
//!
//! Everything runs on the manager's one thread. No call blocks on a child: commands are sent without blocking. A child
//! is read when it has sent something, a bounded amount at a time, and what is left of a dead child's messages once it
//! is reaped.

mod child_reader;
mod children;
mod counters;
mod event_log;
mod lookups;
mod output_label;
mod post_mortems;
mod probes;
mod queues;
mod reload;
mod scans;
mod status;
mod versions;
mod worker_status;
mod workers;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

use tokio::sync::mpsc;

use super::audience::Audience;
use super::core::{Action, Input};
use super::event::Event;
use super::guardian::Guardian;
use super::last_minute::LastMinute;
use super::out_of_memory::OutOfMemoryWatch;
use super::pause_records::{self, Pauses};
use super::reconcile::WorkerId;
use super::requeue::Requeues;
use crate::config::Config;
use crate::control::Feed;
use crate::deny_list::DenyList;
use crate::gearman::admin::ServerVersion;
use crate::logging::{Level, Logger};
use crate::plugins::name::FunctionName;
use crate::plugins::store::Store;
use crate::system::child_poller::{ChildId, ChildPoller};
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::limits::explained;
use crate::system::spawn::Program;
use child_reader::ChildReader;
use children::{ChildIndex, ManagedChild, Reaper, SocketCopies};
use counters::RetiredCounts;
use event_log::EventLog;
use post_mortems::PostMortems;
use probes::Probes;
pub(crate) use queues::QueueAnswer;
pub(crate) use reload::log_target;
use scans::{DirectoryScans, FinishedScan};
pub(crate) use status::manager_state;
use versions::StoredVersions;
pub(crate) use workers::RunningJob;

/// What the loop must do after an action; everything else is done by the action.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum LoopAction {
    /// Go on.
    Nothing,
    /// Report to the caller that started the manager that it serves.
    Announce(Option<String>),
    /// Report to the caller that started the manager why it does not serve, and exit.
    Fail(u8, String),
    /// The manager is done, and exits.
    Finish,
}

/// Everything the manager does to the system and receives from it.
pub(crate) struct Effects {
    pub(super) config: Config,
    pub(super) event_log: EventLog,
    pub(super) poller: ChildPoller,
    program: Program,
    store: Store,
    known: StoredVersions,
    scans: DirectoryScans,
    host: String,
    children: BTreeMap<ChildId, ManagedChild>,
    child_index: ChildIndex,
    workers: BTreeMap<WorkerId, ChildId>,
    child_reader: ChildReader,
    reaper: Reaper,
    probes: Probes,
    post_mortems: PostMortems,
    guardian: Guardian,
    /// Job servers that were asked about their queues and have not answered yet.
    asked_queues: BTreeSet<usize>,
    out_of_memory: OutOfMemoryWatch,
    lost_jobs: LostJobs,
    /// Counters of workers that have exited, by function.
    past: BTreeMap<FunctionName, RetiredCounts>,
    /// Totals of jobs, as they were recorded in the last minute.
    last_minute: LastMinute,
    buffer: Vec<u8>,
    /// Inputs for the core, in order.
    inputs: VecDeque<Input>,
    /// Where background threads send their results.
    results: mpsc::UnboundedSender<BackgroundResult>,
}

/// Jobs of workers that have died.
struct LostJobs {
    /// Connections that are being closed, so that their job servers requeue the jobs.
    requeues: Requeues,
    /// Jobs that no worker may run again.
    denied: DenyList,
    /// Connections of dead workers whose jobs the core has not decided about yet.
    orphaned: BTreeMap<WorkerId, SocketCopies>,
}

/// What effects need from outside.
pub(crate) struct EffectResources {
    /// The configuration, paths made absolute.
    pub config: Config,
    /// The open log.
    pub logger: Logger,
    /// Who reads it.
    pub audience: Audience,
    /// Where events go.
    pub feed: Feed,
    /// The running program.
    pub program: Program,
    /// The store of checked libraries, and what is remembered of versions.
    pub store: Store,
}

/// The result of a background thread or task.
pub(crate) enum BackgroundResult {
    /// The contents of the worker directories.
    Files(FinishedScan),
    /// The version of a job server.
    Version {
        /// Which server.
        server: usize,
        /// Its version, if it sent one.
        version: Option<ServerVersion>,
    },
    /// The queues of a job server.
    Queues(QueueAnswer),
}

impl Effects {
    /// Effects without any child yet. Must be called inside the runtime.
    ///
    /// # Errors
    /// The system's, out of descriptors.
    pub(crate) fn new(
        resources: EffectResources,
        results: mpsc::UnboundedSender<BackgroundResult>,
    ) -> std::io::Result<Self> {
        let host = nix::unistd::gethostname()?.to_string_lossy().into_owned();
        let post_mortems = PostMortems::new(resources.store.state_dir());
        let guardian = Guardian::new(resources.config.graceful_shutdown_wait_time)?;
        Ok(Self {
            config: resources.config,
            event_log: EventLog::new(resources.logger, resources.audience.log(), resources.feed),
            poller: ChildPoller::new()?,
            program: resources.program,
            store: resources.store,
            known: StoredVersions::default(),
            scans: DirectoryScans::default(),
            host,
            children: BTreeMap::new(),
            child_index: ChildIndex::default(),
            workers: BTreeMap::new(),
            child_reader: ChildReader::default(),
            reaper: Reaper::default(),
            probes: Probes::default(),
            post_mortems,
            guardian,
            asked_queues: BTreeSet::new(),
            out_of_memory: OutOfMemoryWatch::new(Path::new("/")),
            lost_jobs: LostJobs { requeues: Requeues::default(), denied: DenyList::new()?, orphaned: BTreeMap::new() },
            past: BTreeMap::new(),
            last_minute: LastMinute::starting_at(clock::now()),
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
            Action::Activate(id) => self.command(id, &crate::worker::messages::Command::Activate),
            Action::Drain(id) => self.command(id, &crate::worker::messages::Command::Drain),
            Action::Ping(id) => self.command(id, &crate::worker::messages::Command::Ping),
            Action::Promote(id) => self.command(id, &crate::worker::messages::Command::Promote),
            Action::Addresses(id, server, addresses) => {
                self.command(id, &crate::worker::messages::Command::Addresses { server, addresses });
            }
            Action::Offer { worker, number, left_out } => {
                self.command(worker, &crate::worker::messages::Command::Offer { number, left_out });
            }
            Action::SavePauses(pauses) => self.save_pauses(&pauses),
            Action::TerminateOverdue(id) => self.terminate_overdue(id),
            Action::Kill(id) => self.kill_worker(id),
            Action::Release { worker, answer } => self.release(worker, answer),
            Action::Deny { server, job, reason } => {
                self.lost_jobs.denied.add(&job.identity(&server), &reason, clock::now());
            }
            Action::Allow { server, job } => self.lost_jobs.denied.remove(&job.identity(&server)),
            Action::ForgetDenied { server } => self.lost_jobs.denied.forget_server(&server),
            Action::Examine { worker, death, server, quarantines } => {
                self.examine(worker, &death, server, quarantines);
            }
            // The last event: crash reports are still written before it.
            Action::ReportEvent(event @ Event::Stopped { .. }) => self.event_log.report_last(event),
            Action::ReportEvent(event) => self.report(&event),
            Action::TellAwaited => self.report_awaited(),
            action @ (Action::SetLastGood { .. }
            | Action::Reject { .. }
            | Action::ClearRejection { .. }
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

    /// The next input for the core.
    pub(crate) fn next_input(&mut self) -> Option<Input> {
        self.inputs.pop_front()
    }

    /// Logs an event and sends it to followers.
    pub(crate) fn report(&mut self, event: &Event) {
        self.event_log.report(event);
    }

    /// Reports a failure after which the manager keeps running.
    pub(crate) fn report_error(&mut self, text: String) {
        self.report(&Event::ManagerError { text });
    }

    /// Writes the records of versions into a new state directory.
    pub(crate) fn save_records(&mut self) {
        if let Err(error) = self.store.records.save() {
            self.report_error(format!("what is known of versions cannot be written: {}", reason(&error)));
        }
    }

    /// What an earlier manager has paused.
    pub(crate) fn saved_pauses(&mut self) -> Pauses {
        let (pauses, warning) = pause_records::read(self.store.state_dir());
        warning.into_iter().for_each(|warning| self.report_error(warning));
        pauses
    }

    fn save_pauses(&mut self, pauses: &Pauses) {
        if let Err(error) = pause_records::write(self.store.state_dir(), pauses) {
            self.report_error(format!(
                "which functions are paused cannot be written, so the next manager does not know it: {}",
                reason(&error)
            ));
        }
    }

    /// Workers that are killed from now on have nothing to do with what the kernel has killed before.
    pub(crate) fn look_at_memory(&mut self) {
        self.out_of_memory.look(clock::now());
    }

    /// When [`Effects::tick`] is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let deadlines = self.short_lived().filter_map(|(_, child)| child.deadline());
        deadlines.chain(self.scans.retry_at).chain(self.guardian.due()).chain(self.probe_room_due()).min()
    }

    /// Kills children past their deadlines, starts probes that waited for a slow one, and retries a failed scan of
    /// worker_dir.
    pub(crate) fn tick(&mut self, now: Duration) {
        let is_late = |child: &ManagedChild| child.deadline().is_some_and(|at| now >= at);
        let late: Vec<ChildId> = self.short_lived().filter(|(_, child)| is_late(child)).map(|(id, _)| id).collect();
        for id in late {
            self.catch_up(id);
            if self.children.get(&id).is_some_and(is_late) {
                self.times_out(id);
            }
        }
        self.provide_guardian();
        self.next_probes();
        if self.scans.retry_at.take_if(|at| now >= *at).is_some() {
            self.scan();
        }
    }

    /// Kills the remaining children, and waits for connections that are being closed.
    pub(crate) async fn finish(mut self) -> Logger {
        self.read_all_exited();
        self.finish_post_mortems().await;
        let left: Vec<ChildId> = self.children.keys().copied().collect();
        left.into_iter().for_each(|id| self.kill(id));
        self.guardian.finish();
        std::mem::take(&mut self.lost_jobs.requeues).finish().await;
        self.event_log.finish()
    }

    /// Starts a guardian if there is none. Nothing waits for it.
    pub(crate) fn provide_guardian(&mut self) {
        if let Err(error) = self.guardian.start(&mut self.program, clock::now()) {
            self.report_error(format!(
"no guardian could be started: {}; it is tried again (without one a worker that hears no signal outlives \
 a crash of the manager)",
explained(&error)
));
        }
    }

    fn log(&mut self, level: Level, pid: i32, text: &str) {
        self.event_log.logger.line(level, pid.cast_unsigned(), text);
    }

    /// Closes the manager's copy of a connection that its worker has closed.
    fn requeue(&mut self, copy: OwnedFd) {
        self.lost_jobs.requeues.end(copy, Vec::new());
    }
}
