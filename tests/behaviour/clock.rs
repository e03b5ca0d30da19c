//! M8: the wall clock is set a day forward and a day back. The monotonic clock does not change.

use std::fs;

use nix::sys::signal::{Signal, kill};

use crate::fixture::{Job, acting, path, touch, wait_busy, wait_serving, workers};
use crate::support::build;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;

const DAY: i64 = 86_400;

/// Overrides glibc's: shifts the wall clock by the seconds in a file.
const SHIM: &str = r#"
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long shift(void) {
    const char *path = getenv("GM_NATIVE_TEST_CLOCK");
    char text[32] = "";
    int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0) {
        if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
        close(fd);
    }
    return atol(text);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (!failed && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += shift();
    return failed;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    int failed = clock_gettime(CLOCK_REALTIME, &exact);
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return failed;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}
"#;

/// A manager whose wall clock, and that of its workers, can be set.
fn settable(gearmand: &Gearmand, ini: &str) -> Manager {
    let shim = build::c("wall_clock.so", SHIM, &["-shared", "-fPIC"]);
    let setup = acting(&[gearmand]).ini(ini);
    let clock = setup.dir().join("clock");
    fs::write(&clock, "0").unwrap();
    let manager = setup.env("LD_PRELOAD", shim).env("GM_NATIVE_TEST_CLOCK", clock).start();
    wait_serving(&manager, "act");
    manager
}

/// Sets the clock, and sees that the manager has it: an event that comes of it is of another day.
#[track_caller]
fn set(manager: &mut Manager, days: i64) {
    let day = |manager: &Manager| {
        let event = manager.wait_event("log_reopened", |_| true);
        event["time"].as_str().unwrap()[..10].to_owned()
    };
    manager.mark();
    manager.signal(Signal::SIGUSR1);
    let before = day(manager);
    // Whole at once: it is read all the time.
    let part = manager.dir().join("clock.part");
    fs::write(&part, (days * DAY).to_string()).unwrap();
    fs::rename(part, manager.dir().join("clock")).unwrap();
    manager.mark();
    manager.signal(Signal::SIGUSR1);
    assert_ne!(day(manager), before, "the clock was not set");
}

/// Neither lifetime nor timeout is over for it, and no back-off begins or ends.
#[test]
fn a_jump_of_the_wall_clock_ends_nothing() {
    let gearmand = Gearmand::start();
    let mut manager = settable(&gearmand, "timeout = 600\nmax_worker_lifetime = 3600\nworker_restart_splay = 0");
    let [worker] = workers(&manager)[..] else { panic!("one worker was planned") };
    for (number, days) in [1, -1].into_iter().enumerate() {
        let gate = path(&manager, &format!("gate{number}"));
        let job = Job::act(&gearmand, "", &format!("wait {gate}\npid"));
        wait_busy(&manager, &job.handle);
        set(&mut manager, days);
        let status = manager.status();
        assert!(status["workers"][0]["job_seconds"].as_f64() < Some(600.0), "{status}");
        touch(&gate);
        assert_eq!(job.result(), worker.to_string().into_bytes());
        assert_eq!(workers(&manager), [worker]);
    }
    let ended = ["worker_draining", "worker_died", "job_overdue", "server_down"];
    let ended: Vec<_> =
        manager.events().into_iter().filter(|event| ended.contains(&event["event"].as_str().unwrap())).collect();
    assert!(ended.is_empty(), "{ended:?}");
}

/// Set back by a day, a job is late after its timeout, a worker old after its lifetime, and a function that fails is
/// tried again after its back-off.
#[test]
fn a_jump_of_the_wall_clock_holds_up_nothing() {
    let gearmand = Gearmand::start();
    let ini = "timeout = 300ms\ntimeout_grace = 100ms\nmax_worker_lifetime = 1\nworker_restart_splay = 0";
    let mut manager = settable(&gearmand, ini);
    let job = Job::act(&gearmand, "", "wait /nowhere");
    set(&mut manager, -1);
    let message = job.failure();
    assert!(message.starts_with("timed out"), "{message}");
    manager.mark();
    manager.wait_event("worker_exited", |event| event["jobs"] == 0);
    for _ in 0..5 {
        wait_serving(&manager, "act");
        // It may have come to its age meanwhile.
        for worker in workers(&manager) {
            let _ = kill(worker, Signal::SIGKILL);
        }
    }
    assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
}
