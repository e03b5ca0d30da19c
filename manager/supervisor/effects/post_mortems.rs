//! Dead workers are examined one after the other, each by a child with a deadline: thousands of deaths cost no more.

use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use super::Effects;
use super::children::ChildKind;
use crate::config::{Config, shown};
use crate::crash::files::{CRASHES, RecordDir};
use crate::crash::record_id::{RecordId, RecordIds};
use crate::crash::report::{CrashReport, JobFacts, ResourceUsage, SystemVersions};
use crate::logging::date;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::glibc::GlibcVersion;
use crate::plugins::name::FunctionName;
use crate::post_mortem::{PostMortemRequest, PostMortemResult, ROLE};
use crate::supervisor::event::{Death, DeathAt, Event, ExaminedWorker};
use crate::supervisor::out_of_memory::OutOfMemory;
use crate::supervisor::reconcile::WorkerId;
use crate::system::child_poller::ChildId;
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::spawn::file_holding;
use crate::version;
use crate::worker::messages;

/// Workers that wait for their examination.
const WAITING: usize = 16;
/// How long an examination may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the manager waits for all of them when it ends.
const TIMEOUT_AT_END: Duration = Duration::from_secs(5);

/// What is left of dead workers.
#[derive(Default)]
pub(super) struct PostMortems {
    ids: RecordIds,
    /// Of workers that the core has not decided about.
    remains: BTreeMap<WorkerId, Remains>,
    waiting: VecDeque<Examination>,
    /// Deaths since the last examination that get none: too many waited.
    left_out: u64,
}

/// What a dead worker has left.
pub(super) struct Remains {
    /// What it saved of its crash.
    pub snapshot: Option<OwnedFd>,
    /// What it served.
    pub versions: Vec<FunctionVersion>,
    pub usage: ResourceUsage,
}

/// A dead worker to examine.
struct Examination {
    report: CrashReport,
    snapshot: Option<OwnedFd>,
    examined: ExaminedWorker,
}

/// An examination that is under way.
pub(super) struct PostMortem {
    examined: ExaminedWorker,
    result: Option<PostMortemResult>,
    /// When it is killed; `None` once it was.
    deadline: Option<Duration>,
}

impl PostMortem {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    pub(super) fn times_out(&mut self) {
        self.deadline = None;
    }

    pub(super) fn has_result(&self) -> bool {
        self.result.is_some()
    }

    pub(super) fn receive(&mut self, message: &[u8]) {
        if let Ok(result) = messages::decode(message) {
            self.result = Some(result);
        }
    }
}

impl PostMortems {
    /// Continues with the numbers of reports that are there.
    pub(super) fn new(dir: &std::path::Path) -> Self {
        let used = RecordDir::<CrashReport>::open(dir).ok().flatten().and_then(|dir| dir.ids().ok());
        let ids = RecordIds::beyond(used.unwrap_or_default().into_iter().map(|(id, _)| id));
        Self { ids, ..Self::default() }
    }

    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.remains.remove(&worker);
    }
}

impl Effects {
    /// Keeps what a dead worker has left, and returns the id of its report, if it may get one.
    pub(super) fn keep_remains(&mut self, worker: WorkerId, remains: Remains) -> Option<RecordId> {
        if self.config.crash_keep == 0 {
            return None;
        }
        if self.post_mortems.waiting.len() >= WAITING {
            self.post_mortems.left_out = self.post_mortems.left_out.saturating_add(1);
            return None;
        }
        self.post_mortems.remains.insert(worker, remains);
        let day = date(SystemTime::now()).chars().take(10).filter(char::is_ascii_digit).collect::<String>();
        Some(self.post_mortems.ids.next(day.parse().unwrap_or_default()))
    }

    /// Examines a worker that died, as soon as those before it are done.
    pub(super) fn examine(&mut self, worker: WorkerId, death: &Death, server: Option<String>) {
        let (Some(remains), Some(id)) = (self.post_mortems.remains.remove(&worker), death.report) else { return };
        let report = self.report_of(id, death, server, &remains);
        let examined = ExaminedWorker {
            pid: death.pid,
            function: report.function.clone(),
            functions: death.functions.clone(),
            timed_out: matches!(death.at, DeathAt::Job { timed_out: true, .. }),
            report: id,
            place: None,
            called_from: None,
            stack_overflow: false,
            unknown: None,
            unwritten: None,
            left_out: 0,
        };
        self.post_mortems.waiting.push_back(Examination { report, snapshot: remains.snapshot, examined });
        self.next_post_mortem();
    }

    /// Everything but what only the snapshot knows.
    fn report_of(&self, id: RecordId, death: &Death, server: Option<String>, remains: &Remains) -> CrashReport {
        let function = death.at.function().or(match death.functions.as_slice() {
            [only] => Some(only),
            _ => None,
        });
        let version = remains.versions.iter().find(|version| Some(&version.function) == function);
        let stored = version.and_then(|version| self.known.stored(version));
        CrashReport {
            id: Some(id),
            time: chrono::Local::now().to_rfc3339(),
            cause: Event::WorkerDied(death.clone()).line(),
            end: death.end.clone(),
            at: death.at.name().into(),
            function: function.cloned(),
            version: version.map(|version| version.hash).or(death.version),
            crate_version: stored.map(|(_, crate_version)| crate_version.to_owned()),
            library: stored.map(|(path, _)| path.to_owned()),
            prefix: self.config.prefix.clone(),
            functions: death.functions.clone(),
            pid: death.pid,
            generation: death.generation,
            jobs: death.jobs,
            job: job_facts(&death.at, server),
            usage: remains.usage.clone(),
            limit: death.out_of_memory.as_ref().and_then(limit_of),
            versions: system_versions(),
            settings: function.map(|function| masked_settings(&self.config, function)).unwrap_or_default(),
            ..CrashReport::default()
        }
    }

    fn next_post_mortem(&mut self) {
        if self.post_mortem().is_some() {
            return;
        }
        while let Some(Examination { report, snapshot, mut examined }) = self.post_mortems.waiting.pop_front() {
            examined.left_out = std::mem::take(&mut self.post_mortems.left_out);
            let (dir, keep, timed_out) = (self.crashes_dir(), self.config.crash_keep, examined.timed_out);
            let request = PostMortemRequest { dir, keep, timed_out, report };
            let deadline = Some(clock::now().saturating_add(TIMEOUT));
            let started = file_holding(&messages::encode(&request)).and_then(|request| {
                let kind = PostMortem { examined: examined.clone(), result: None, deadline };
                let extra = std::iter::once(request).chain(snapshot).collect();
                self.spawn(ROLE, extra, ChildKind::PostMortem(Box::new(kind)))
            });
            match started {
                Ok(_) => return,
                Err(error) => {
                    examined.unwritten = Some(format!("no process could be started: {}", reason(&error)));
                    self.report(&Event::WorkerExamined(examined));
                }
            }
        }
    }

    /// When the manager ends: the reports that were announced are written, unless that takes long.
    pub(super) async fn finish_post_mortems(&mut self) {
        // Out of time, those that are left have no report.
        let _ = tokio::time::timeout(TIMEOUT_AT_END, self.examine_all()).await;
    }

    async fn examine_all(&mut self) {
        while let Some(id) = self.post_mortem() {
            if self.children.get(&id).is_some_and(|child| child.kind.has_result()) {
                self.end_post_mortem(id);
                continue;
            }
            poll_fn(|context| self.poller.poll(context)).await;
            while let Some(read) = self.poll() {
                if read.is_last_of(id) {
                    self.end_post_mortem(id);
                }
            }
            // A child that keeps sending must not starve the timer.
            tokio::task::yield_now().await;
        }
    }

    /// Its process is of no more interest.
    fn end_post_mortem(&mut self, id: ChildId) {
        self.kill(id);
        let Some(child) = self.children.remove(&id) else { return };
        self.poller.forget(&child.channel);
        self.short_lived.remove(&id);
        if let ChildKind::PostMortem(post_mortem) = child.kind {
            self.post_mortem_ended(*post_mortem);
        }
    }

    /// The examination that is under way.
    fn post_mortem(&self) -> Option<ChildId> {
        let mut all = self.short_lived().filter(|(_, child)| matches!(child.kind, ChildKind::PostMortem(_)));
        all.next().map(|(id, _)| id)
    }

    pub(super) fn crashes_dir(&self) -> PathBuf {
        self.store.dir().with_file_name(CRASHES)
    }

    pub(super) fn post_mortem_ended(&mut self, post_mortem: PostMortem) {
        let PostMortem { mut examined, result, deadline } = post_mortem;
        match result {
            Some(PostMortemResult { place, called_from, stack_overflow, unknown, unwritten }) => {
                (examined.place, examined.called_from) = (place, called_from);
                examined.stack_overflow = stack_overflow;
                (examined.unknown, examined.unwritten) = (unknown, unwritten);
            }
            None if deadline.is_none() => {
                examined.unknown = Some(format!("its examination took longer than {} s", TIMEOUT.as_secs()));
            }
            None => examined.unknown = Some("its examination ended without a result".into()),
        }
        self.report(&Event::WorkerExamined(examined));
        self.next_post_mortem();
    }
}

/// The limit that was reached, without what a log line puts around it.
fn limit_of(out_of_memory: &OutOfMemory) -> Option<String> {
    let clause = out_of_memory.limit_clause();
    Some(clause.trim_matches([' ', '(', ')']).to_owned()).filter(|limit| !limit.is_empty())
}

fn job_facts(at: &DeathAt, server: Option<String>) -> Option<JobFacts> {
    let DeathAt::Job { handle, unique, seconds, disposition, deaths, max_attempts, .. } = at else { return None };
    let disposition = serde_json::to_value(disposition).ok()?;
    Some(JobFacts {
        handle: handle.clone(),
        unique: unique.clone(),
        server,
        seconds: *seconds,
        disposition: disposition.as_str().unwrap_or_default().into(),
        deaths: *deaths,
        max_attempts: *max_attempts,
        workload_note: Some("the worker did not save it".into()),
        ..JobFacts::default()
    })
}

fn system_versions() -> SystemVersions {
    let kernel = nix::sys::utsname::uname().map(|name| name.release().to_string_lossy().into_owned());
    let glibc = GlibcVersion::running().map(|version| version.to_string());
    SystemVersions {
        manager: version::WITH_REVISION.into(),
        kernel: kernel.unwrap_or_default(),
        glibc: glibc.unwrap_or_default(),
    }
}

/// The settings of a function, without its secrets.
fn masked_settings(config: &Config, function: &FunctionName) -> BTreeMap<String, String> {
    let settings = config.functions.get(function.as_str()).map(|function| &function.settings.0);
    let all = settings.into_iter().flatten();
    all.map(|(name, value)| (name.clone(), shown(name, value).into_owned())).collect()
}
