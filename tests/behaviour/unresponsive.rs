//! M26, S24: workers that have no job and do not respond, and one that alone reaches no job server.

use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{Job, acting, of, path, pid, served, serving, touch, wait_busy, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// A worker is asked after about 400 ms of silence.
const SOON: &str = "echo_interval = 100ms\nresponse_timeout = 500ms";
/// For tests in which a worker must not seem silent only because the machine is busy.
const LATER: &str = "echo_interval = 100ms\nresponse_timeout = 2";
/// Longer than it takes until a worker is killed with [`LATER`].
const LONG: Duration = Duration::from_secs(4);

fn wait(long: Duration) {
    let began = Instant::now();
    wait_for("a while", DEADLINE, || (began.elapsed() > long).then_some(()));
}

fn wait_unresponsive(manager: &Manager, worker: Pid) -> Value {
    manager.wait_event("worker_unresponsive", |event| pid(event) == worker)
}

/// Nobody was killed, and the workers are still these.
#[track_caller]
fn assert_alive(manager: &Manager, expected: &[Pid]) {
    let killed = manager.events().into_iter().find(|event| event["event"] == "worker_killed");
    assert_eq!((killed, workers(manager)), (None, expected.to_vec()), "{}", manager.log());
}

#[test]
fn a_stopped_worker_is_replaced() {
    let (gearmand, manager) = served(SOON);
    let all = workers(&manager);
    all.iter().for_each(|worker| kill(*worker, Signal::SIGSTOP).unwrap());
    let job = Job::act(&gearmand, "", "say done");
    assert_eq!(job.result(), b"done");
    for worker in all {
        let told = wait_unresponsive(&manager, worker);
        assert_eq!((&told["process"], &told["killed"]), (&"stopped".into(), &true.into()), "{told}");
        let killed = manager.wait_event("worker_killed", |event| pid(event) == worker);
        assert_eq!(killed["reason"], "unresponsive");
        let died = manager.wait_event("worker_died", |event| pid(event) == worker);
        assert_eq!(died["at"], "idle", "{died}");
    }
    wait_serving(&manager, "act");
}

/// Its main thread does not come back from a signal handler of the plugin's.
#[test]
fn a_worker_that_is_stuck_outside_a_job_is_replaced() {
    let (gearmand, manager) = served(&format!("count = 0\ndedicated_count = 1\n{SOON}"));
    assert_eq!(Job::act(&gearmand, "", "stuckonusr2\nsay done").result(), b"done");
    let [worker] = serving(&manager)[..] else { panic!("{}", manager.status()) };
    kill(worker, Signal::SIGUSR2).unwrap();
    let told = wait_unresponsive(&manager, worker);
    assert_eq!((&told["process"], &told["killed"]), (&"other".into(), &true.into()), "{told}");
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
}

/// Without a surge its successor waits until it has exited.
#[test]
fn a_worker_that_is_stopped_and_then_told_to_drain_holds_up_no_successor() {
    let ini = format!("count = 0\ndedicated_count = 1\nrollout_surge = 0\nstop_timeout = 100ms\n{SOON}");
    let (gearmand, manager) = served(&ini);
    let [worker] = serving(&manager)[..] else { panic!("{}", manager.status()) };
    kill(worker, Signal::SIGSTOP).unwrap();
    manager.signal(Signal::SIGHUP);
    wait_unresponsive(&manager, worker);
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
}

/// A job has its own time limit, and its worker is not judged by anything else.
#[test]
fn a_worker_that_is_stopped_in_a_job_is_killed_at_the_jobs_timeout() {
    let (gearmand, manager) = served(&format!("timeout = 4\ntimeout_grace = 100ms\n{SOON}"));
    let job = Job::act(&gearmand, "", &format!("wait {}", path(&manager, "never")));
    let worker = wait_busy(&manager, &job.handle);
    kill(worker, Signal::SIGSTOP).unwrap();
    assert!(job.failure().starts_with("timed out"));
    let killed = manager.wait_event("worker_killed", |event| pid(event) == worker);
    assert_eq!(killed["reason"], "job_timeout", "{}", manager.log());
    let told = manager.events().into_iter().find(|event| event["event"] == "worker_unresponsive");
    assert_eq!(told, None);
}

#[test]
fn a_long_job_is_not_mistaken_for_silence() {
    let (gearmand, manager) = served(SOON);
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "", &format!("wait {gate}\nsay done"));
    wait_busy(&manager, &job.handle);
    wait(Duration::from_secs(2));
    touch(&gate);
    assert_eq!(job.result(), b"done");
    assert!(!manager.log().contains("has not responded"), "{}", manager.log());
}

/// As when a container is frozen: the manager runs again a moment before its workers do.
#[test]
fn a_frozen_manager_kills_nobody_when_it_continues() {
    let (gearmand, manager) = served(LATER);
    let all = workers(&manager);
    manager.signal(Signal::SIGSTOP);
    all.iter().for_each(|worker| kill(*worker, Signal::SIGSTOP).unwrap());
    wait(LONG);
    manager.signal(Signal::SIGCONT);
    manager.status();
    all.iter().for_each(|worker| kill(*worker, Signal::SIGCONT).unwrap());
    wait(LONG);
    assert_alive(&manager, &all);
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
}

#[test]
fn a_worker_under_a_debugger_is_left_alone() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini(&format!("count = 0\ndedicated_count = 1\n{LATER}")).start();
    wait_serving(&manager, "act");
    let [worker] = serving(&manager)[..] else { panic!("{}", manager.status()) };
    match ptrace::attach(worker) {
        Err(Errno::EPERM) => return eprintln!("skipped: this process may not trace others"),
        attached => attached.unwrap(),
    }
    let told = wait_unresponsive(&manager, worker);
    assert_eq!((&told["process"], &told["killed"]), (&"traced".into(), &false.into()), "{told}");
    wait(LONG);
    let told = manager.events().iter().filter(|event| event["event"] == "worker_unresponsive").count();
    assert_eq!(told, 1, "{}", manager.log());
    ptrace::detach(worker, None).unwrap();
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
    assert_alive(&manager, &[worker]);
}

/// S24: its process gets no descriptor for a new connection.
#[test]
fn a_worker_that_alone_reaches_no_job_server_is_replaced() {
    let mut gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("count = 0\ndedicated_count = 3").start();
    wait_serving(&manager, "act");
    let job = Job::act(&gearmand, "", "nonewfiles\npid");
    let cut_off = Pid::from_raw(String::from_utf8(job.result()).unwrap().parse().unwrap());
    let all = workers(&manager);
    gearmand.kill();
    manager.wait_event("server_down", |_| true);
    assert!(manager.status()["workers"].as_array().unwrap().iter().all(|worker| worker["state"] == "idle"));
    gearmand.restart_same_port();
    manager.wait_status("the one to be told apart", |status| {
        let worker = of(status, "workers", "state", "cut_off")?;
        (pid(worker) == cut_off).then_some(())
    });
    let told = manager.wait_event("worker_cut_off", |_| true);
    assert_eq!((pid(&told), &told["server"]), (cut_off, &gearmand.server().into()), "{told}");
    assert!(told["reason"].as_str().unwrap().contains("oo many open files"), "{told}");
    manager.wait_event("worker_exited", |event| pid(event) == cut_off);
    wait_serving(&manager, "act");
    let left: Vec<Pid> = workers(&manager).into_iter().filter(|worker| all.contains(worker)).collect();
    assert_eq!(left.len(), 2, "only that one was replaced: {}", manager.log());
}

/// S24: a job server that answers nobody is no fault of the workers.
#[test]
fn workers_whose_job_server_is_stopped_stay() {
    let ini = "count = 0\ndedicated_count = 2\necho_interval = 100ms\necho_timeout = 200ms\nconnect_timeout = 100ms";
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini(ini).start();
    wait_serving(&manager, "act");
    let all = workers(&manager);
    gearmand.stop();
    manager.wait_event("server_down", |_| true);
    wait(LONG);
    gearmand.cont();
    assert_eq!(Job::act(&gearmand, "", "say done").result(), b"done");
    assert_alive(&manager, &all);
    let told = manager.events().into_iter().find(|event| event["event"] == "worker_cut_off");
    assert_eq!(told, None);
}
