//! Dead workers are examined one after the other, each by a child with a deadline: thousands of deaths cost no more.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::future::poll_fn;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use super::Effects;
use super::children::ChildKind;
use crate::config::{Config, shown};
use crate::crash::files::{CRASHES, QUARANTINE, Record, RecordDir};
use crate::crash::quarantine::QuarantinedJob;
use crate::crash::record_id::{RecordId, RecordIds};
use crate::crash::report::{CrashReport, JobFacts, OutputLine, RecentJob, ResourceUsage, SystemVersions};
use crate::crash::workload_hash::WorkloadFacts;
use crate::logging::date;
use crate::plugins::function_version::FunctionVersion;
use crate::plugins::glibc::GlibcVersion;
use crate::plugins::name::FunctionName;
use crate::post_mortem::{PostMortemRequest, PostMortemResult, ROLE};
use crate::supervisor::event::{Death, DeathContext, Event, ExaminedWorker, QuarantineEvent};
use crate::supervisor::out_of_memory::OutOfMemory;
use crate::supervisor::reconcile::WorkerId;
use crate::system::child_poller::ChildId;
use crate::system::clock;
use crate::system::errors::reason;
use crate::system::reap::ExitStatus;
use crate::system::spawn::file_holding;
use crate::version;
use crate::worker::messages;

/// Workers that wait for their examination.
const WAITING: usize = 16;
/// The same of those whose jobs are to be kept, which are rarer and worth more.
const MAX_WAITING: usize = 64;
/// How long an examination may take.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the manager waits for all of them when it ends.
const TIMEOUT_AT_END: Duration = Duration::from_secs(5);

/// What is left of dead workers.
#[derive(Default)]
pub(super) struct PostMortems {
    ids: RecordIds,
    /// Of jobs in quarantine.
    quarantine_ids: RecordIds,
    /// Of workers that the core has not decided about.
    remains: BTreeMap<WorkerId, Remains>,
    waiting: VecDeque<Examination>,
    /// Deaths since the last examination that get none: too many waited.
    left_out: u64,
}

/// What a dead worker has left.
pub(super) struct Remains {
    /// What it saved of its crash.
    pub snapshot: Option<File>,
    /// What it served.
    pub versions: Vec<FunctionVersion>,
    pub usage: ResourceUsage,
    /// What it has printed and logged last.
    pub output: Vec<OutputLine>,
    /// The jobs before, the newest first.
    pub recent_jobs: Vec<RecentJob>,
}

impl Remains {
    /// What is known of its job's workload. One that cannot be read was not saved.
    pub(super) fn workload(&self) -> Option<WorkloadFacts> {
        WorkloadFacts::read(self.snapshot.as_ref()?).ok().flatten()
    }
}

/// A dead worker to examine.
struct Examination {
    /// None if its job is to be kept, and nothing else.
    report: Option<(CrashReport, ExaminedWorker)>,
    quarantined: Option<QuarantinedJob>,
    snapshot: Option<File>,
}

/// An examination that is under way.
pub(super) struct PostMortem {
    examined: Option<ExaminedWorker>,
    /// The job to keep, in words.
    job: Option<String>,
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
    /// Continues with the numbers of what is in a state directory.
    pub(super) fn new(state_dir: &Path) -> Self {
        let ids = ids_beyond::<CrashReport>(&state_dir.join(CRASHES));
        let quarantine_ids = ids_beyond::<QuarantinedJob>(&state_dir.join(QUARANTINE));
        Self { ids, quarantine_ids, ..Self::default() }
    }

    /// Descriptors of snapshots.
    pub(super) fn descriptors(&self) -> usize {
        let waiting = self.waiting.iter().filter(|examination| examination.snapshot.is_some()).count();
        waiting.saturating_add(self.remains.values().filter(|remains| remains.snapshot.is_some()).count())
    }

    pub(super) fn forget(&mut self, worker: WorkerId) {
        self.remains.remove(&worker);
    }
}

impl Effects {
    /// Keeps what a dead worker has left, and returns the id of its report, if it may get one.
    pub(super) fn keep_remains(&mut self, worker: WorkerId, remains: Remains) -> Option<RecordId> {
        self.post_mortems.remains.insert(worker, remains);
        if self.config.crash_keep == 0 {
            return None;
        }
        if self.post_mortems.waiting.len() >= WAITING {
            self.post_mortems.left_out = self.post_mortems.left_out.saturating_add(1);
            return None;
        }
        Some(self.post_mortems.ids.next(today()))
    }

    /// Examines a worker that died, as soon as those before it are done.
    pub(super) fn examine(&mut self, worker: WorkerId, death: &Death, server: Option<String>, quarantines: bool) {
        let Some(remains) = self.post_mortems.remains.remove(&worker) else { return };
        let quarantined = quarantines.then(|| self.quarantine(death, server.as_deref(), &remains)).flatten();
        let report = death.report.map(|id| {
            let mut report = self.report_of(id, death, server, &remains);
            if let Some(job) = &mut report.job {
                job.quarantine = quarantined.as_ref().map(|job| job.id);
            }
            let examined = examined(id, death, &report);
            (report, examined)
        });
        if report.is_some() || quarantined.is_some() {
            self.post_mortems.waiting.push_back(Examination { report, quarantined, snapshot: remains.snapshot });
            self.next_post_mortem();
        }
    }

    /// The job to keep, which is reported.
    fn quarantine(&mut self, death: &Death, server: Option<&str>, remains: &Remains) -> Option<QuarantinedJob> {
        let DeathContext::Job { function, handle, unique, deaths, .. } = &death.at else { return None };
        if self.config.quarantine_keep == 0 {
            return None;
        }
        if self.post_mortems.waiting.len() >= MAX_WAITING {
            self.report_error(format!(
                "{function}: too many jobs go into quarantine at once: job {handle} is not kept"
            ));
            return None;
        }
        let job = QuarantinedJob {
            id: self.post_mortems.quarantine_ids.next(today()),
            time: chrono::Local::now().to_rfc3339(),
            function: function.clone(),
            handle: handle.clone(),
            unique: unique.clone(),
            server: server.unwrap_or_default().to_owned(),
            version: death.version,
            deaths: deaths.unwrap_or_default(),
            cause: Event::WorkerDied(death.clone()).line(),
            report: death.report,
            workload_size: None,
            workload_kept: false,
            workload_note: None,
            sha256: None,
            replaces: Vec::new(),
        };
        let is_kept = remains.workload().is_some_and(|workload| workload.is_whole);
        self.report(&Event::JobQuarantined(QuarantineEvent::of(&job, is_kept)));
        Some(job)
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
            recent_jobs: remains.recent_jobs.clone(),
            output: remains.output.clone(),
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
        while let Some(Examination { report, quarantined, snapshot }) = self.post_mortems.waiting.pop_front() {
            let (report, mut examined) = report.unzip();
            if let Some(examined) = &mut examined {
                examined.left_out = std::mem::take(&mut self.post_mortems.left_out);
            }
            let request = PostMortemRequest {
                state_dir: self.state_dir(),
                report,
                crash_keep: self.config.crash_keep,
                timed_out: examined.as_ref().is_some_and(|examined| examined.timed_out),
                quarantined,
                quarantine_keep: self.config.quarantine_keep,
                workload_max: self.config.crash_workload_max,
            };
            match self.start_post_mortem(&request, snapshot, examined.clone()) {
                Ok(()) => return,
                Err(error) => {
                    let why = format!("no process could be started: {}", reason(&error));
                    if let Some(job) = &request.quarantined {
                        self.report_unkept(&in_words(job), &why);
                    }
                    self.report_examined(examined, why);
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
        self.child_index.short_lived.remove(&id);
        if let ChildKind::PostMortem(post_mortem) = child.kind {
            self.post_mortem_ended(*post_mortem, None);
        }
    }

    /// The examination that is under way.
    fn post_mortem(&self) -> Option<ChildId> {
        let mut all = self.short_lived().filter(|(_, child)| matches!(child.kind, ChildKind::PostMortem(_)));
        all.next().map(|(id, _)| id)
    }

    fn start_post_mortem(
        &mut self,
        request: &PostMortemRequest,
        snapshot: Option<File>,
        examined: Option<ExaminedWorker>,
    ) -> io::Result<()> {
        let job = request.quarantined.as_ref().map(in_words);
        let request = file_holding(&messages::encode(request))?;
        let deadline = Some(clock::now().saturating_add(TIMEOUT));
        let kind = PostMortem { examined, job, result: None, deadline };
        let extra = std::iter::once(request).chain(snapshot.map(Into::into)).collect();
        self.spawn(ROLE, extra, ChildKind::PostMortem(Box::new(kind))).map(drop)
    }

    /// Nothing was written.
    fn report_examined(&mut self, examined: Option<ExaminedWorker>, unwritten: String) {
        if let Some(examined) = examined {
            self.report(&Event::WorkerExamined(ExaminedWorker { unwritten: Some(unwritten), ..examined }));
        }
    }

    fn report_unkept(&mut self, job: &str, why: &str) {
        self.report_error(format!("{job} cannot be kept: {why}"));
    }

    fn state_dir(&self) -> PathBuf {
        self.store.state_dir().to_owned()
    }

    pub(super) fn post_mortem_ended(&mut self, post_mortem: PostMortem, end: Option<ExitStatus>) {
        let PostMortem { examined, job, result, deadline } = post_mortem;
        let unfinished = || match end {
            _ if deadline.is_none() => format!("its examination took longer than {} s", TIMEOUT.as_secs()),
            Some(end) => format!("the process that examined it ended early: {end}"),
            None => "its examination did not end".into(),
        };
        let PostMortemResult { place, called_from, stack_overflow, unknown, unwritten, unkept } = result
            .unwrap_or_else(|| PostMortemResult {
                unknown: Some(unfinished()),
                unkept: Some(format!("{}, perhaps before the job was written", unfinished())),
                ..PostMortemResult::default()
            });
        if let (Some(job), Some(why)) = (job, unkept) {
            self.report_unkept(&job, &why);
        }
        if let Some(examined) = examined {
            let found = ExaminedWorker { place, called_from, stack_overflow, unknown, unwritten, ..examined };
            self.report(&Event::WorkerExamined(found));
        }
        self.next_post_mortem();
    }
}

/// The ids that no record in a directory has. If it cannot be read, nothing can be written there either.
fn ids_beyond<T: Record>(dir: &Path) -> RecordIds {
    let used = RecordDir::<T>::open(dir).ok().flatten().and_then(|dir| dir.ids().ok());
    RecordIds::beyond(used.unwrap_or_default().into_iter().map(|(id, _)| id))
}

/// As a number: 20261124.
fn today() -> u32 {
    let day = date(SystemTime::now()).chars().take(10).filter(char::is_ascii_digit).collect::<String>();
    day.parse().unwrap_or_default()
}

/// What is known before the examination.
fn examined(report: RecordId, death: &Death, of: &CrashReport) -> ExaminedWorker {
    ExaminedWorker {
        pid: death.pid,
        function: of.function.clone(),
        functions: death.functions.clone(),
        timed_out: matches!(death.at, DeathContext::Job { timed_out: true, .. }),
        on_request: matches!(death.at, DeathContext::Job { on_request: true, .. }),
        report,
        place: None,
        called_from: None,
        stack_overflow: false,
        unknown: None,
        unwritten: None,
        left_out: 0,
    }
}

/// The limit that was reached, without what a log line puts around it.
fn limit_of(out_of_memory: &OutOfMemory) -> Option<String> {
    let clause = out_of_memory.limit_clause();
    Some(clause.trim_matches([' ', '(', ')']).to_owned()).filter(|limit| !limit.is_empty())
}

fn job_facts(at: &DeathContext, server: Option<String>) -> Option<JobFacts> {
    let DeathContext::Job { handle, unique, seconds, disposition, deaths, max_attempts, .. } = at else { return None };
    let disposition = serde_json::to_value(disposition).ok()?;
    Some(JobFacts {
        handle: handle.clone(),
        unique: unique.clone(),
        server,
        seconds: *seconds,
        disposition: disposition.as_str().unwrap_or_default().into(),
        deaths: *deaths,
        max_attempts: *max_attempts,
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

/// For a line in the log: `reverse: job H:host:12 in quarantine as 20261124-1`.
fn in_words(job: &QuarantinedJob) -> String {
    format!("{}: job {} in quarantine as {}", job.function, job.handle, job.id)
}

/// The settings of a function, without its secrets.
fn masked_settings(config: &Config, function: &FunctionName) -> BTreeMap<String, String> {
    let settings = config.functions.get(function.as_str()).map(|function| &function.settings.0);
    let all = settings.into_iter().flatten();
    all.map(|(name, value)| (name.clone(), shown(name, value).into_owned())).collect()
}
