//! One run: jobs, chaos, and the account at its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::chaos::Chaos;
use crate::checker::{self, Account};
use crate::clients::Load;
use crate::history::{self, ClientKind, Entry};
use crate::prober::Prober;
use crate::support::wait::{DEADLINE, try_wait_for};
use crate::world::{Holds, MANAGERS, World};

/// How many clients of the test's own there are, besides one of each other kind.
const CLIENTS: usize = 12;

/// How long a manager may take to answer `status`, in microseconds: on a machine with other things to do.
const STATUS_DEADLINE: u64 = 10_000_000;

/// By how many KiB the memory of a manager may grow: what a heap keeps for later.
const MEMORY_MARGIN: usize = 4 * 1024;

/// What a dead worker has left is a descriptor until it is examined: 16 may wait, for up to 10 s each on a busy machine.
const EXAMINATIONS: Duration = Duration::from_secs(170);

/// What a run is made of.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// Of the jobs and the chaos.
    pub seed: u64,
    /// How many jobs there are.
    pub jobs: u64,
    /// How long jobs are begun, at most.
    pub time: Duration,
}

impl Plan {
    /// What `LEDGER_SEED`, `LEDGER_JOBS` and `LEDGER_SECONDS` say. A short run has the same seed each time, so that `make
    /// test` means the same each time; a long one has a seed of its own.
    pub fn from_environment() -> Self {
        let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().expect(name));
        let jobs = number("LEDGER_JOBS").unwrap_or(3000);
        let time = Duration::from_secs(number("LEDGER_SECONDS").unwrap_or(12));
        let plan = Self { seed: 1, jobs, time };
        let any = || if plan.is_long() { fastrand::u64(..1_000_000) } else { plan.seed };
        Self { seed: number("LEDGER_SEED").unwrap_or_else(any), ..plan }
    }

    fn is_long(self) -> bool {
        self.time > Duration::from_secs(120)
    }
}

/// Runs it all.
///
/// # Panics
///
/// Where something happened that must not. The history is left behind.
pub fn run(plan: Plan) {
    println!("ledger: LEDGER_SEED={} LEDGER_JOBS={} LEDGER_SECONDS={}", plan.seed, plan.jobs, plan.time.as_secs());
    let begin = Instant::now();
    let mut world = World::start(if plan.is_long() { "-v" } else { "-vvvv" });
    let before: Vec<Holds> = (0..MANAGERS).map(|manager| world.holds(manager)).collect();
    let begun = rage(plan, &mut world);
    let mut wrong = settle(&mut world, &before);
    let history = history::read(&world.history_file());
    let account = checker::check(&history);
    wrong.extend(checker::unanswered_status(&history, STATUS_DEADLINE));
    report(&account, &history, begun, begin);
    wrong.extend(account.violations.iter().map(|(job, what)| format!("job {job}: {what}")));
    if !wrong.is_empty() {
        for (job, _) in account.violations.iter().take(5) {
            print_story(job, &history);
        }
        let kept = world.keep();
        panic!("LEDGER_SEED={} (see {}):\n{}", plan.seed, kept.display(), wrong.join("\n"));
    }
}

/// Submits jobs, and has chaos reign, until all jobs are answered. Returns how many there were.
fn rage(plan: Plan, world: &mut World) -> u64 {
    let load = Arc::new(Load::new(plan.seed, plan.jobs, world.for_clients.clone(), Arc::clone(&world.history)));
    let control = |manager: usize| world.managers[manager].dir().join("state/control.sock");
    let probers: Vec<_> =
        (0..MANAGERS).map(|manager| Prober::start(manager, control(manager), Arc::clone(&world.history))).collect();
    let own = std::iter::repeat_n(ClientKind::Own, CLIENTS);
    let clients = load.start(own.chain(ClientKind::installed_outsiders()));
    let (end, mut chaos) = (Instant::now() + plan.time, Chaos::new(plan.seed));
    while !load.is_over() && Instant::now() < end {
        let (answers, latest) = chaos.step(world);
        load.wait_answers(answers, latest.min(end));
    }
    chaos.heal(world);
    // Jobs of a version that always crashes would wait for long.
    world.deploy_good();
    load.finish(DEADLINE);
    for client in clients {
        client.join().unwrap();
    }
    drop(probers);
    load.begun()
}

/// Waits for rest, and ends everything. Returns what is not as it was.
fn settle(world: &mut World, before: &[Holds]) -> Vec<String> {
    let mut wrong = Vec::new();
    world.wait_queues_empty();
    // A worker near max_runs_per_worker keeps a successor ready beside it, for as long as no job comes. After a reload no
    // worker is near it.
    world.reload();
    world.wait_plan();
    for (manager, before) in before.iter().enumerate() {
        let is_back = || (world.holds(manager).descriptors <= before.descriptors).then_some(());
        let back = try_wait_for(DEADLINE + EXAMINATIONS, is_back);
        let after = world.holds(manager);
        println!("ledger: manager {manager} held {before:?}, holds {after:?}");
        if back.is_none() || after.kib > before.kib + MEMORY_MARGIN {
            wrong.push(format!("manager {manager} held {before:?} and holds {after:?}"));
        }
    }
    for manager in 0..MANAGERS {
        let code = world.end_manager(manager, Signal::SIGTERM);
        if code != Some(0) {
            wrong.push(format!("manager {manager} ended with {code:?}"));
        }
    }
    wrong
}

fn report(account: &Account, history: &[Entry], begun: u64, begin: Instant) {
    let seconds = begin.elapsed().as_secs();
    println!("ledger: {begun} jobs, {} records, {seconds} s, {} done", history.len(), account.done);
    println!("ledger: done by client: {:?}", account.done_by);
    for (what, counts) in [
        ("faults", &checker::faults(history)),
        ("failed", &account.failed),
        ("submitted again", &account.resent),
        ("repeated", &account.repeated),
    ] {
        println!("ledger: {what}: {counts:?}");
    }
    println!("ledger: two at once, excused: {}; violations: {}", account.excused_overlaps, account.violations.len());
}

/// Everything about one job, and what was done meanwhile.
fn print_story(job: &str, history: &[Entry]) {
    let about = |entry: &&Entry| checker::sub_of(&entry.record).is_some_and(|sub| checker::job_of(sub) == job);
    let times: Vec<u64> = history.iter().filter(about).map(|entry| entry.at).collect();
    let (Some(first), Some(last)) = (times.first(), times.last()) else { return };
    println!("---- job {job}");
    for entry in history.iter().filter(|entry| (*first..=*last + 1_000_000).contains(&entry.at)) {
        let is_fault = matches!(entry.record, history::Record::Fault(_));
        if is_fault || about(&entry) {
            println!("{} {:?}", entry.at, entry.record);
        }
    }
}
