//! Crash reports: every death has one, which says what is known; and there are never too many.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::crashes;
use crate::fixture::{Job, path, served, wait_busy, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Where the manager's reports are.
fn directory(manager: &Manager) -> PathBuf {
    manager.dir().join("state/crashes")
}

/// The report that a death's event names, once it is written.
#[track_caller]
fn report(manager: &Manager, died: &Value) -> Value {
    let id = died["report"].as_str().unwrap_or_else(|| panic!("no report: {died}"));
    let path = directory(manager).join(format!("{id}.json"));
    wait_for("a crash report", DEADLINE, || serde_json::from_slice(&fs::read(&path).ok()?).ok())
}

/// P29: a death that leaves no snapshot has a report, too.
#[test]
fn a_worker_that_is_killed_in_its_job_leaves_a_report() {
    let (gearmand, manager) = served("[act]\nsetting.token = hunter2\nsetting.size = 7");
    let never = path(&manager, "never");
    let job = Job::act(&gearmand, "u1", &format!("print hello\nlog world\nfirst {} wait {never}", path(&manager, "f")));
    let worker = wait_busy(&manager, &job.handle);
    manager.wait_log("stdout: hello");
    kill(worker, Signal::SIGKILL).unwrap();
    let died = manager.wait_event("worker_died", |event| event["pid"] == worker.as_raw());
    let report = report(&manager, &died);
    assert!(died["text"].as_str().unwrap().ends_with(&format!("; report {}", died["report"].as_str().unwrap())));
    let line = died["text"].as_str().unwrap();
    assert_eq!((&report["format"], &report["id"], &report["cause"]), (&1.into(), &died["report"], &line.into()));
    assert_eq!((&report["function"], &report["at"], &report["pid"]), (&"act".into(), &"job".into(), &died["pid"]));
    assert_eq!((&report["version"], &report["end"]), (&died["version"], &"killed by SIGKILL".into()));
    assert_eq!(report["frames"], Value::Array(Vec::new()));
    assert!(report["frames_note"].as_str().unwrap().contains("SIGKILL"), "{report}");
    let of_job = &report["job"];
    assert_eq!((&of_job["handle"], &of_job["unique"]), (&job.handle.as_str().into(), &"u1".into()));
    assert_eq!((&of_job["server"], &of_job["disposition"]), (&gearmand.server().into(), &"requeued".into()));
    assert_eq!((&of_job["deaths"], &of_job["workload_kept"]), (&1.into(), &false.into()));
    let output: Vec<_> =
        report["output"].as_array().unwrap().iter().map(|line| (&line["stream"], &line["text"])).collect();
    assert!(
        output.contains(&(&"stdout".into(), &"hello".into())) && output.contains(&(&"log".into(), &"world".into()))
    );
    assert_eq!(report["settings"], serde_json::json!({"token": "****", "size": "7"}));
    assert!(report["library"].as_str().unwrap().contains("/store/"), "{report}");
    assert!(["manager", "kernel", "glibc"].iter().all(|of| !report["versions"][of].as_str().unwrap().is_empty()));
    assert!(report["usage"]["peak_kib"].as_u64().unwrap() > 1000, "{report}");
    for file in fs::read_dir(directory(&manager)).unwrap() {
        assert_eq!(file.unwrap().metadata().unwrap().mode() & 0o7777, 0o600);
    }
}

/// P29: outside a job, and by an exit, too.
#[test]
fn every_death_leaves_a_report() {
    let (gearmand, mut manager) = served("backoff_max = 10ms\non_crash = fail");
    let before = Job::act(&gearmand, "", "say before");
    let handle = before.handle.clone();
    before.result();
    Job::act(&gearmand, "", "exit 3").failure();
    let died = manager.wait_event("worker_died", |_| true);
    let of_exit = report(&manager, &died);
    assert_eq!(of_exit["end"], "exited with code 3");
    let recent = serde_json::json!([{"number": 1, "function": "act", "handle": handle}]);
    assert_eq!(of_exit["recent_jobs"], recent);
    manager.mark();
    wait_serving(&manager, "act");
    let idle = crate::fixture::serving(&manager)[0];
    kill(idle, Signal::SIGKILL).unwrap();
    let died = manager.wait_event("worker_died", |event| event["pid"] == idle.as_raw());
    let report = report(&manager, &died);
    assert_eq!((&report["at"], &report["job"]), (&"idle".into(), &Value::Null));
}

/// M25: what cannot be written is said with its path, and what was found all the same.
#[test]
fn a_crash_whose_report_cannot_be_written_has_its_line() {
    let (gearmand, manager) = served("max_attempts = 1");
    for name in ["crashes", "quarantine"] {
        fs::write(manager.dir().join("state").join(name), "").unwrap();
    }
    Job::act(&gearmand, "u1", "crash null").failure();
    let died = manager.wait_event("worker_died", |_| true);
    let examined = manager.wait_event("worker_examined", |event| event["report"] == died["report"]);
    assert!(examined["place"].is_string() && examined["unknown"].is_null(), "{examined}");
    let unwritten = examined["unwritten"].as_str().unwrap();
    assert!(unwritten.ends_with("/state/crashes is no directory"), "{unwritten}");
    let unkept = manager.wait_log("cannot be kept");
    assert!(unkept.contains("act: job H:") && unkept.contains("/state/quarantine is no directory"), "{unkept}");
}

/// The process that examines a dead worker, while there is one.
fn examination(manager: &Manager) -> Option<Pid> {
    let examines = |pid: &Pid| {
        let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains("--gm-native-postmortem")
    };
    manager.processes().into_iter().find(examines)
}

/// Has a job crash, and sends this signal to what examines its worker. Returns the event of the examination, if the
/// signal came before its end.
#[track_caller]
fn disturbed_examination(gearmand: &Gearmand, manager: &Manager, unique: &str, signal: Signal) -> Option<Value> {
    let job = Job::act(gearmand, unique, "crash null");
    let examined = || {
        let events = manager.events();
        let died = events.iter().find(|event| event["event"] == "worker_died" && event["unique"] == unique)?;
        let is_of = |event: &&Value| event["event"] == "worker_examined" && event["report"] == died["report"];
        events.iter().find(is_of).cloned()
    };
    let found = wait_for("an examination, or its end", DEADLINE, || {
        examination(manager).map(Some).or_else(|| examined().map(|_| None))
    });
    // It may be over by now.
    let _ = found.map(|pid| kill(pid, signal));
    job.failure();
    // Nobody waits for it.
    assert_eq!(Job::act(gearmand, "", "say done").result(), b"done");
    Some(wait_for("the examination to end", DEADLINE, examined)).filter(|examined| examined["unknown"].is_string())
}

/// P29: it costs what it would have found, and nothing else.
#[test]
fn an_examination_that_is_killed_or_hangs_costs_only_its_findings() {
    for (signal, words) in [(Signal::SIGKILL, "ended early: killed by SIGKILL"), (Signal::SIGSTOP, "longer than 10 s")]
    {
        let (gearmand, manager) = served("on_crash = fail\nbackoff_max = 10ms");
        let examined = (0..20).find_map(|attempt| {
            let unique = format!("disturbed{attempt}");
            disturbed_examination(&gearmand, &manager, &unique, signal)
        });
        let examined = examined.expect("an examination that was not over before the signal came");
        assert!(examined["unknown"].as_str().unwrap().contains(words), "{examined}");
        assert_eq!(examination(&manager), None);
        Job::act(&gearmand, "next", "exit 3").failure();
        let (_, report) = crashes::report(&manager, "next");
        assert_eq!(report["end"], "exited with code 3");
    }
}

/// M25: reports are bounded, whatever happens. `make deaths` does the same a thousand times.
#[test]
fn many_crashes_leave_few_reports() {
    crash_many(40);
}

#[test]
#[ignore = "takes minutes: make deaths"]
fn a_thousand_crashes_leave_few_reports() {
    crash_many(1000);
}

fn crash_many(count: usize) {
    let (gearmand, manager) = served("backoff_max = 10ms\non_crash = fail\ncrash_keep = 5\nlog_file = /dev/null");
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", manager.pid())).unwrap().count();
    let crash = || {
        Job::act(&gearmand, "", "abort").failure();
        Job::act(&gearmand, "", "say alive").result();
    };
    crash();
    wait_serving(&manager, "act");
    let before = descriptors();
    (0..count).for_each(|_| crash());
    wait_serving(&manager, "act");
    let files = || fs::read_dir(directory(&manager)).unwrap().count();
    wait_for("old reports to go", DEADLINE, || (1..=10).contains(&files()).then_some(()));
    wait_for("descriptors to be closed", DEADLINE, || (descriptors() <= before).then_some(()));
}

/// The manager's command, and its output as text; it has to succeed.
#[track_caller]
fn command(manager: &Manager, verb: &str, args: &[&str]) -> String {
    String::from_utf8(manager.command(verb, args).success()).unwrap()
}

/// P29: the list, a report, and its job again; also when the manager runs no more.
#[test]
fn crashes_are_listed_shown_and_replayed() {
    let (gearmand, mut manager) = served("backoff_max = 10ms\non_crash = fail\n[act]\nsetting.token = hunter2");
    assert_eq!(command(&manager, "crashes", &[]), "no crash reports\n");
    for _ in 0..2 {
        Job::act(&gearmand, "", "print hello\nsegv").failure();
    }
    let died = wait_for("both deaths", DEADLINE, || {
        let events = manager.events().into_iter();
        let died: Vec<Value> = events.filter(|event| event["event"] == "worker_died").collect();
        (died.len() == 2).then_some(died)
    });
    died.iter().for_each(|died| drop(report(&manager, died)));
    let id = died[1]["report"].as_str().unwrap();
    manager.wait_event("worker_examined", |event| event["report"] == id);
    let list = command(&manager, "crashes", &[]);
    let row = list.lines().nth(1).unwrap();
    assert!(row.starts_with(id) && row.contains("  2      killed by SIGSEGV"), "{list}");
    assert_eq!(command(&manager, "crashes", &["--all"]).lines().count(), 3);
    let json: Value = serde_json::from_str(&command(&manager, "crashes", &["--json"])).unwrap();
    assert_eq!((&json[0]["id"], &json[0]["times"], &json[0]["function"]), (&id.into(), &2.into(), &"act".into()));
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    let shown = command(&manager, "crashes", &["show", id]);
    for expected in
        [died[1]["text"].as_str().unwrap(), "SIGSEGV", "stdout: hello", "setting     token = ****", "16 bytes, in "]
    {
        assert!(shown.contains(expected), "{expected:?} is not in {shown}");
    }
    let json: Value = serde_json::from_str(&command(&manager, "crashes", &["show", id, "--json"])).unwrap();
    assert_eq!((&json["id"], &json["format"]), (&id.into(), &1.into()));
    let replayed = manager.command("crashes", &["replay", id]);
    assert_eq!(replayed.code(), Some(1), "{replayed:?}");
    assert!(replayed.err().contains("hello") || replayed.out().contains("hello"), "{replayed:?}");
    assert!(replayed.err().contains("killed by SIGSEGV in the job, after "), "{replayed:?}");
    for (args, code, text) in [
        (&["show", "x"][..], 2, "x: an id has eight digits"),
        (&["show", "20200101-1"], 1, "20200101-1: there is no crash report of that id"),
        (&["replay", "20200101-1"], 1, "there is no crash report of that id"),
    ] {
        let refused = manager.command("crashes", args);
        assert!(refused.code() == Some(code) && refused.err().contains(text), "{args:?}: {refused:?}");
    }
    fs::remove_dir_all(manager.dir().join("state/store").join(died[1]["version"].as_str().unwrap())).unwrap();
    let refused = manager.command("crashes", &["replay", id]);
    assert!(refused.code() == Some(1) && refused.err().contains("is no longer in the store"), "{refused:?}");
}

/// P29: what was not kept cannot run again.
#[test]
fn a_job_whose_workload_was_not_kept_is_not_replayed() {
    let (gearmand, manager) = served("backoff_max = 10ms\non_crash = fail\ncrash_workload_max = 4");
    Job::act(&gearmand, "", "segv too long").failure();
    let died = manager.wait_event("worker_died", |_| true);
    let job = &report(&manager, &died)["job"];
    assert_eq!((&job["workload_size"], &job["workload_kept"]), (&13.into(), &false.into()));
    let refused = manager.command("crashes", &["replay", died["report"].as_str().unwrap()]);
    assert_eq!(refused.code(), Some(1));
    let text = "its workload was not kept: it has 13 bytes, and crash_workload_max is 4";
    assert!(refused.err().contains(text), "{refused:?}");
}

/// P29: in a debugger that stops where it crashes. It is a script here that shows what it was started with.
#[test]
fn a_job_is_replayed_in_gdb() {
    let (gearmand, manager) =
        served("backoff_max = 10ms\non_crash = fail\n[act]\nsetting.token = hunter2\nsetting.a = b");
    Job::act(&gearmand, "", "segv").failure();
    let died = manager.wait_event("worker_died", |_| true);
    report(&manager, &died);
    let gdb = manager.dir().join("gdb");
    crate::fixture::make_script(&gdb, "#!/bin/sh\necho \"$@\"\n");
    let id = died["report"].as_str().unwrap();
    let mut command = manager.verb("crashes", &["replay", id, "--gdb"]);
    command.env("PATH", manager.dir());
    let out = String::from_utf8(crate::support::program::run(&mut command, b"", DEADLINE).unwrap().success()).unwrap();
    let (before, after) = out.split_once(" --args ").unwrap();
    assert!(before.contains("set follow-fork-mode child"), "{out}");
    assert!(after.contains("call --function act") && after.contains("--setting a=b"), "{out}");
    assert!(after.contains(&format!("@{}/{id}.workload", directory(&manager).display())), "{out}");
    assert!(!out.contains("hunter2"), "{out}");
}

/// P29: the last words are in the report, however much was printed before them.
#[test]
fn the_last_words_after_a_flood_are_in_the_report() {
    let (gearmand, manager) = served("backoff_max = 10ms\non_crash = fail\nlog_file = /dev/null");
    let flood: String = (0..3000).map(|number| format!("print {number}\n")).collect();
    Job::act(&gearmand, "", &format!("{flood}print the last words\nabort")).failure();
    let died = manager.wait_event("worker_died", |_| true);
    let report = report(&manager, &died);
    let lines = report["output"].as_array().unwrap();
    assert_eq!((lines.len(), &lines[99]["text"], &lines[98]["text"]), (100, &"the last words".into(), &"2999".into()));
}
