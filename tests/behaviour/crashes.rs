//! P29: workers that crash in every way: each leaves a report, and none hangs.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{Job, library, path, served, touch, wait_busy, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

/// How a job crashes, the signal, and its meaning.
const WAYS: [(&str, &str, &str); 15] = [
    ("null", "SIGSEGV", "address not mapped"),
    ("jump", "SIGSEGV", "address not mapped"),
    ("libc", "SIGSEGV", "address not mapped"),
    ("bus", "SIGBUS", "nothing there: the mapped file is shorter"),
    ("ill", "SIGILL", "illegal operand"),
    ("fpe", "SIGFPE", "integer division by zero"),
    ("trap", "SIGTRAP", "breakpoint or trace trap"),
    ("sys", "SIGSYS", "sent to a thread"),
    ("abort", "SIGABRT", "the process aborted itself"),
    ("free", "SIGABRT", "the process aborted itself"),
    ("overflow", "SIGSEGV", "address not mapped"),
    ("thread", "SIGSEGV", "address not mapped"),
    ("foreign", "SIGSEGV", "address not mapped"),
    ("threads", "SIGSEGV", "address not mapped"),
    ("lost", "SIGSEGV", "address not mapped"),
];

/// The event and the report of the worker whose job has this unique id.
#[track_caller]
pub fn report(manager: &Manager, unique: &str) -> (Value, Value) {
    let death = manager.wait_event("worker_died", |event| event["unique"] == unique);
    let id = death["report"].as_str().unwrap_or_else(|| panic!("no report: {death}"));
    let examined = manager.wait_event("worker_examined", |event| event["report"] == id);
    assert_eq!(examined["unwritten"], Value::Null, "{examined}");
    let text = fs::read_to_string(manager.dir().join(format!("state/crashes/{id}.json"))).unwrap();
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!([&report["id"], &report["end"]], [&death["report"], &death["end"]], "{report}");
    (examined, report)
}

#[test]
fn every_crash_leaves_a_report() {
    let (gearmand, manager) = served("on_crash = fail\nbackoff_max = 10ms");
    for (way, signal, meaning) in WAYS {
        let workload = format!("crash {way}");
        Job::act(&gearmand, way, &workload).failure();
        let (examined, report) = report(&manager, way);
        let snapshot = &report["snapshot"];
        let expected = [signal, "crash", meaning];
        assert_eq!([&snapshot["signal_name"], &snapshot["taken"], &snapshot["meaning"]], expected, "{way}: {report}");
        let in_main = !["thread", "foreign", "threads"].contains(&way);
        assert_eq!(snapshot["is_main_thread"], in_main, "{way}: {report}");
        let job = &report["job"];
        assert_eq!([&job["unique"], &job["workload_kept"]], [&Value::from(way), &Value::from(true)], "{way}: {report}");
        let id = report["id"].as_str().unwrap();
        let kept = fs::read(manager.dir().join(format!("state/crashes/{id}.workload"))).unwrap();
        assert_eq!(kept, workload.as_bytes(), "{way}");
        assert!(examined["place"].is_string(), "{way}: {examined}");
        assert_eq!(examined["stack_overflow"], way == "overflow", "{way}: {examined}");
        let line = manager.wait_log(&format!("; report {id}"));
        assert!(line.contains(&format!("killed by {signal} in job")), "{way}: {line}");
        // A job that is done ends the row of deaths, so that the next worker starts at once.
        assert_eq!(Job::act(&gearmand, "", "say alive").result(), b"alive");
    }
}

/// Of a canary, and where workers hold several jobs.
#[test]
fn a_crash_of_a_canary_leaves_the_same_report() {
    let (gearmand, manager) =
        served("on_crash = fail\nbackoff_max = 10ms\nprefetch = 8\ncanary_seconds = 1h\ncanary_jobs = 1000");
    let crash = |unique: &str| {
        Job::act(&gearmand, unique, "crash null").failure();
        let (examined, report) = report(&manager, unique);
        assert_eq!(report["job"]["unique"], unique, "{report}");
        (examined["place"].clone(), report)
    };
    let (place, of_old) = crash("old");
    let new = manager.dir().join("new.so");
    fs::write(&new, [fs::read(library()).unwrap().as_slice(), b"another version"].concat()).unwrap();
    manager.install("act", &new);
    manager.wait_event("rollout_started", |_| true);
    let mut attempts = 0..;
    let (place_of_new, of_new) = wait_for("a job to reach the canary", DEADLINE, || {
        // One that is done in between, so that nobody has to wait.
        Job::act(&gearmand, "", "say alive").result();
        let (place, report) = crash(&format!("new{}", attempts.next()?));
        (report["version"] != of_old["version"]).then_some((place, report))
    });
    assert!(place.is_string() && place_of_new == place, "{of_new}");
    for key in ["end", "at", "function"] {
        assert_eq!(of_new[key], of_old[key], "{of_new}");
    }
    let names = |report: &Value| -> Vec<Value> {
        report["frames"].as_array().unwrap().iter().map(|frame| frame["function"].clone()).collect()
    };
    assert_eq!(names(&of_new), names(&of_old));
}

/// What cannot be saved is missing in the report, and the report says why.
#[test]
fn a_death_without_a_snapshot_leaves_a_report_that_says_why() {
    let (gearmand, manager) = served("on_crash = fail\nbackoff_max = 10ms");
    for (way, end, why) in [
        ("crash own", "exited with code 9", "a process that exits saves no stack"),
        ("crash deepforeign", "killed by SIGSEGV", "the library has a handler of its own for this signal"),
        ("doomed 0\nexit 3", "exited with code 3", "a process that exits saves no stack"),
    ] {
        Job::act(&gearmand, way, way).failure();
        let (examined, report) = report(&manager, way);
        assert_eq!(report["end"], end, "{way}: {report}");
        assert!(report["frames_note"].as_str().unwrap().contains(why), "{way}: {report}");
        assert_eq!([&report["snapshot"], &examined["place"]], [&Value::Null; 2], "{way}: {report}");
    }
}

/// The handler needs no descriptor that is open, and nothing of the scoreboard.
#[test]
fn a_crash_without_descriptors_or_scoreboard_leaves_a_snapshot() {
    let (gearmand, manager) = served("on_crash = fail\nbackoff_max = 10ms");
    for way in ["closed", "nofiles"] {
        Job::act(&gearmand, way, &format!("crash {way}")).news();
        let (examined, report) = report(&manager, way);
        assert!(examined["place"].as_str().unwrap().contains("write_to_null (tests/"), "{way}: {report}");
        wait_serving(&manager, "act");
    }
    // Its job is not known, and runs again elsewhere.
    let mark = path(&manager, "mark");
    let job = Job::act(&gearmand, "", &format!("first {mark} scribble 7\nfirst {mark}2 crash null\nsay again"));
    let death = manager.wait_event("worker_died", |event| event["at"] == "unknown");
    let examined = manager.wait_event("worker_examined", |event| event["report"] == death["report"]);
    assert!(examined["place"].is_string(), "{examined}");
    assert_eq!(job.result(), b"again");
}

/// P29: its crash is its own.
#[test]
fn a_crash_of_a_forked_child_leaves_no_report() {
    let (gearmand, manager) = served("");
    assert_eq!(Job::act(&gearmand, "", "childcrash").result(), b"11");
    let [worker] = workers(&manager)[..] else { panic!("one worker was planned") };
    assert_eq!(Job::act(&gearmand, "", "pid").result(), worker.to_string().into_bytes());
    assert!(!manager.dir().join("state/crashes").exists());
}

/// P29: where the job was when it was past its timeout, and not where it was killed. Its workload is kept.
#[test]
fn a_job_past_its_timeout_leaves_a_snapshot() {
    let (gearmand, manager) = served("timeout = 200ms\ntimeout_grace = 100ms");
    let never = path(&manager, "never");
    for (unique, workload, place) in [
        ("waits", format!("wait {never}"), true),
        ("spins", "spin 600000000".to_owned(), true),
        ("is deaf to it", format!("blockall\nwait {never}"), false),
    ] {
        assert!(Job::act(&gearmand, unique, &workload).failure().starts_with("timed out"), "{unique}");
        let (examined, report) = report(&manager, unique);
        assert_eq!([examined["timed_out"] == true, examined["place"].is_string()], [true, place], "{examined}");
        assert_eq!(report["job"]["workload_kept"], place, "{unique}: {report}");
        if place {
            assert_eq!(report["snapshot"]["taken"], "timeout", "{unique}: {report}");
        } else {
            assert!(report["frames_note"].as_str().unwrap().contains("did not take the signal"), "{report}");
        }
        wait_serving(&manager, "act");
    }
}

/// A job that ends in its grace period goes on undisturbed by the signal that asks where it is.
#[test]
fn a_job_that_ends_in_its_grace_period_leaves_no_report() {
    let (gearmand, manager) = served("timeout = 200ms\ntimeout_grace = 1h");
    assert_eq!(Job::act(&gearmand, "", "stopping\nsay enough").result(), b"enough");
    manager.wait_event("worker_exited", |_| true);
    assert!(!manager.dir().join("state/crashes").exists());
}

const WITH_HANDLER: &str = r#"
    use gm_plugin_api::{Job, JobResult, Log, function};
    unsafe extern "C" {
        fn signal(number: i32, handler: usize) -> usize;
        fn _exit(code: i32) -> !;
    }
    extern "C" fn leave(_: i32) {
        unsafe { _exit(9) }
    }
    #[used]
    #[unsafe(link_section = ".init_array")]
    static SET: extern "C" fn() = {
        extern "C" fn set() {
            unsafe { signal(11, leave as *const () as usize) };
        }
        set
    };
    #[function]
    fn act(job: &Job, _log: &mut Log) -> JobResult {
        unsafe { std::hint::black_box(std::ptr::without_provenance_mut::<u8>(16)).write_volatile(1) };
        Ok(job.workload().into())
    }
"#;

/// What a library's constructors set would hide a crash: it is undone.
#[test]
fn a_handler_that_a_constructor_sets_hides_no_crash() {
    let gearmand = Gearmand::start();
    let library = plugins::rust("act", WITH_HANDLER);
    let manager = Setup::new(&[&gearmand.server()]).plugin("act", &library).ini("on_crash = fail").start();
    wait_serving(&manager, "act");
    Job::act(&gearmand, "u1", "").failure();
    let (_, report) = report(&manager, "u1");
    assert_eq!([&report["end"], &report["snapshot"]["signal_name"]], ["killed by SIGSEGV", "SIGSEGV"], "{report}");
}

/// The manager ends only when the reports that it has announced are written.
#[test]
fn a_crash_in_a_stop_leaves_a_report() {
    let (gearmand, mut manager) = served("on_crash = fail\ncount = 3");
    let gate = path(&manager, "gate");
    let jobs = ["u1", "u2", "u3"].map(|unique| {
        let job = Job::act(&gearmand, unique, &format!("wait {gate}\ncrash null"));
        wait_busy(&manager, &job.handle);
        job
    });
    manager.signal(Signal::SIGTERM);
    manager.wait_event("draining", |_| true);
    touch(&gate);
    jobs.into_iter().for_each(|job| drop(job.failure()));
    assert_eq!(manager.wait_exit().code(), Some(0));
    let events = manager.wait_last_events();
    let examined = events.iter().filter(|event| event["event"] == "worker_examined" && event["place"].is_string());
    assert_eq!(examined.count(), 3, "{events:?}");
    let reports = fs::read_dir(manager.dir().join("state/crashes")).unwrap();
    assert_eq!(reports.count(), 6, "a report and a workload each");
}

/// Reports are bounded, the oldest go, and none is written where `crash_keep` is 0.
#[test]
fn only_so_many_reports_are_kept() {
    let (gearmand, manager) = served("on_crash = fail\nbackoff_max = 10ms\ncrash_keep = 2");
    let mut ids = Vec::new();
    for unique in ["u1", "u2", "u3"] {
        Job::act(&gearmand, unique, "crash null").failure();
        ids.push(report(&manager, unique).1["id"].as_str().unwrap().to_owned());
    }
    let kept: Vec<bool> =
        ids.iter().map(|id| manager.dir().join(format!("state/crashes/{id}.json")).exists()).collect();
    assert_eq!(kept, [false, true, true], "{ids:?}");
}

/// A core dump is written where the system wants one, and shows the process as it was.
#[test]
fn a_core_dump_is_still_written() {
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap_or_default();
    if pattern.starts_with('|') || pattern.contains('/') || pattern.trim().is_empty() {
        return eprintln!("skipped: core dumps go elsewhere: {pattern}");
    }
    let (gearmand, manager) = served("on_crash = fail");
    let message = Job::act(&gearmand, "u1", &format!("cores {}\ncrash null", manager.dir().display())).failure();
    if message.contains("no core dumps are allowed") {
        return eprintln!("skipped: the hard limit of core dumps is 0");
    }
    let (_, report) = report(&manager, "u1");
    let pid = report["pid"].as_i64().unwrap();
    let is_core = |name: &str| name == pattern.trim() || name == format!("core.{pid}");
    let names = fs::read_dir(manager.dir()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(names.into_iter().any(|name| is_core(&name)), "no core dump in {}", manager.dir().display());
}
