//! M16: workers that die by the hundred and by the thousand, in every way: nothing of them stays in the manager.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use fastrand::Rng;
use nix::libc::SIGRTMAX;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Job, acting, wait_serving};
use crate::support::build;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Each worker that dies takes its job with it, and is missed for as short a time as may be.
const INI: &str = "count = 6\nbackoff_max = 10ms\non_crash = fail\ntimeout = 300ms\ntimeout_grace = 50ms\n\
                   max_memory_hard = 256M\nlog_file = /dev/null";

/// By how much the heap in use may differ.
const MARGIN: usize = 64 * 1024;

/// What a job does to its worker.
const LETHAL: [&str; 26] = [
    "abort",
    "segv",
    "exit 0",
    "exit 3",
    "_exit 3",
    "leak 1024",
    "wait /nowhere",
    "blockall\nwait /nowhere",
    "closefds",
    "shutsockets",
    "doomed 0",
    "panic as asked\nabort",
    "crash null",
    "crash jump",
    "crash bus",
    "crash ill",
    "crash fpe",
    "crash trap",
    "crash sys",
    "crash free",
    "crash overflow",
    "crash thread",
    "crash threads",
    "crash deepforeign",
    "crash lost",
    "crash closed",
];

/// What an idle worker is sent.
const SIGNALS: [Signal; 10] = [
    Signal::SIGKILL,
    Signal::SIGSEGV,
    Signal::SIGABRT,
    Signal::SIGBUS,
    Signal::SIGILL,
    Signal::SIGFPE,
    Signal::SIGSYS,
    Signal::SIGTERM,
    Signal::SIGQUIT,
    Signal::SIGINT,
];

#[test]
fn hundreds_of_deaths_leave_nothing_in_the_manager() {
    let fixture = Fixture::start();
    fixture.workers_die(30);
    let before = fixture.holds();
    fixture.workers_die(200);
    assert_eq!(fixture.holds().zombies, 0);
    fixture.wait_descriptors(before.descriptors);
}

/// Takes minutes: `make deaths`.
#[test]
#[ignore = "takes minutes: make deaths"]
fn ten_thousand_deaths_leave_nothing_in_the_manager() {
    let fixture = Fixture::start();
    fixture.workers_die(1_000);
    let before = fixture.holds();
    let mut all = vec![before.clone()];
    for thousand in 2..=10 {
        fixture.workers_die(thousand * 1_000);
        all.push(fixture.holds());
        println!("{thousand},000: {:?}", all.last().unwrap());
    }
    fixture.wait_descriptors(before.descriptors);
    let after = all.last().unwrap();
    assert!(after.heap <= before.heap + MARGIN, "{all:?}");
    assert!(all.iter().all(|holds| holds.zombies == 0), "{all:?}");
}

/// What a manager holds.
#[derive(Debug, Clone)]
struct Holds {
    descriptors: usize,
    /// Bytes of its heap in use.
    heap: usize,
    /// Children that have ended and that it has not waited for.
    zombies: usize,
}

struct Fixture {
    gearmand: Gearmand,
    manager: Manager,
    meter: PathBuf,
}

impl Fixture {
    fn start() -> Self {
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]).ini(INI).verbosity("");
        let meter = setup.dir().join("heap");
        let library = build::c("heap_meter.so", include_str!("../support/c/heap_meter.c"), &["-shared", "-fPIC"]);
        let setup = setup.log("/dev/null").env("LD_PRELOAD", library).env("GM_HEAP_METER", &meter);
        let manager = setup.start();
        wait_serving(&manager, "act");
        Self { gearmand, manager, meter }
    }

    /// How many workers were started so far.
    fn started(&self) -> usize {
        let status = self.manager.status();
        let generations = status["workers"].as_array().unwrap().iter().filter_map(|w| w["generation"].as_u64());
        usize::try_from(generations.max().unwrap_or_default()).unwrap()
    }

    /// Has workers die until this many have been started since the beginning, four at a time.
    fn workers_die(&self, count: usize) {
        let next = AtomicUsize::new(0);
        while self.started() < count {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| (0..LETHAL.len()).for_each(|_| self.one_dies(next.fetch_add(1, Ordering::Relaxed))));
                }
            });
        }
    }

    /// By a job, or between two; then a job is done, so that no function has failed five times in a row.
    fn one_dies(&self, number: usize) {
        if number.is_multiple_of(3) {
            let children = children(self.manager.pid());
            let idle: Vec<Pid> = children.into_iter().filter(|pid| is_worker(*pid)).collect();
            let mut rng = Rng::with_seed(number as u64);
            if let Some(pid) = rng.choice(&idle) {
                // It may have died by itself.
                let _ = kill(*pid, SIGNALS[rng.usize(..SIGNALS.len())]);
            }
        } else {
            // Some jobs are answered before their worker dies.
            Job::act(&self.gearmand, "", LETHAL[number % LETHAL.len()]).news();
        }
        Job::act(&self.gearmand, "", "say alive").news();
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.manager.pid())).unwrap().count()
    }

    /// Waits until there are no more of them: the connection of the last `status` may be about to end.
    #[track_caller]
    fn wait_descriptors(&self, most: usize) {
        wait_for("descriptors to be closed", DEADLINE, || (self.descriptors() <= most).then_some(()));
    }

    /// Once everything is at rest.
    fn holds(&self) -> Holds {
        wait_serving(&self.manager, "act");
        let pid = self.manager.pid();
        let _ = fs::remove_file(&self.meter);
        // Six workers and the guardian, and nobody who is about to leave.
        wait_for("no other children", DEADLINE, || (children(pid).len() == 7).then_some(()));
        let descriptors = self.descriptors();
        let heap = wait_for("the size of the heap", DEADLINE, || {
            // Again until it is heard: it may come just before the loop waits.
            send_real_time(pid, SIGRTMAX() - 1);
            fs::read_to_string(&self.meter).ok()?.parse().ok()
        });
        let zombies = children(pid).into_iter().filter(|child| is_zombie(*child)).count();
        Holds { descriptors, heap, zombies }
    }
}

/// nix knows no real-time signals.
fn send_real_time(pid: Pid, signal: i32) {
    let sent = std::process::Command::new("kill").arg(format!("-{signal}")).arg(pid.to_string()).status();
    assert!(sent.unwrap().success());
}

fn children(pid: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect()
}

fn is_worker(pid: Pid) -> bool {
    let title = fs::read(Path::new("/proc").join(pid.to_string()).join("cmdline")).unwrap_or_default();
    title.starts_with(b"gm-native: act ")
}

fn is_zombie(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))
}
