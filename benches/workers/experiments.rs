//! What is measured of a peer. Each starts a gearmand and the workers of its own, and returns its figures.

use std::fs;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::load::{self, Drain, FUNCTION};
use crate::peers::{self, Peer, Running};
use crate::report::Figures;
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::plugins;
use crate::support::wait::wait_for;
use crate::usage;

/// GearmanManager starts its workers with a pause of a second.
const START_DEADLINE: Duration = Duration::from_secs(180);
/// How long nothing happens while wake-ups are counted.
const IDLE: Duration = Duration::from_secs(5);

/// A gearmand whose own cost does not grow with its queue.
pub fn server() -> Gearmand {
    Gearmand::with_args(&["--hashtable-buckets", "1000003"])
}

/// Drains a queue: rate, and processor time per job of the workers (with their manager) and of gearmand.
pub fn drain(peer: &Peer, workers: usize, jobs: usize, workload: &[u8]) -> Figures {
    let server = server();
    let mut queue = Drain::fill(&server.server(), jobs, workload);
    let running = peer.start(&server, workers);
    let start = queue.begin();
    let (pids, gearmand) = (running.pids(), server.pid().as_raw());
    let used = || (pids.iter().map(|pid| usage::processor(*pid)).sum::<Duration>(), usage::processor(gearmand));
    let before = used();
    let took = queue.end() - start;
    let after = used();
    vec![
        ("jobs/s", jobs as f64 / took.as_secs_f64()),
        ("CPU us/job", micros(after.0 - before.0) / jobs as f64),
        ("gearmand's CPU us/job", micros(after.1 - before.1) / jobs as f64),
    ]
}

/// Round trips of single jobs to an idle worker.
pub fn ping(peer: &Peer, jobs: usize, workload: &[u8]) -> Figures {
    let (server, _running) = idle(peer, 1);
    let times = load::ping(&server.server(), jobs, workload);
    let at = |per_mille: usize| micros(times[(times.len() - 1) * per_mille / 1000]);
    vec![("p50 us", at(500)), ("p99 us", at(990))]
}

/// 64 jobs under way all the time.
pub fn in_flight(peer: &Peer, workers: usize, jobs: usize, workload: &[u8]) -> Figures {
    let (server, _running) = idle(peer, workers);
    let (rate, callers) = load::in_flight(&server.server(), 64, jobs, workload);
    vec![("jobs/s", rate), ("caller's CPU us/job", micros(callers))]
}

/// Short jobs and a few long ones, of which there are this many in 100,000: how long all of them take, and how long the
/// short ones wait.
pub fn uneven(peer: &Peer, workers: usize, jobs: usize, long: u32) -> Figures {
    let Peer::GmNative(prefetch) = peer else { panic!("only gm-native has the library") };
    let server = server();
    let setup = peers::gm_native(&server, workers, *prefetch);
    let _manager = setup.plugin(load::UNEVEN, &plugins::example("gm_test_jobs")).start();
    wait_workers(&server, load::UNEVEN, workers);
    let (took, short) = load::uneven(&server.server(), 64, jobs, long);
    let at = |per_mille: usize| short[(short.len() - 1) * per_mille / 1000].as_secs_f64() * 1e3;
    vec![
        ("total s", took.as_secs_f64()),
        ("short p50 ms", at(500)),
        ("short p99 ms", at(990)),
        ("short max ms", at(1000)),
    ]
}

/// System calls of a worker per job, counted by strace: drained, and one by one.
pub fn calls(peer: &Peer, jobs: usize) -> Figures {
    let workload = [b'x'; 16];
    let drained = {
        let (server, running) = idle(peer, 1);
        let counter = Calls::of(&running);
        load::in_flight(&server.server(), 64, jobs, &workload);
        counter.end()
    };
    let (server, running) = idle(peer, 1);
    let counter = Calls::of(&running);
    load::ping(&server.server(), jobs, &workload);
    let pinged = counter.end();
    let per_job = |calls: u64| calls as f64 / jobs as f64;
    vec![("calls/job, 64 in flight", per_job(drained)), ("calls/job, one by one", per_job(pinged))]
}

/// Memory of `count` idle workers, how long their start and end take, and what wakes them.
pub fn footprint(peer: &Peer, count: usize) -> Figures {
    let server = server();
    let start = Instant::now();
    let running = peer.start(&server, count);
    wait_workers(&server, FUNCTION, count);
    let up = start.elapsed();
    let (all, workers) = (running.pids(), running.workers());
    let mut private: Vec<u64> = workers.iter().map(|pid| usage::memory(*pid).private).collect();
    private.sort_unstable();
    let tree: u64 = all.iter().map(|pid| usage::memory(*pid).proportional).sum();
    let sleeps = || all.iter().map(|pid| usage::sleeps(*pid)).sum::<u64>();
    let before = sleeps();
    // Nothing is waited for: it is counted what happens by itself.
    thread::sleep(IDLE);
    let woken = (sleeps() - before) as f64 / IDLE.as_secs_f64();
    let mut figures = vec![
        ("start ms", up.as_secs_f64() * 1e3),
        ("private KB/worker", private[private.len() / 2] as f64),
        ("tree MB", tree as f64 / 1024.0),
        ("wake-ups/s", woken),
    ];
    let start = Instant::now();
    if !matches!(running, Running::GearmanManager(..)) {
        running.stop();
        figures.insert(1, ("end ms", start.elapsed().as_secs_f64() * 1e3));
    }
    figures
}

/// A server with idle workers.
fn idle(peer: &Peer, count: usize) -> (Gearmand, Running) {
    let server = server();
    let running = peer.start(&server, count);
    wait_workers(&server, FUNCTION, count);
    // GearmanManager has a helper at its start.
    wait_for("other processes than workers to end", START_DEADLINE, || {
        (running.workers().len() == count).then_some(())
    });
    (server, running)
}

fn wait_workers(server: &Gearmand, function: &str, count: usize) {
    wait_for(&format!("{count} workers"), START_DEADLINE, || {
        let workers = server.status(function).map_or(0, |status| status.workers);
        (workers == count as u64).then_some(())
    });
}

/// strace on the one worker of a peer.
struct Calls {
    strace: ChildGuard,
    file: tempfile::NamedTempFile,
}

impl Calls {
    fn of(running: &Running) -> Self {
        let [worker] = running.workers()[..] else { panic!("one worker was expected: {:?}", running.workers()) };
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("strace");
        command.args(["-f", "-c", "-U", "calls,name", "-o"]).arg(file.path()).args(["-p", &worker.to_string()]);
        let strace = ChildGuard::start("strace", &mut command);
        wait_for("strace to attach", START_DEADLINE, || {
            let status = fs::read_to_string(format!("/proc/{worker}/status")).ok()?;
            (!status.contains("TracerPid:\t0\n")).then_some(())
        });
        Self { strace, file }
    }

    /// All calls so far.
    fn end(mut self) -> u64 {
        self.strace.signal(Signal::SIGINT);
        self.strace.wait();
        let text = fs::read_to_string(self.file.path()).unwrap();
        let total = text.lines().rev().find_map(|line| line.trim().strip_suffix("total")?.trim().parse().ok());
        total.unwrap_or_else(|| panic!("strace counted nothing:\n{text}"))
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}
