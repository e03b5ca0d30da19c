//! The core, driven through whole stories with a clock of our own: what it does, in order.

mod deadlines;
mod deaths_in_jobs;
mod early_exits;
mod examinations;
mod failures;
mod independence;
mod isolation;
mod jobs;
mod liveness;
mod memory;
mod pauses;
mod reload;
mod requests;
mod rollouts;
mod servers;
mod start_timeout;
mod starts;
mod startup;
mod walks;

use super::*;
use crate::config::{ConfigFile, Overrides, load};
use crate::plugins::identity::FileIdentity;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::{Candidate, ScanResult};
use crate::plugins::version_records::VersionFacts;
use crate::scoreboard::WorkerActivity;
use crate::supervisor::canary::JobCounts;
use crate::supervisor::catalog::{CheckedVersion, ProbeFailure};
use crate::supervisor::exit_cause::{ExitCause, JobInHand};
use crate::supervisor::job_failures::{FailedJob, FailureKind, FailureReading};
use crate::supervisor::reconcile::WorkerId;
use crate::system::process::RunState;
use crate::system::reap::ExitStatus;
use crate::worker::messages::WorkerMessage;

/// A core whose workers follow its orders, unless a test says otherwise.
struct Stage {
    core: Core,
    now: Duration,
    started: Vec<WorkerStart>,
    log: Vec<String>,
    /// Workers that were ordered to connect.
    connecting: Vec<u64>,
    /// Canaries that became ordinary workers.
    promoted: Vec<u64>,
    remembered: Vec<String>,
    events: Vec<Event>,
    /// The unique id of jobs in which workers die.
    unique: &'static str,
    /// Handles of jobs that nobody may run again.
    denied: Vec<String>,
    /// What a function's scoreboards say: jobs with a result, failed jobs, and the last of these.
    failed: BTreeMap<String, (u64, u64, Option<FailedJob>)>,
    /// Workers that were examined after their death, and how they died.
    examined: Vec<(u64, String)>,
    /// How often a stop reported what it waits for.
    awaited: usize,
    /// When workers last polled, and what their processes are doing, for those that have stopped responding.
    silent: BTreeMap<u64, (Duration, RunState)>,
    /// What workers are doing that are not idle.
    activities: BTreeMap<u64, WorkerActivity>,
}

fn identity(ino: u64) -> FileIdentity {
    FileIdentity { dev: 1, ino, size: 2, mtime: (0, 0), ctime: (0, 0) }
}

fn candidate(name: &str, ino: u64) -> Candidate {
    let function = FunctionName::new(name).unwrap();
    Candidate { function, dir: "/w".into(), path: format!("/w/{name}.so").into(), identity: identity(ino) }
}

fn scan(files: &[(&str, u64)]) -> Input {
    let candidates = files.iter().map(|(name, ino)| (FunctionName::new(name).unwrap(), candidate(name, *ino)));
    Input::Scanned(ScanResult { candidates: candidates.collect(), ..ScanResult::default() })
}

/// From this content on, a library brings Go's runtime along.
const GO_CONTENT: u64 = 1000;

fn version(name: &str, ino: u64) -> CheckedVersion {
    let hash = format!("{name:.4}-{ino}").as_str().into();
    CheckedVersion {
        hash,
        library: "/s".into(),
        facts: VersionFacts { crate_version: "1.0.0".into(), has_go: ino >= GO_CONTENT },
        warning: None,
    }
}

fn found(name: &str, ino: u64) -> Input {
    Input::Probed { function: name.into(), identity: identity(ino), result: Ok(version(name, ino)) }
}

fn exit_report(end: ExitStatus, exit_cause: ExitCause, jobs: u64) -> ExitReport {
    let (server, is_counted, completed) = (Some(0), false, jobs);
    let (cut_another, out_of_memory) = (false, None);
    ExitReport {
        pid: 100,
        end,
        server,
        exit_cause,
        cut_another,
        jobs,
        is_counted,
        peak_kib: 2048,
        out_of_memory,
        workload: None,
        completed,
        report: "20261124-1".parse().ok(),
    }
}

const KILLED: ExitStatus = ExitStatus::Signal(9);

impl Stage {
    fn new(ini: &str) -> Self {
        let source = ConfigFile { path: "gm.ini".as_ref(), bytes: ini.as_bytes() };
        let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
        let now = Duration::from_secs(1000);
        let (core, first) = Core::new(config, SavedVersions::default(), 7, now);
        let mut stage = Self {
            core,
            now,
            started: Vec::new(),
            log: Vec::new(),
            connecting: Vec::new(),
            promoted: Vec::new(),
            remembered: Vec::new(),
            events: Vec::new(),
            denied: Vec::new(),
            failed: BTreeMap::new(),
            awaited: 0,
            examined: Vec::new(),
            unique: "u",
            silent: BTreeMap::new(),
            activities: BTreeMap::new(),
        };
        stage.take(first);
        stage
    }

    fn take(&mut self, actions: Vec<Action>) {
        // The manager may be killed at any moment: why a job runs again is in the log before the job goes back.
        let released = actions.iter().position(|action| matches!(action, Action::Release { .. }));
        let died = actions.iter().position(|action| matches!(action, Action::ReportEvent(Event::WorkerDied(_))));
        assert!(died.is_none_or(|died| released.is_none_or(|released| died < released)), "{actions:?}");
        for action in actions {
            match action {
                Action::Start(start) => {
                    self.log.push(format!("start {}", names(&start)));
                    self.started.push(start);
                }
                Action::ReportEvent(event) => self.events.push(event),
                Action::TellAwaited => self.awaited += 1,
                Action::Forget { function } => self.log.push(format!("forget {function}")),
                Action::ProbeAgain(candidate) => self.log.push(format!("probe again {}", candidate.function)),
                Action::Probe(candidate) => self.log.push(format!("probe {}", candidate.function)),
                Action::Connect(id) => self.connecting.push(id.0),
                Action::Activate(id) => self.log.push(format!("go {}", id.0)),
                Action::Drain(id) => self.log.push(format!("leave {}", id.0)),
                Action::Promote(id) => self.promoted.push(id.0),
                Action::Ping(id) => self.log.push(format!("ping {}", id.0)),
                Action::Kill(id) => self.log.push(format!("kill {}", id.0)),
                Action::Fail(code, text) => self.log.push(format!("fail {code}: {text}")),
                Action::SetLastGood { function, version } if self.core.startup.announced => {
                    self.log.push(format!("good {function} {}", version.hash.test_name()));
                }
                Action::SetLastGood { .. } | Action::ClearRejection { .. } | Action::Release { answer: None, .. } => {}
                Action::Deny { job, .. } => self.denied.push(String::from_utf8(job.handle).unwrap()),
                Action::ForgetDenied { .. } => self.denied.clear(),
                Action::Release { answer: Some(answer), .. } => self.log.push(format!("answer {}", answer.text)),
                Action::TerminateOverdue(id) => self.log.push(format!("terminate {}", id.0)),
                Action::Reject { function, hash, .. } => {
                    self.remembered.push(format!("bad {function} {}", hash.test_name()));
                }
                Action::Examine { worker, death, quarantines, .. } => {
                    self.examined.push((worker.0, death.how()));
                    if quarantines {
                        self.log.push("quarantine".into());
                    }
                }
                Action::Pin { function, pin: Some(pin) } => {
                    self.log.push(format!("pin {function} {}", pin.version.test_name()));
                }
                Action::Pin { function, pin: None } => self.log.push(format!("unpin {function}")),
                Action::Announce(note) => self.log.push(format!("announce {note:?}")),
                other => self.log.push(format!("{other:?}")),
            }
        }
    }

    fn input(&mut self, input: Input) -> &mut Self {
        let shown = format!("{input:?}");
        let actions = self.core.handle(input, self.now);
        self.take(actions);
        self.core.workers.check();
        let overlooked = self.core.overlooked_groups(self.now);
        assert!(overlooked.is_empty(), "overlooked after {shown}: {overlooked:?}");
        self.reads_liveness();
        // The loop reads counters as soon as they are due.
        for function in self.core.failures_to_read(self.now) {
            let (completed, failed, last) = self.failed.get(function.as_str()).cloned().unwrap_or_default();
            let reading = FailureReading { function, completed, failed, last };
            let actions = self.core.handle(Input::FailuresRead(reading), self.now);
            self.take(actions);
        }
        self
    }

    /// The loop reads stamps as soon as they are due.
    fn reads_liveness(&mut self) {
        let Some(round) = self.core.liveness_due(self.now) else { return };
        let seen = |&(worker, with_process): &(WorkerId, bool)| {
            let (polled, process) = self.silent.get(&worker.0).copied().unwrap_or((self.now, RunState::Other));
            let process = if with_process { process } else { RunState::Other };
            let activity = self.activities.get(&worker.0).copied().or(Some(WorkerActivity::Idle));
            WorkerLiveness { worker, stamp: Some(polled), activity, process }
        };
        let seen = round.workers.iter().map(seen).collect();
        let actions = self.core.handle(Input::LivenessRead(round, seen), self.now);
        self.take(actions);
    }

    fn later(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.input(Input::Timer { read: self.now })
    }

    fn message(&mut self, id: u64, message: WorkerMessage) -> &mut Self {
        self.input(Input::Message { worker: WorkerId(id), message })
    }

    /// A worker loads, finds its job server and serves.
    fn serves(&mut self, id: u64) -> &mut Self {
        self.input(Input::Spawned { worker: WorkerId(id), pid: 100 + id as i32 });
        self.message(id, WorkerMessage::Loaded)
            .message(id, WorkerMessage::ServerUp { server: 0 })
            .message(id, WorkerMessage::Ready)
            .message(id, WorkerMessage::Serving)
    }

    fn ends(&mut self, id: u64, exit_report: ExitReport) -> &mut Self {
        let exit_report = ExitReport { pid: 100 + id as i32, ..exit_report };
        self.input(Input::Ended { worker: WorkerId(id), exit_report })
    }

    /// A canary of one new version has run `jobs` jobs, of which `failed` failed.
    fn counts(&mut self, id: u64, jobs: u64, failed: u64) -> &mut Self {
        let counts = JobCounts { completed: jobs - failed, failed, old_completed: 100, old_failed: 0 };
        let counts = vec![counts; self.core.workers[&WorkerId(id)].canary.as_ref().map_or(0, Vec::len)];
        let failures = vec!["no such table".to_owned(); counts.len()];
        self.input(Input::Counted(CanaryCounts { worker: WorkerId(id), counts, failures }))
    }

    /// A worker that is a canary has shown enough.
    fn counts_if_canary(&mut self, id: u64) {
        if self.core.workers.get(&WorkerId(id)).is_some_and(|w| w.canary.is_some() && w.state.is_serving()) {
            self.counts(id, 100, 0);
        }
    }

    fn leaves(&mut self, id: u64) -> &mut Self {
        self.ends(id, exit_report(ExitStatus::Exit(0), ExitCause::Drained, 0))
    }

    fn dies_in_job(&mut self, id: u64, done: u64) -> &mut Self {
        self.ends_in_job(id, KILLED, done)
    }

    fn ends_in_job(&mut self, id: u64, end: ExitStatus, done: u64) -> &mut Self {
        let functions = self.core.workers.get(&WorkerId(id)).map(|worker| worker.names()).unwrap_or_default();
        let lost = JobInHand {
            function: functions.iter().position(|name| name == "a").unwrap_or_default(),
            number: 1,
            connection: 1,
            handle: b"H:a:1".to_vec(),
            unique: self.unique.into(),
            ran: Duration::from_secs(1),
            half_sent: false,
        };
        self.ends(id, exit_report(end, ExitCause::InJob(lost), done))
    }

    /// What was done since the last call.
    fn take_actions(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// How many were ordered to drain since they had reached this limit.
    fn left_at(&self, key: Option<&str>) -> usize {
        self.count_events(|event| matches!(event, Event::WorkerDraining { limit, .. } if *limit == key))
    }

    fn count_events(&self, is: impl Fn(&Event) -> bool) -> usize {
        self.events.iter().filter(|event| is(event)).count()
    }

    fn ids(&self) -> Vec<u64> {
        self.core.workers.keys().map(|id| id.0).collect()
    }
}

/// Somebody's request.
const BY: RequestOrigin = RequestOrigin { request: 1, uid: 0 };

fn names(start: &WorkerStart) -> String {
    let mut names: Vec<&str> = start.functions.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    names.join("+")
}

/// Two functions with two dedicated workers each, all serving.
fn two_functions() -> Stage {
    let mut stage = Stage::new("[GearmanManager]\ndedicated_count = 2\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
    for id in 1..=4 {
        stage.serves(id);
    }
    stage.take_actions();
    stage
}

#[test]
fn a_start_from_scan_to_announcement() {
    let mut stage = Stage::new("[GearmanManager]\ndedicated_count = 1\n");
    assert_eq!(stage.take_actions(), ["Scan"]);
    stage.input(scan(&[("a", 1), ("b", 1)]));
    assert_eq!(stage.take_actions(), ["probe a", "probe b"]);
    stage.input(found("a", 1));
    assert_eq!(stage.take_actions(), [""; 0], "nothing starts before everything is known");
    stage.input(found("b", 1));
    assert_eq!(stage.take_actions(), ["start a", "start b"]);
    stage.serves(1);
    assert_eq!(stage.take_actions(), ["go 1"]);
    stage.serves(2);
    assert_eq!(stage.take_actions(), ["go 2", "announce None"]);
    assert_eq!(stage.count_events(|event| matches!(event, Event::Started { workers: 2, functions: 2, .. })), 1);
}

#[test]
fn a_start_without_a_job_server_is_announced_with_a_note() {
    let mut stage = Stage::new("[GearmanManager]\nhost = 127.0.0.1:4731\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).message(1, WorkerMessage::Loaded);
    stage.message(1, WorkerMessage::ServerDown { server: 0, reason: "connection refused".into() });
    let note = stage.take_actions().pop().unwrap();
    assert!(note.contains("job server 127.0.0.1:4731 does not answer yet"), "{note}");
    stage.later(Duration::from_secs(3600));
    assert_eq!(stage.ids(), [1], "a loaded worker that finds no job server is not the library's fault");
}

#[test]
fn starts_that_come_to_nothing() {
    let refused = |name: &str| Input::Probed {
        function: name.into(),
        identity: identity(1),
        result: Err("it is a text file".into()),
    };
    let mut only_bad = Stage::new("[GearmanManager]\n");
    only_bad.input(scan(&[("a", 1)])).input(refused("a"));
    let announced = only_bad.take_actions().pop().unwrap();
    assert!(
        announced.starts_with("announce Some(\"a: /w/a.so: it is a text file\\nnothing in ./workers can be"),
        "{announced}"
    );
    only_bad.input(scan(&[("a", 2)])).input(found("a", 2));
    assert_eq!(only_bad.take_actions(), ["probe a", "good a a-2", "start a"]);
    let mut never = Stage::new("[GearmanManager]\nauto_update = 0\n");
    never.input(scan(&[("a", 1)])).input(refused("a"));
    assert!(
        never
            .take_actions()
            .pop()
            .unwrap()
            .starts_with("fail 1: nothing in ./workers can be served: a: /w/a.so: it is")
    );
    let mut empty = Stage::new("[GearmanManager]\nauto_update = 0\n");
    empty.input(scan(&[]));
    assert!(empty.take_actions().pop().unwrap().starts_with("fail 1: no library in"));
    let mut waits = Stage::new("[GearmanManager]\n");
    waits.input(scan(&[]));
    assert!(waits.take_actions().pop().unwrap().starts_with("announce Some(\"no library in"));
    waits.input(scan(&[("a", 1)])).input(found("a", 1));
    assert_eq!(waits.take_actions(), ["probe a", "good a a-1", "start a"]);
    let mut one_bad = Stage::new("[GearmanManager]\n");
    one_bad.input(scan(&[("a", 1), ("b", 1)])).input(refused("a")).input(found("b", 1)).serves(1);
    assert!(one_bad.take_actions().pop().unwrap().contains("announce Some(\"a: /w/a.so: it is a text file\")"));
    let mut strict = Stage::new("[GearmanManager]\nstrict = 1\n");
    strict.input(scan(&[("a", 1), ("b", 1)])).input(refused("a")).input(found("b", 1));
    assert!(strict.take_actions().pop().unwrap().starts_with("fail 1: strict is set"));
}

/// The moment for job servers to answer is over for the one, and the other has until its deadline to load.
#[test]
fn what_was_due_and_still_waits_for_something_else_is_not_due_again() {
    let mut stage = Stage::new("[GearmanManager]\nstart_timeout = 30\n");
    stage.input(scan(&[("a", 1), ("b", 1)])).input(found("a", 1)).input(found("b", 1));
    let deadline = stage.now + Duration::from_secs(30);
    stage.input(Input::Spawned { worker: WorkerId(1), pid: 11 }).message(1, WorkerMessage::Loaded);
    assert_eq!(stage.core.next_due(stage.now), Some(stage.now + Duration::from_secs(1)));
    stage.later(Duration::from_secs(6));
    assert_eq!(stage.core.next_due(stage.now), Some(deadline));
}

#[test]
fn a_function_without_traffic_is_promoted_on_time_alone() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).serves(5);
    stage.take_actions();
    let looked_at =
        |stage: &Stage, ms| assert_eq!(stage.core.canary_due(stage.now), Some(stage.now + Duration::from_millis(ms)));
    looked_at(&stage, 5);
    stage.now += Duration::from_millis(40);
    stage.counts(5, 0, 0);
    looked_at(&stage, 10);
    stage.later(Duration::from_millis(4_959)).counts(5, 0, 0);
    looked_at(&stage, 50);
    assert_eq!(stage.take_actions(), [""; 0]);
    assert_eq!(stage.promoted, [0; 0]);
    stage.later(Duration::from_millis(1)).counts(5, 0, 0);
    assert_eq!(stage.take_actions(), ["good a a-2", "leave 1"]);
    assert_eq!(stage.promoted, [5]);
}

#[test]
fn an_old_worker_is_replaced_before_it_drains() {
    let ini = "[GearmanManager]\nmax_worker_lifetime = 100\nworker_restart_splay = 0\n";
    let mut stage = Stage::new(ini);
    stage.input(scan(&[("a", 1)])).input(found("a", 1)).serves(1);
    stage.take_actions();
    stage.later(Duration::from_secs(99));
    assert_eq!(stage.take_actions(), [""; 0]);
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.take_actions(), ["start a"]);
    stage.serves(2);
    assert_eq!(stage.take_actions(), ["go 2", "leave 1"]);
    assert_eq!(stage.left_at(Some("max_worker_lifetime")), 1);
}

/// Old workers finish what they have, however long it takes; a stop has the time it was given.
#[test]
fn only_a_stop_cuts_a_job() {
    let mut stage = two_functions();
    stage.input(scan(&[("a", 2), ("b", 1)])).input(found("a", 2)).serves(5).counts(5, 20, 0);
    assert_eq!(stage.take_actions().pop().unwrap(), "leave 1");
    stage.input(scan(&[("a", 2)])).later(Duration::from_millis(50)).input(scan(&[("a", 2)]));
    assert!(stage.take_actions().contains(&"leave 3".to_owned()), "its library was removed");
    let cut = |stage: &mut Stage| {
        let did = stage.take_actions();
        ["kill 1", "kill 3"].map(|kill| did.contains(&kill.to_owned()))
    };
    stage.later(Duration::from_secs(36_000));
    assert_eq!(cut(&mut stage), [false; 2]);
    stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(60));
    assert_eq!(cut(&mut stage), [true; 2]);
}

#[test]
fn a_stop_drains_waits_and_kills_what_is_left() {
    let mut stage = two_functions();
    stage.input(Input::Stop { by: "SIGTERM" });
    assert_eq!(stage.take_actions(), ["leave 1", "leave 2", "leave 3", "leave 4"]);
    for id in 1..=3 {
        stage.leaves(id);
    }
    stage.input(Input::Stop { by: "SIGTERM" }).later(Duration::from_secs(30));
    assert_eq!(stage.take_actions(), [""; 0], "a second signal does not restart the clock");
    stage.later(Duration::from_secs(30));
    assert_eq!(stage.take_actions(), ["kill 4"]);
    stage.dies_in_job(4, 0);
    assert_eq!(stage.take_actions(), ["Finish"]);
}

#[test]
fn the_fifth_signal_kills_at_once() {
    let mut stage = two_functions();
    for _ in 0..4 {
        stage.input(Input::Stop { by: "SIGINT" });
    }
    stage.take_actions();
    stage.input(Input::Stop { by: "SIGINT" });
    assert_eq!(stage.take_actions(), ["kill 1", "kill 2", "kill 3", "kill 4"]);
}

/// As in `dev`.
#[test]
fn the_configured_number_of_signals_kills() {
    let mut stage = two_functions();
    stage.core.kill_at_signal(2);
    stage.input(Input::Stop { by: "SIGINT" });
    stage.take_actions();
    stage.input(Input::Stop { by: "SIGINT" });
    assert_eq!(stage.take_actions(), ["kill 1", "kill 2", "kill 3", "kill 4"]);
}

#[test]
fn a_slow_stop_reports_once_what_it_waits_for() {
    let mut stage = two_functions();
    stage.input(Input::Stop { by: "SIGINT" });
    stage.take_actions();
    for id in 1..=3 {
        stage.leaves(id);
    }
    assert_eq!(stage.awaited, 0);
    stage.later(Duration::from_secs(1)).later(Duration::from_secs(1));
    assert_eq!(stage.awaited, 1);
    stage.input(Input::Stop { by: "SIGINT" });
    assert_eq!(stage.awaited, 2);
    let mut quick = two_functions();
    quick.input(Input::Stop { by: "SIGINT" });
    quick.take_actions();
    for id in 1..=4 {
        quick.leaves(id);
    }
    quick.later(Duration::from_secs(1));
    assert_eq!((quick.take_actions(), quick.awaited), (vec!["Finish".to_owned()], 0));
}

#[test]
fn at_most_sixteen_workers_connect_at_once() {
    let mut stage = Stage::new("[GearmanManager]\ncount = 40\ndedicated_count = 0\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    assert_eq!(stage.started.len(), 16);
    stage.serves(1);
    assert_eq!(stage.started.len(), 17);
}

/// M3: later each time until one can be, and of those that were decided on together only one is reported.
#[test]
fn processes_that_cannot_be_started_are_tried_again_later_and_later() {
    let refused = |id| Input::SpawnFailed { worker: WorkerId(id), reason: "resource temporarily unavailable".into() };
    let mut stage = Stage::new("[GearmanManager]\ncount = 3\ndedicated_count = 0\n");
    stage.input(scan(&[("a", 1)])).input(found("a", 1));
    stage.take_actions();
    let mut reported = 0;
    for pause in [1, 2, 4, 8, 16, 30, 30] {
        for id in stage.ids() {
            stage.input(refused(id));
        }
        reported += 1;
        assert_eq!(stage.count_events(|event| matches!(event, Event::SpawnFailed { .. })), reported);
        stage.later(Duration::from_secs(pause) - Duration::from_millis(1));
        // The caller that waits for the start learns in time that nothing is served yet, and why.
        let actions = stage.take_actions();
        assert_eq!(actions.len(), usize::from(pause == 16), "{pause} s: {actions:?}");
        assert!(
            actions.iter().all(|action| action.contains("a is not served: no process could be started: resource")),
            "{actions:?}"
        );
        stage.later(Duration::from_millis(1));
        assert_eq!(stage.take_actions(), ["start a"; 3]);
    }
    let ids = stage.ids();
    stage.input(Input::Spawned { worker: WorkerId(ids[0]), pid: 7 }).input(refused(ids[1]));
    stage.later(Duration::from_secs(1));
    assert_eq!(stage.take_actions(), ["start a"]);
}
