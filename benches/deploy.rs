//! `make bench-deploy`: what deploys cost the jobs that run meanwhile. Times are printed; a job that is lost, fails or
//! is run twice is exit code 1.
//!
//! The real gearmand with `-j 1`, 8 workers, callers that each submit a job of 2 ms every 20 ms: first without deploys,
//! then with 50 of them, two versions in turn, each by a rename.

#![allow(dead_code, reason = "it uses a part of what tests stand on")]
#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]

#[path = "../tests/deploy/fixture.rs"]
mod fixture;
#[path = "../tests/support/mod.rs"]
mod support;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};

use fixture::{hash, rename_over, strict_gearmand, version, wait_all};
use support::gearmand::Gearmand;
use support::manager::Setup;
use support::wait::{DEADLINE, wait_for};

const WORKERS: usize = 8;
const CALLERS: usize = 8;
const DEPLOYS: usize = 50;
/// A caller's jobs begin so far apart: a load that two cores carry, so that what is measured is the deploy and no
/// queue.
const PACE: Duration = Duration::from_millis(20);
/// How long a job takes, without using the processor.
const JOB: Duration = Duration::from_millis(2);
/// A canary is promoted after this many jobs of its own, well before its time is up.
const CANARY: &str = "canary_jobs = 10\ncanary_seconds = 5";

/// One job.
struct Done {
    unique: String,
    ended: Instant,
    took: Duration,
    end: End,
}

/// How it ended.
#[derive(PartialEq)]
enum End {
    /// This version answered.
    Answer(String),
    Failed,
    /// No more packets came for it.
    Lost,
}

/// What became of all jobs of a phase.
#[derive(Default)]
struct Account {
    jobs: usize,
    lost: usize,
    failed: usize,
    twice: usize,
}

fn main() -> ExitCode {
    let gearmand = strict_gearmand();
    let ini = format!("dedicated_count = {WORKERS}\n{CANARY}");
    let setup = Setup::new(&[&gearmand.server()]).ini(&ini).quiet();
    fs::write(setup.dir().join("workers/stamped.so"), version("v0")).unwrap();
    let mut manager = setup.start();
    wait_all(&manager, "stamped", &version("v0"));
    let notes = |name: &str| manager.dir().join(name);
    let (calm_notes, busy_notes) = (notes("calm"), notes("busy"));

    let versions = [version("v0"), version("v1")];
    let (mut first, mut last) = (Vec::new(), Vec::new());
    let busy = under_load(&gearmand, &busy_notes, |done| {
        for number in 1..=DEPLOYS {
            let bytes = &versions[number % 2];
            manager.mark();
            let from = done.lock().unwrap().len();
            let start = Instant::now();
            rename_over(&manager, bytes);
            let name = format!("v{}", number % 2);
            first.push(wait_for("the first new answer", DEADLINE, || answered(done, &name, start, from)));
            manager.wait_event("rollout_finished", |event| event["version"] == *hash(bytes));
            last.push(start.elapsed());
        }
    });
    // For as long, so that both have as many jobs.
    let calm = under_load(&gearmand, &calm_notes, |done| {
        wait_for("as many jobs without deploys", DEADLINE * 10, || {
            (done.lock().unwrap().len() >= busy.len()).then_some(())
        });
    });

    let account = Account::of(&busy, &busy_notes).and(Account::of(&calm, &calm_notes));
    println!("{DEPLOYS} deploys, {WORKERS} workers, {CALLERS} callers, {}", CANARY.replace('\n', ", "));
    let Account { jobs, lost, failed, twice } = account;
    println!("jobs {jobs}: lost {lost}, failed {failed}, run twice {twice}");
    print("rename to first new answer", first);
    print("rename to last old worker gone", last);
    let calm = print("job, without deploys", calm.iter().map(|done| done.took).collect());
    let busy = print("job, during deploys", busy.iter().map(|done| done.took).collect());
    println!("ratio: p50 {:.2}, p99 {:.2}", busy[0] / calm[0], busy[1] / calm[1]);
    ExitCode::from(u8::from(lost + failed + twice > 0))
}

/// How long after `start` the first job was answered by this version; jobs before `from` are older.
fn answered(done: &Mutex<Vec<Done>>, name: &str, start: Instant, from: usize) -> Option<Duration> {
    let done = done.lock().unwrap();
    let new = |job: &&Done| matches!(&job.end, End::Answer(version) if version == name);
    done[from..].iter().find(new).map(|job| job.ended - start)
}

/// Runs `measure` while callers submit.
fn under_load(server: &Gearmand, notes: &Path, measure: impl FnOnce(&Mutex<Vec<Done>>)) -> Vec<Done> {
    let (done, over) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for number in 0..CALLERS {
            let (done, over) = (&done, &over);
            scope.spawn(move || calls(server, notes, number, done, over));
        }
        measure(&done);
        over.store(true, Ordering::Relaxed);
    });
    done.into_inner().unwrap()
}

fn calls(server: &Gearmand, notes: &Path, number: usize, done: &Mutex<Vec<Done>>, over: &AtomicBool) {
    let mut client = server.client();
    let workload = format!("note {}\ntake {}", notes.display(), JOB.as_micros());
    let begin = Instant::now() + PACE * number as u32 / CALLERS as u32;
    for count in 0.. {
        // A job that takes longer than its turn delays the next ones; what they waited is theirs all the same.
        let due = begin + PACE * count;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if over.load(Ordering::Relaxed) {
            return;
        }
        let unique = format!("{number}-{count}");
        let how = Submission::Foreground(Priority::Normal);
        client.submit(how, b"stamped", unique.as_bytes(), workload.as_bytes()).unwrap();
        let end = loop {
            match client.next_event(Instant::now() + DEADLINE).unwrap().map(|event| event.event) {
                None => break End::Lost,
                Some(JobEvent::Complete(answer)) => break End::Answer(String::from_utf8(answer).unwrap()),
                Some(news) if news.is_end() => break End::Failed,
                Some(_) => {}
            }
        };
        let ended = Instant::now();
        done.lock().unwrap().push(Done { unique, ended, took: ended - due, end });
    }
}

impl Account {
    /// By the callers' answers, and by the workers' own notes: every job is run once.
    fn of(done: &[Done], notes: &Path) -> Self {
        let mut runs: BTreeMap<&str, usize> = BTreeMap::new();
        let text = fs::read_to_string(notes).unwrap();
        text.lines().for_each(|unique| *runs.entry(unique).or_default() += 1);
        let unrun = |job: &&Done| job.end == End::Lost || !runs.contains_key(job.unique.as_str());
        Self {
            jobs: done.len(),
            lost: done.iter().filter(unrun).count(),
            failed: done.iter().filter(|job| job.end == End::Failed).count(),
            twice: runs.values().map(|count| count - 1).sum(),
        }
    }

    fn and(self, other: Self) -> Self {
        Self {
            jobs: self.jobs + other.jobs,
            lost: self.lost + other.lost,
            failed: self.failed + other.failed,
            twice: self.twice + other.twice,
        }
    }
}

/// Prints a line of times; returns p50 and p99 in ms.
fn print(what: &str, mut times: Vec<Duration>) -> [f64; 2] {
    times.sort_unstable();
    let at = |percent: usize| times[(times.len() - 1) * percent / 100].as_secs_f64() * 1e3;
    println!("{what:32} p50 {:8.1} ms   p99 {:8.1} ms   max {:8.1} ms", at(50), at(99), at(100));
    [at(50), at(99)]
}
