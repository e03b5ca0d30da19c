//! P21, P22: processes that a plugin forks. They never act as a second worker, and what
//! they do never counts as their parent's.

use std::fs;
use std::process::Command;

use gm_native::gearman::client::JobEvent;
use nix::libc::SIGRTMIN;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::deaths::forked;
use crate::fixture::{Job, library, path, served, wait_busy, wait_serving, workers};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// Ways to fork: one that runs glibc's handlers, and two of which only the kernel knows.
const FORKS: [&str; 3] = ["fork", "_Fork", "clone"];
/// The exit code of a child that came back.
const CAME_BACK: &str = "exit 70";

#[track_caller]
fn only_worker(manager: &Manager) -> Pid {
    let [worker] = workers(manager)[..] else { panic!("one worker was planned") };
    worker
}

/// Waits until a process is asleep for a while: one that spins never is.
#[track_caller]
fn wait_asleep(process: Pid) {
    let sleeps = || fs::read_to_string(format!("/proc/{process}/stat")).unwrap().contains(") S ");
    wait_for("the worker to sleep", DEADLINE, || (0..50).all(|_| sleeps()).then_some(()));
}

/// P21: however it was forked and however it comes back. The parent waits for its end in the middle of the job.
#[test]
fn a_child_that_returns_from_its_job_is_ended_and_logged() {
    let (gearmand, manager) = served("");
    let worker = only_worker(&manager);
    for fork in FORKS {
        for back in ["say the child's", "fail no", "exception no", "panic no"] {
            let job = Job::act(&gearmand, "", &format!("split {fork}\ninchild {back}\ninparent ended"));
            let handle = job.handle.clone();
            assert_eq!(job.result(), CAME_BACK.as_bytes(), "{fork}, {back}");
            let line = manager.wait_log(&format!("act {handle}: a process that it forked (pid "));
            assert!(line.contains("came back from it and was ended"), "{line}");
            // More lines than in ten seconds are only counted.
            wait_serving(&manager, "act");
            if back == "panic no" {
                let [before] = workers(&manager)[..] else { panic!("one worker was planned") };
                manager.signal(Signal::SIGHUP);
                manager.wait_event("worker_exited", |event| event["pid"] == before.as_raw());
                wait_serving(&manager, "act");
            }
        }
    }
    assert_ne!(only_worker(&manager), worker);
    gearmand.wait_workers("act", 1);
}

/// P21: one line for each would fill the log.
#[test]
fn a_flood_of_children_that_return_is_counted() {
    let (gearmand, manager) = served("");
    let again = "split fork\ninchild fail no\ninparent ended\n".repeat(100);
    assert_eq!(Job::act(&gearmand, "", &again).result(), CAME_BACK.as_bytes());
    assert_eq!(Job::act(&gearmand, "", "pid").result(), only_worker(&manager).to_string().into_bytes());
    let lines = manager.log().lines().filter(|line| line.contains("came back from it")).count();
    // A period of ten seconds may have ended in between, and another, where the machine is slow.
    assert!((1..=50).contains(&lines), "{lines} lines");
}

/// P21: what it reports about the job is refused, also while a thread of its parent's is in the middle of a packet and
/// holds every lock there is for that.
#[test]
fn a_forked_child_sends_nothing_to_the_job_server() {
    let (gearmand, manager) = served("");
    let answers = path(&manager, "answers");
    for fork in FORKS {
        let job =
            Job::act(&gearmand, "", &format!("split {fork}\ninchild asks {answers}\ninchild log I am\ninparent ended"));
        assert_eq!(job.result(), CAME_BACK.as_bytes(), "{fork}");
        assert_eq!(fs::read_to_string(&answers).unwrap(), "[false, false, false] false", "{fork}");
        fs::remove_file(&answers).unwrap();
    }
    assert!(manager.wait_log(": I am").contains("act: process "));
    let splits = format!("split fork\ninchild asks {answers}\ninchild fail no\ninparent ended\n").repeat(30);
    let mut news = Job::act(&gearmand, "", &format!("chatter\n{splits}")).news();
    assert_eq!(news.pop(), Some(JobEvent::Complete(CAME_BACK.into())));
    assert!(news.iter().all(|news| *news == JobEvent::Data(b"on and on".to_vec())), "{news:?}");
    assert_eq!(Job::act(&gearmand, "", "pid").result(), only_worker(&manager).to_string().into_bytes());
}

/// P21: outside of jobs. A child of a thread has nowhere to come back to.
#[test]
fn a_child_that_returns_from_an_objects_new_or_drop_is_ended() {
    for place in ["new", "drop", "thread"] {
        let gearmand = Gearmand::start();
        let setup = Setup::new(&[&gearmand.server()]).plugin("forking", &library());
        let manager = setup.ini(&format!("[forking]\nsetting.where = {place}")).start();
        wait_serving(&manager, "forking");
        gearmand.wait_workers("forking", 1);
        let worker = only_worker(&manager);
        for _ in 0..5 {
            assert_eq!(gearman(&gearmand, &["-f", "forking"], b"").out(), worker.to_string(), "{place}");
        }
        manager.signal(Signal::SIGHUP);
        let left = manager.wait_event("worker_exited", |event| event["pid"] == worker.as_raw());
        assert_eq!(left["note"], serde_json::Value::Null, "{place}: {left}");
        if place != "thread" {
            assert!(manager.wait_log("came back from it").contains("forking: a process"), "{place}");
        }
        wait_serving(&manager, "forking");
        gearmand.wait_workers("forking", 1);
    }
}

/// P21: a library that forks while it is loaded is looked at once, and serves once.
#[test]
fn a_child_that_returns_from_a_constructor_is_ended() {
    let library = plugins::rust(
        "forks_early",
        r#"
        use gm_plugin_api::{Job, JobResult, Log, function};
        unsafe extern "C" {
            fn fork() -> i32;
            fn waitpid(process: i32, status: *mut i32, options: i32) -> i32;
        }
        extern "C" fn early() {
            unsafe {
                let child = fork();
                if child > 0 {
                    waitpid(child, std::ptr::null_mut(), 0);
                }
            }
        }
        #[unsafe(link_section = ".init_array")]
        #[used]
        static EARLY: extern "C" fn() = early;
        #[function]
        fn forks_early(_job: &Job, _log: &mut Log) -> JobResult { Ok(std::process::id().to_string().into()) }
        "#,
    );
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[&gearmand.server()]).plugin("forks_early", &library).start();
    wait_serving(&manager, "forks_early");
    gearmand.wait_workers("forks_early", 1);
    assert_eq!(gearman(&gearmand, &["-f", "forks_early"], b"").out(), only_worker(&manager).to_string());
    manager.wait_log("forks_early (probe): stderr: gm-native: process ");
    manager.wait_log("forks_early: a process that it forked (pid ");
    let file = manager.worker_dir().join("forks_early.so").display().to_string();
    let called = crate::fixture::gm_native(manager.dir(), &["call", &file, ""]);
    let lines = called.err().matches("was forked by the library and came back").count();
    assert!(called.out().parse::<u32>().is_ok() && lines == 1, "{called:?}");
    let checked = crate::fixture::gm_native(manager.dir(), &["check", &file]);
    assert_eq!(checked.code(), Some(0), "{checked:?}");
}

/// P22: it ends as any process does, and its parent neither leaves nor spins.
#[test]
fn a_signal_to_a_child_is_the_childs() {
    let (gearmand, manager) = served("");
    let worker = only_worker(&manager);
    for fork in FORKS {
        for signal in [Signal::SIGTERM as i32, Signal::SIGINT as i32, SIGRTMIN() + 3] {
            let never = path(&manager, "never");
            let job = Job::act(&gearmand, "", &format!("split {fork}\ninchild wait {never}\ninparent ended"));
            wait_busy(&manager, &job.handle);
            let child = wait_for("the plugin's child", DEADLINE, || forked(worker));
            let sent = Command::new("kill").args([format!("-{signal}"), child.to_string()]).status();
            assert!(sent.unwrap().success());
            assert_eq!(job.result(), format!("signal {signal}").into_bytes(), "{fork}");
        }
    }
    wait_asleep(worker);
    assert_eq!(Job::act(&gearmand, "", "pid").result(), worker.to_string().into_bytes());
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_exited"));
}

/// P22: a write to the eventfd that wakes a worker wakes it once.
#[test]
fn a_worker_that_is_woken_for_nothing_goes_on_sleeping() {
    let (gearmand, manager) = served("");
    assert_eq!(Job::act(&gearmand, "", "wake\nsay done").result(), b"done");
    wait_asleep(only_worker(&manager));
    kill(only_worker(&manager), Signal::SIGTERM).unwrap();
    manager.wait_event("worker_exited", |_| true);
}

/// P22: SIGPIPE is an error in the worker, and the default in whatever a job makes or starts; nothing is blocked.
#[test]
fn what_a_job_starts_has_the_usual_signal_handling() {
    let (gearmand, manager) = served("");
    let file = path(&manager, "dispositions");
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let ours = [Signal::SIGTERM as i32, Signal::SIGINT as i32, Signal::SIGPIPE as i32, SIGRTMIN() + 3].map(bit);
    let ours = ours.iter().sum::<u64>();
    let sets = |text: &str| -> [u64; 3] {
        let all: Vec<u64> = text.split(' ').map(|set| u64::from_str_radix(set, 16).unwrap()).collect();
        all.try_into().unwrap()
    };
    Job::act(&gearmand, "", &format!("dispositions {file}")).result();
    let [blocked, ignored, caught] = sets(&fs::read_to_string(&file).unwrap());
    assert_eq!((blocked, ignored & ours, caught & ours), (0, 0, ours), "the worker's");
    Job::act(&gearmand, "", &format!("split fork\ninchild dispositions {file}\ninparent ended")).result();
    let [blocked, ignored, caught] = sets(&fs::read_to_string(&file).unwrap());
    assert_eq!((blocked, ignored & ours, caught & ours), (0, 0, 0), "a child's");
    for start in ["system", "command"] {
        let shell = Job::act(&gearmand, "", &format!("{start} {file}")).result();
        let [blocked, ignored, caught] = sets(&String::from_utf8(shell).unwrap());
        assert_eq!((blocked, ignored & ours, caught & ours), (0, 0, 0), "{start}");
    }
    assert_eq!(Job::act(&gearmand, "", "brokenpipe").result(), b"BrokenPipe");
    for fork in FORKS {
        let job = Job::act(&gearmand, "", &format!("split {fork}\ninchild brokenpipe\ninparent ended"));
        assert_eq!(job.result(), b"signal 13", "{fork}");
    }
}
