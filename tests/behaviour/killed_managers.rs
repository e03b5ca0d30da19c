//! M1: a manager that is killed at any moment: of its start, of a rollout, of its end. Its workers take no job but what
//! they have asked for, and the next manager starts at once.

use std::collections::BTreeSet;
use std::fs;
use std::time::Duration;

use fastrand::Rng;
use gm_native::gearman::client::JobEvent;
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::fixture::{Job, acting, background, library, wait_done, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, try_wait_for, wait_for};

const INI: &str = "count = 3\nsettle_time = 10ms\ncanary_seconds = 50ms\ncanary_jobs = 3\n\
                   graceful_shutdown_wait_time = 20\nlog_file = /dev/null";

/// What the manager is at when it is killed.
#[derive(Debug, Clone, Copy)]
enum Moment {
    Start,
    Rollout,
    Drain,
}

#[test]
fn one_that_is_killed_at_any_moment_leaves_the_jobs_to_the_next() {
    Fixture::start().kills(10, 1);
}

/// Takes minutes: `make deaths`. `GM_KILL_SEED` chooses other moments.
#[test]
#[ignore = "takes minutes: make deaths"]
fn two_hundred_that_are_killed_leave_the_jobs_to_the_next() {
    let seed = std::env::var("GM_KILL_SEED").map_or_else(|_| fastrand::u64(..1 << 32), |seed| seed.parse().unwrap());
    Fixture::start().kills(200, seed);
}

struct Fixture {
    gearmand: Gearmand,
    manager: Manager,
    library: Vec<u8>,
    versions: u8,
}

impl Fixture {
    fn start() -> Self {
        let gearmand = Gearmand::start();
        let manager = acting(&[&gearmand]).ini(INI).verbosity("").log("/dev/null").start();
        wait_serving(&manager, "act");
        Self { gearmand, manager, library: fs::read(library()).unwrap(), versions: 0 }
    }

    fn kills(mut self, count: usize, seed: u64) {
        println!("GM_KILL_SEED={seed}");
        let mut rng = Rng::with_seed(seed);
        for number in 0..count {
            let moment = [Moment::Start, Moment::Rollout, Moment::Drain][number % 3];
            let after = Duration::from_micros(rng.u64(..400_000));
            self.kill(moment, after, &format!("kill {number}, {moment:?} after {after:?}"));
        }
        self.manager.signal(Signal::SIGTERM);
        assert_eq!(self.manager.wait_exit().code(), Some(0));
        self.manager.wait_gone();
    }

    fn kill(&mut self, moment: Moment, after: Duration, name: &str) {
        // Something to do meanwhile.
        (0..3).for_each(|_| background(&self.gearmand, "", "take 50\nsay done"));
        match moment {
            Moment::Start => {
                self.manager.signal(Signal::SIGKILL);
                self.manager.wait_exit();
                self.manager.launch();
            }
            Moment::Rollout => self.deploy(),
            Moment::Drain => self.manager.signal(Signal::SIGTERM),
        }
        // It may have ended by itself by then, where it was asked to.
        let _ = try_wait_for(after, || self.manager.ended());
        let orphans = self.manager.processes();
        if self.manager.ended().is_none() {
            self.manager.signal(Signal::SIGKILL);
        }
        self.manager.wait_exit();
        let first = Job::act(&self.gearmand, "", "pid");
        self.manager.start_again();
        // A worker may have asked for a job when its manager was killed: it gets that one, and no other.
        let (mut job, mut by) = (first, Vec::new());
        loop {
            by.push(done_by(job, name));
            if !orphans.contains(by.last().unwrap()) {
                break;
            }
            assert!(by.len() <= by.iter().collect::<BTreeSet<_>>().len(), "{name}: one orphan of {by:?} took two jobs");
            job = Job::act(&self.gearmand, "", "pid");
        }
        wait_serving(&self.manager, "act");
        wait_done(&self.gearmand);
        wait_for(&format!("{name}: the end of the orphans"), DEADLINE, || {
            let left = self.manager.processes();
            orphans.iter().all(|orphan| !left.contains(orphan)).then_some(())
        });
    }

    /// The same library with another byte at its end is another version.
    fn deploy(&mut self) {
        self.versions = self.versions.wrapping_add(1);
        self.library.push(self.versions);
        let part = self.manager.dir().join("next");
        fs::write(&part, &self.library).unwrap();
        self.manager.install("act", &part);
    }
}

#[track_caller]
fn done_by(job: Job, name: &str) -> Pid {
    match job.news().as_slice() {
        [JobEvent::Complete(pid)] => String::from_utf8_lossy(pid).parse().map(Pid::from_raw).unwrap(),
        other => panic!("{name}: {other:?}"),
    }
}
