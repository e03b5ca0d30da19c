//! M2: a manager that was stopped does not count that time against its children.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::fixture::{Job, acting, library, path, pid, served, touch, wait_busy, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// Every deadline here, by the ini of each test.
const TIME: Duration = Duration::from_secs(1);

/// Has a manager that is stopped go on when something has come to pass, and the deadline is long over.
fn goes_on_after(manager: &Manager, what: &str, is_done: impl Fn() -> bool) {
    let long = Instant::now();
    wait_for(what, DEADLINE, || (long.elapsed() > TIME * 2 && is_done()).then_some(()));
    manager.signal(Signal::SIGCONT);
}

fn has_ended(process: Pid) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

fn count(manager: &Manager, event: &str) -> usize {
    manager.events().iter().filter(|e| e["event"] == event).count()
}

/// Whether a process waits for something, and nothing comes.
fn rests(process: Pid) -> bool {
    let look = || fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let switches = |status: &str| status.lines().find(|line| line.starts_with("voluntary")).map(str::to_owned);
    let (before, began) = (look(), Instant::now());
    wait_for("a moment", DEADLINE, || (began.elapsed() > TIME / 10).then_some(()));
    let after = look();
    after.contains("State:\tS") && switches(&before) == switches(&after)
}

/// One worker is through with its `new()` in time, and the manager hears of it late; another one never is.
#[test]
fn a_worker_that_came_in_time_lives() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("starting", &library());
    let gate = setup.dir().join("gate").display().to_string();
    let ini = format!("[starting]\nstart_timeout = 1\nsetting.how = until {gate}");
    let mut manager = setup.ini(&ini).start();
    let started = manager.wait_event("worker_started", |event| event["functions"][0] == "starting");
    let worker = pid(&started);
    manager.signal(Signal::SIGSTOP);
    touch(&gate);
    goes_on_after(&manager, "the worker", || rests(worker));
    wait_serving(&manager, "starting");
    assert!(workers(&manager).contains(&worker), "{}", manager.log());
    fs::remove_file(&gate).unwrap();
    manager.signal(Signal::SIGHUP);
    let late = manager.wait_event("worker_killed", |_| true);
    assert!(late["reason"] == "start_timeout" && pid(&late) != worker, "{late}");
    touch(&gate);
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// A library whose probe reported everything in time.
#[test]
fn a_probe_that_came_in_time_counts() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("probe_timeout = 1").start();
    wait_serving(&manager, "act");
    let [gate, loading] = ["gate", "loading"].map(|name| path(&manager, name));
    let entry = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/corpus/plugins/entry.h");
    let source = format!(
        "#include <fcntl.h>\n#include <unistd.h>\n#include \"{entry}\"\nENTRY(waits);\n\
         AT_LOAD wait(void) {{\n\
           close(open(\"{loading}\", O_CREAT | O_WRONLY, 0600));\n\
           while (access(\"{gate}\", F_OK)) usleep(1000);\n\
         }}\n"
    );
    let before = manager.processes();
    manager.install("waits", &plugins::c("waits", &source));
    let probe =
        wait_for("the probe", DEADLINE, || manager.processes().into_iter().find(|process| !before.contains(process)));
    // Only then does it have the manager's request.
    wait_for("the library to be loaded", DEADLINE, || Path::new(&loading).exists().then_some(()));
    manager.signal(Signal::SIGSTOP);
    touch(&gate);
    goes_on_after(&manager, "the probe", || has_ended(probe));
    // It reported what the library is: not a plugin of ours.
    let refused = manager.wait_event("library_refused", |_| true);
    assert!(refused["reason"].as_str().unwrap().contains("differs from interface"), "{refused}");
}

/// A job that ends in time, however late that is seen, and one that ends its worker in time.
#[test]
fn a_job_that_ended_in_time_is_not_late() {
    let (gearmand, manager) = served("timeout = 1\non_crash = fail");
    for (ends, is_late) in [("say done", false), ("segv", false), ("wait never", true)] {
        let gate = path(&manager, ends);
        let job = Job::act(&gearmand, "", &format!("wait {gate}\n{ends}"));
        let worker = wait_busy(&manager, &job.handle);
        manager.signal(Signal::SIGSTOP);
        touch(&gate);
        goes_on_after(&manager, ends, || is_late || has_ended(worker) || rests(worker));
        match ends {
            "say done" => assert_eq!(job.result(), b"done"),
            "segv" => assert!(job.failure().starts_with("worker killed by SIGSEGV in this job")),
            _ => assert!(job.failure().starts_with("timed out")),
        }
        assert_eq!(count(&manager, "job_overdue"), usize::from(is_late), "{ends}: {}", manager.log());
        wait_serving(&manager, "act");
    }
}

/// A worker that ended its job in time when the manager stops for good.
#[test]
fn a_worker_that_exited_in_time_is_not_killed() {
    let (gearmand, mut manager) = served("graceful_shutdown_wait_time = 1");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("stopping\nwait {gate}\nsay done"));
    let worker = wait_busy(&manager, &job.handle);
    manager.signal(Signal::SIGTERM);
    manager.wait_event("draining", |_| true);
    manager.signal(Signal::SIGSTOP);
    touch(&gate);
    goes_on_after(&manager, "the worker", || has_ended(worker));
    assert_eq!(job.result(), b"done");
    assert_eq!(manager.wait_exit().code(), Some(0));
    let ends = ["worker_killed", "worker_died", "worker_exited"].map(|event| count(&manager, event));
    assert_eq!(ends, [0, 0, 1], "{}", manager.log());
}
