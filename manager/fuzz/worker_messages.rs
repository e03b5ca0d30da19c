//! What workers send over their channels, as the manager's core takes it: plugins can write there.

use crate::plugins::version_records::VersionFacts;
use std::path::Path;
use std::time::Duration;

use crate::config::{ConfigFile, Overrides, load};
use crate::plugins::content_hash::ShortHash;
use crate::plugins::identity::FileIdentity;
use crate::plugins::name::FunctionName;
use crate::plugins::scan::{Candidate, ScanResult};
use crate::supervisor::canary::JobCounts;
use crate::supervisor::catalog::{CheckedVersion, SavedVersions};
use crate::supervisor::core::{Action, CanaryCounts, Core, ExitReport, Input, ScoreboardReading};
use crate::supervisor::exit_cause::{ExitCause, JobInHand};
use crate::supervisor::reconcile::WorkerId;
use crate::system::reap::ExitStatus;
use crate::worker::messages::{WorkerMessage, decode};

const INI: &[u8] = b"[GearmanManager]\nhost = 127.0.0.1,127.0.0.2\ncount = 2\ndedicated_count = 1\n\
                     timeout = 30\nmax_memory = 100M\n[a]\non_crash = fail\n";
const FUNCTIONS: [&str; 2] = ["a", "b"];
/// More lines than this say nothing new, and make the fuzzer slow.
const LINES: usize = 200;

/// A manager with two functions. A line is one event; its first character says which, the rest is its argument:
///
/// - a digit: the worker of that place, in the order of their starts, sends the rest of the line as a message;
/// - `!DIGIT NUMBER`: that worker ends, in a job whose numbers are all NUMBER, by signal 11 or with an exit code;
/// - `?DIGIT NUMBER`: its scoreboard is read, and such a job found; `#DIGIT NUMBER`: such counts of a canary;
/// - `@NUMBER`: so many milliseconds pass; `*NUMBER`: a new version of `a`.
///
/// At the end the manager stops, and every worker exits: it must finish.
pub fn worker_messages(data: &[u8]) {
    let mut manager = Manager::start();
    for line in data.split(|byte| *byte == b'\n').take(LINES) {
        manager.take_line(line);
    }
    manager.stop();
}

struct Manager {
    core: Core,
    now: Duration,
    finished: bool,
}

fn number(text: &[u8]) -> u64 {
    str::from_utf8(text).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

fn identity(ino: u64) -> FileIdentity {
    FileIdentity { dev: 1, ino, size: 2, mtime: (0, 0), ctime: (0, 0) }
}

impl Manager {
    fn start() -> Self {
        let source = ConfigFile { path: Path::new("gm.ini"), bytes: INI };
        let (config, _) = load(Some(source), &Overrides::default(), &|_| None).unwrap();
        let now = Duration::from_secs(1000);
        let (core, _) = Core::new(config, SavedVersions::default(), 7, now);
        let mut manager = Self { core, now, finished: false };
        manager.deploy(1);
        manager
    }

    fn handle(&mut self, input: Input) {
        let actions = self.core.handle(input, self.now);
        self.finished |= actions.iter().any(|action| matches!(action, Action::Finish | Action::Fail(..)));
        for action in actions {
            if let Action::Start(start) = action {
                let worker = start.worker;
                self.handle(Input::Spawned { worker, pid: 100 });
            }
        }
    }

    /// A version of `a`; `b` stays as it is.
    fn deploy(&mut self, version: u64) {
        let inode = |name: &str| if name == "a" { version } else { 1 };
        let candidates = FUNCTIONS.map(|name| {
            let function = FunctionName::new(name).unwrap();
            let path = format!("/w/{name}.so").into();
            (function.clone(), Candidate { function, dir: "/w".into(), path, identity: identity(inode(name)) })
        });
        self.handle(Input::Scanned(ScanResult { candidates: candidates.into(), ..ScanResult::default() }));
        for name in FUNCTIONS {
            let function = FunctionName::new(name).unwrap();
            let hash = ShortHash::from_name(&format!("{:012x}", inode(name) & 0xffff_ffff_ffff)).unwrap();
            let version = CheckedVersion {
                hash,
                library: "/s".into(),
                facts: VersionFacts { crate_version: "1.0.0".into(), has_go: false },
                warning: None,
            };
            let identity = identity(inode(name));
            self.handle(Input::Probed { function, identity, result: Ok(version) });
        }
    }

    fn worker(&self, digit: u8) -> Option<WorkerId> {
        let place = usize::from(digit.checked_sub(b'0')?);
        self.core.worker_views().nth(place).map(|view| view.id)
    }

    fn take_line(&mut self, line: &[u8]) {
        let Some((kind, rest)) = line.split_first() else { return };
        let target = rest.split_first().and_then(|(digit, rest)| Some((self.worker(*digit)?, number(rest))));
        match (kind, target) {
            (b'@', _) => {
                self.now = self.now.saturating_add(Duration::from_millis(number(rest)));
                self.handle(Input::Timer { read: self.now });
            }
            (b'*', _) => self.deploy(number(rest)),
            (b'!', Some((worker, number))) => self.end(worker, number),
            (b'?', Some((worker, number))) => {
                let (job, server) = (Some(job(number)), usize::try_from(number).ok());
                let overwritten = number.is_multiple_of(3);
                self.handle(Input::ScoreboardRead(ScoreboardReading { worker, job, server, overwritten }));
            }
            (b'#', Some((worker, number))) => {
                let counts = JobCounts { completed: 0, failed: number, old_completed: number, old_failed: 1 };
                let failures = vec![number.to_string()];
                self.handle(Input::Counted(CanaryCounts { worker, counts: vec![counts], failures }));
            }
            _ => {
                if let (Some(worker), Ok(message)) = (self.worker(*kind), decode::<WorkerMessage>(rest)) {
                    self.handle(Input::Message { worker, message });
                }
            }
        }
        // What `status` asks after, and the loop.
        let _ = (self.core.function_views(self.now).count(), self.core.worker_views().count());
        let _ = (self.core.next_due(self.now), self.core.counts(), self.core.failures_to_read(self.now));
    }

    fn end(&mut self, worker: WorkerId, number: u64) {
        let end = match i32::try_from(number) {
            Ok(code) if code % 2 == 0 => ExitStatus::Exit(code),
            _ => ExitStatus::Signal(11),
        };
        let exit_cause = match number % 5 {
            0 => ExitCause::Drained,
            1 => ExitCause::OutsideJob,
            2 => ExitCause::Unknown,
            3 => ExitCause::Answering(job(number)),
            _ => ExitCause::InJob(job(number)),
        };
        let (server, cut_another) = (usize::try_from(number).ok(), number.is_multiple_of(7));
        let is_counted = number.is_multiple_of(11);
        let [jobs, peak_kib, completed] = [number; 3];
        let exit_report = ExitReport {
            pid: 100,
            end,
            server,
            exit_cause,
            cut_another,
            jobs,
            is_counted,
            peak_kib,
            out_of_memory: None,
            workload: None,
            completed,
            report: None,
        };
        self.handle(Input::Ended { worker, exit_report });
    }

    fn stop(mut self) {
        self.handle(Input::Stop { by: "SIGTERM" });
        while let Some(worker) = self.worker(b'0') {
            self.end(worker, 0);
        }
        assert!(self.finished, "every worker has ended, and the manager has not");
    }
}

/// Its function is one of the worker's, which [`crate::scoreboard`] makes sure of: each worker has at least one.
fn job(number: u64) -> JobInHand {
    JobInHand {
        function: 0,
        number,
        connection: u32::try_from(number % 7).unwrap_or_default(),
        handle: number.to_ne_bytes().to_vec(),
        unique: number.to_string(),
        ran: Duration::from_nanos(number),
        half_sent: number.is_multiple_of(2),
    }
}
