//! Workers that die, in every way, and what happens to their jobs.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::fixture::{Job, acting, lines, of, path, served, touch, wait_busy, wait_serving, workers};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// What the manager reports about the end of that worker.
#[track_caller]
fn death(manager: &Manager, worker: Pid) -> Value {
    manager.wait_event("worker_died", |event| event["pid"] == worker.as_raw())
}

/// P4: under `-j 2` a job is given to workers twice, so the second one has to do it.
#[test]
fn a_job_whose_worker_is_killed_is_done_by_another() {
    let gearmand = Gearmand::with_args(&["-j", "2"]);
    let manager = acting(&[&gearmand]).ini("count = 2").start();
    wait_serving(&manager, "act");
    let (mark, never) = (path(&manager, "mark"), path(&manager, "never"));
    let job = Job::act(&gearmand, "u1", &format!("first {mark} wait {never}\npid"));
    let worker = wait_busy(&manager, &job.handle);
    let version = of(&manager.status(), "functions", "name", "act").unwrap()["version"].clone();
    let handle = job.handle.clone();
    kill(worker, Signal::SIGKILL).unwrap();
    let done_by: i32 = String::from_utf8(job.result()).unwrap().parse().unwrap();
    assert_ne!(done_by, worker.as_raw());
    let event = death(&manager, worker);
    for (key, expected) in [
        ("end", "killed by SIGKILL"),
        ("at", "job"),
        ("function", "act"),
        ("handle", &handle),
        ("unique", "u1"),
        ("version", version.as_str().unwrap()),
    ] {
        assert_eq!(event[key], expected, "{event}");
    }
    assert_eq!((event["sending"].as_bool(), event["jobs"].as_u64()), (Some(false), Some(0)), "{event}");
    let line = manager.wait_log("killed by SIGKILL");
    for part in [&format!("act: worker {worker} killed by SIGKILL in job {handle} (unique u1)"), "requeued"] {
        assert!(line.contains(part), "{line}");
    }
    // There are two again.
    wait_serving(&manager, "act");
    assert_eq!(gearman(&gearmand, &["-f", "act"], b"say alive").out(), "alive");
}

/// P2, P3: also an exit with 0 is no end of a job.
#[test]
fn a_job_that_ends_its_worker_is_no_success_and_is_tried_again() {
    let (gearmand, manager) = served("");
    for (number, (step, end)) in [
        ("abort", "killed by SIGABRT"),
        ("segv", "killed by SIGSEGV"),
        ("exit 0", "exited with code 0"),
        ("exit 3", "exited with code 3"),
        ("_exit 3", "exited with code 3"),
    ]
    .into_iter()
    .enumerate()
    {
        let (mark, unique) = (path(&manager, &format!("mark{number}")), format!("u{number}"));
        let job = Job::act(&gearmand, &unique, &format!("first {mark} {step}\nsay again"));
        assert_eq!(job.result(), b"again", "{step}");
        let event = manager.wait_event("worker_died", |event| event["unique"] == unique.as_str());
        assert_eq!([&event["end"], &event["at"]], [end, "job"], "{step}: {event}");
    }
}

/// P4. Deaths outside of jobs have their back-off, here a short one: who kills by chance kills there too.
#[test]
fn no_job_is_lost_while_workers_are_killed_under_load() {
    const JOBS: usize = 400;
    const KILLED: usize = 25;
    let (gearmand, manager) = served("count = 4\nbackoff_max = 10ms\nmax_attempts = 1000");
    let notes = path(&manager, "notes");
    let mut client = gearmand.client();
    for number in 0..JOBS {
        let workload = format!("take 3\nnote {notes}\nsay {number}");
        let unique = number.to_string();
        client
            .submit(Submission::Foreground(Priority::Normal), b"act", unique.as_bytes(), workload.as_bytes())
            .unwrap();
    }
    let (mut done, mut killed) = (BTreeSet::new(), 0);
    while done.len() < JOBS {
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("all jobs to be done");
        let JobEvent::Complete(number) = event.event else { panic!("{:?}", event.event) };
        assert!(done.insert(number), "a job has two results");
        if done.len() % (JOBS / KILLED) == 0 {
            let workers = workers(&manager);
            // It may have gone by itself: the status is a moment old.
            killed +=
                usize::from(!workers.is_empty() && kill(workers[killed % workers.len()], Signal::SIGKILL).is_ok());
        }
    }
    assert_eq!(done, (0..JOBS).map(|number| number.to_string().into_bytes()).collect());
    let ran: BTreeSet<String> = lines(&notes).into_iter().collect();
    assert_eq!(ran.len(), JOBS);
    // A worker that died in a job ran it in part; no other ran one twice.
    assert!(
        killed >= KILLED / 2 && lines(&notes).len() <= JOBS + killed,
        "{} runs, {killed} killed",
        lines(&notes).len()
    );
    wait_for("every death to be reported", DEADLINE, || {
        (manager.events().iter().filter(|event| event["event"] == "worker_died").count() == killed).then_some(())
    });
    wait_serving(&manager, "act");
}

#[test]
fn a_worker_that_is_killed_while_idle_is_replaced() {
    let (gearmand, manager) = served("");
    let [before] = workers(&manager)[..] else { panic!("one worker was planned") };
    kill(before, Signal::SIGKILL).unwrap();
    let event = death(&manager, before);
    assert_eq!([&event["end"], &event["at"]], ["killed by SIGKILL", "idle"], "{event}");
    assert_eq!(Job::act(&gearmand, "", "say alive").result(), b"alive");
    assert_ne!(workers(&manager), [before]);
    gearmand.wait_workers("act", 1);
}

/// An operator's signal to one worker: it finishes its job, goes, and another comes.
#[test]
fn a_worker_that_is_terminated_finishes_its_job_and_is_replaced() {
    let (gearmand, manager) = served("");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let gate = path(&manager, &format!("gate {signal}"));
        let job = Job::act(&gearmand, "", &format!("wait {gate}\npid"));
        let worker = wait_busy(&manager, &job.handle);
        kill(worker, signal).unwrap();
        touch(&gate);
        assert_eq!(job.result(), worker.to_string().into_bytes());
        let left = manager.wait_event("worker_exited", |event| event["pid"] == worker.as_raw());
        assert_eq!([&left["jobs"], &left["note"]], [&Value::from(1), &Value::Null], "{left}");
        wait_serving(&manager, "act");
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}

/// P7: the child holds the socket, so that gearmand sees no end of the connection; the manager makes one.
#[test]
fn a_child_that_holds_the_socket_does_not_hold_the_job() {
    let (gearmand, manager) = served("");
    let (mark, gone, never) = (path(&manager, "mark"), path(&manager, "gone"), path(&manager, "never"));
    let job = Job::act(&gearmand, "", &format!("first {mark} fork {gone}\nfirst {mark}2 wait {never}\npid"));
    let worker = wait_busy(&manager, &job.handle);
    let child = wait_for("the plugin's child", DEADLINE, || forked(worker));
    // Without the second mark the next worker would wait, too.
    wait_for("the second step", DEADLINE, || Path::new(&format!("{mark}2")).exists().then_some(()));
    kill(worker, Signal::SIGKILL).unwrap();
    let done_by = String::from_utf8(job.result()).unwrap();
    assert_ne!(done_by, worker.to_string());
    kill(child, None).expect("the child lives all the while");
    gearmand.wait_workers("act", 1);
    touch(&gone);
}

/// H7: what a plugin leaves behind goes with its worker's group; what has left that group becomes the manager's child,
/// is reaped when it ends and counted, and nobody waits for it.
#[test]
fn what_a_plugin_leaves_behind_is_killed_or_reaped() {
    let (gearmand, mut manager) = served("");
    let (gone, never) = (path(&manager, "gone"), path(&manager, "never"));
    let leave_behind = |step: &str| {
        let [worker] = workers(&manager)[..] else { panic!("one worker was planned") };
        Job::act(&gearmand, "", step).result();
        let child = forked(worker).expect("the plugin's child");
        kill(worker, Signal::SIGKILL).unwrap();
        death(&manager, worker);
        wait_serving(&manager, "act");
        child
    };
    let is_there = |child: Pid| kill(child, None).is_ok();
    let grouped = leave_behind(&format!("child {never}"));
    wait_for("the end of the child in the group", DEADLINE, || (!is_there(grouped)).then_some(()));
    let reaped = |count: u64| {
        manager.wait_status("the count", |status| (status["orphans_reaped"] == count).then_some(()));
    };
    reaped(1);
    let escaped = leave_behind(&format!("fork {gone}"));
    assert!(is_there(escaped) && manager.status()["orphans_reaped"] == 1);
    let ppid = lines(&format!("/proc/{escaped}/status")).into_iter().find(|line| line.starts_with("PPid:")).unwrap();
    assert_eq!(ppid.split_whitespace().nth(1).unwrap(), manager.pid().to_string());
    touch(&gone);
    wait_for("its end, and no zombie", DEADLINE, || (!is_there(escaped)).then_some(()));
    reaped(2);
    let stays = leave_behind(&format!("fork {never}"));
    manager.signal(Signal::SIGTERM);
    assert!(manager.wait_exit().success(), "a drain does not wait for it");
    assert!(is_there(stays));
    touch(&never);
}

/// A process that is a copy of a worker, but for its own number.
pub fn forked(worker: Pid) -> Option<Pid> {
    let children = fs::read_to_string(format!("/proc/{worker}/task/{worker}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok().map(Pid::from_raw)
}

/// S13: half a result is on the wire. Nobody may write behind it, and nobody may take it for a whole one.
#[test]
fn a_result_cut_short_is_nobodys_and_the_job_is_done_again() {
    let (gearmand, manager) = served("");
    let mark = path(&manager, "mark");
    let gate = path(&manager, "gate");
    let job = Job::act(&gearmand, "u1", &format!("wait {gate}\nfirst {mark} size 50000000"));
    let worker = wait_busy(&manager, &job.handle);
    gearmand.stop();
    touch(&gate);
    wait_for("the result to be on its way", DEADLINE, || (unread(gearmand.port()) > 100_000).then_some(()));
    kill(worker, Signal::SIGKILL).unwrap();
    let event = death(&manager, worker);
    assert_eq!([&event["at"], &event["sending"]], [&Value::from("job"), &Value::from(true)], "{event}");
    gearmand.cont();
    assert_eq!(job.news(), [JobEvent::Complete(Vec::new())]);
}

/// S13: a result that was written whole arrives, also when its worker dies before the job server has read it.
#[test]
fn a_result_that_was_sent_whole_arrives_though_its_worker_dies() {
    let (gearmand, manager) = served("backoff_max = 10ms");
    let notes = path(&manager, "notes");
    for round in 0..10 {
        let gate = path(&manager, &format!("gate{round}"));
        let job = Job::act(&gearmand, "", &format!("wait {gate}\nnote {notes}\nsize 100000"));
        let worker = wait_busy(&manager, &job.handle);
        gearmand.stop();
        touch(&gate);
        manager.wait_status("the result to be sent", |status| {
            (status["workers"][0]["state"] == "idle" && status["workers"][0]["jobs"] == 1).then_some(())
        });
        kill(worker, Signal::SIGKILL).unwrap();
        death(&manager, worker);
        gearmand.cont();
        assert_eq!(job.result().len(), 100_000);
        assert_eq!(lines(&notes).len(), round + 1, "it was lost, and the job was done again");
        wait_serving(&manager, "act");
    }
}

/// Bytes that wait to be read from connections to a port, or are on their way there.
fn unread(port: u16) -> u64 {
    let port = format!(":{port:04X}");
    let table = fs::read_to_string("/proc/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours = lines.filter(|fields| fields.len() > 4 && fields[1].ends_with(&port));
    ours.filter_map(|fields| u64::from_str_radix(fields[4].split_once(':')?.1, 16).ok()).sum()
}

/// M15: deaths in a row are restarted at once, five of them, then with pauses; other functions do not notice.
#[test]
fn a_function_that_crashes_again_and_again_backs_off_and_stays() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).plugin("reverse_string", &plugins::example("reverse_string"));
    let manager = setup.ini("max_attempts = 1000").start();
    wait_serving(&manager, "act");
    let counter = path(&manager, "runs");
    let job = Job::act(&gearmand, "poison", &format!("note {counter}\nfirst {counter}8 say\nabort"));
    let event = manager.wait_event("backing_off", |event| event["function"] == "act");
    assert!(event["failures"].as_u64() >= Some(5), "{event}");
    assert_eq!(gearman(&gearmand, &["-f", "reverse_string"], b"still here").out(), "ereh llits");
    let check = manager.command("status", &["--check"]);
    assert!(check.code() == Some(2) && check.out().starts_with("CRITICAL: act: 0 of 1 workers ready"), "{check:?}");
    drop(job);
}
