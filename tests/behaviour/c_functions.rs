//! P33 to P36: what a function in C may do to its worker.

use nix::unistd::Pid;
use serde_json::Value;

use crate::crashes::report;
use crate::fixture::{Job, pid, serving, wait_serving};
use crate::support::build::{self, repository};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};

const SOURCE: &str = include_str!("../support/c/act.c");
/// What the function sends where it sends much.
const LARGE: usize = 30_000_000;

/// One worker for it.
fn served(ini: &str) -> (Gearmand, Manager) {
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    let library = build::c("act.so", SOURCE, &["-shared", "-fPIC", "-D_GNU_SOURCE", &include]);
    let gearmand = Gearmand::start();
    let ini = format!("count = 0\ndedicated_count = 1\nmax_attempts = 1\nbackoff_max = 10ms\n{ini}");
    let manager = Setup::new(&[gearmand.server()]).plugin("act", &library).ini(&ini).start();
    wait_serving(&manager, "act");
    gearmand.wait_workers("act", 1);
    (gearmand, manager)
}

#[track_caller]
fn worker(manager: &Manager) -> Pid {
    let [worker] = serving(manager)[..] else { panic!("{}", manager.status()) };
    worker
}

#[track_caller]
fn death(manager: &Manager, worker: Pid) -> Value {
    manager.wait_event("worker_died", |event| pid(event) == worker)
}

/// The line of the source with this comment.
fn line(comment: &str) -> String {
    let found = SOURCE.lines().position(|line| line.contains(&format!("/* {comment} */")));
    format!("source.c:{}:", found.unwrap_or_else(|| panic!("{comment}")) + 1)
}

/// Such a worker can never wait again, not even for the manager's commands.
#[test]
fn a_worker_that_cannot_poll_is_replaced() {
    let (gearmand, manager) = served("");
    let first = worker(&manager);
    assert_eq!(Job::act(&gearmand, "", "descriptors").result(), b"lowered");
    let died = death(&manager, first);
    assert_eq!([&died["at"], &died["end"]], ["idle", "exited with code 4"], "{died}");
    let line = manager.wait_log("poll failed");
    assert!(line.contains("RLIMIT_NOFILE"), "{line}");
    assert_ne!(Job::act(&gearmand, "", "pid").result(), first.to_string().into_bytes());
}

/// At the send it would look as if the job server were gone, and the job would be run for ever.
#[test]
fn what_cannot_be_sent_crashes_its_job_and_not_the_connection() {
    let (gearmand, manager) = served("");
    for how in ["unmapped result", "unmapped data", "freed result"] {
        let failure = Job::act(&gearmand, how, how).failure();
        assert!(failure.starts_with("worker killed by SIGSEGV in this job"), "{how}: {failure}");
        let (examined, _) = report(&manager, how);
        let place = [&examined["place"], &examined["called_from"]].map(|place| place.as_str().unwrap_or_default());
        assert!(how == "freed result" || place.iter().any(|place| place.contains(&line(how))), "{examined}");
    }
    assert!(manager.events().iter().all(|event| event["event"] != "server_down"), "{}", manager.log());
}

/// The caller has the result, so the job has neither failed nor killed anything.
#[test]
fn a_job_whose_answer_is_sent_is_done_whatever_the_library_does_when_it_frees_it() {
    let (gearmand, manager) = served("echo_interval = 100ms\nresponse_timeout = 500ms");
    for (how, length) in [("crash after", 1), ("crash after much", LARGE), ("hang after", 1)] {
        wait_serving(&manager, "act");
        let worker = worker(&manager);
        assert_eq!(Job::act(&gearmand, how, how).result().len(), length, "{how}");
        let died = death(&manager, worker);
        assert_eq!([&died["at"], &died["disposition"]], [&Value::from("idle"), &Value::Null], "{how}: {died}");
    }
    assert!(manager.events().iter().all(|event| event["event"] != "job_quarantined"), "{}", manager.log());
}

/// M26: its job has no timeout any more, and its caller would wait for ever.
#[test]
fn a_worker_that_hangs_between_a_job_and_its_answer_is_replaced() {
    let (gearmand, manager) = served("echo_interval = 100ms\nresponse_timeout = 500ms\nmax_packet = 1M");
    for (how, process) in [("stop", "stopped"), ("hang", "other")] {
        wait_serving(&manager, "act");
        let worker = worker(&manager);
        let failure = Job::act(&gearmand, how, &format!("{how} before the answer")).failure();
        assert!(failure.starts_with("the worker stopped responding after this job had run"), "{how}: {failure}");
        let told = manager.wait_event("worker_unresponsive", |event| pid(event) == worker);
        assert_eq!((&told["process"], &told["sending"]), (&process.into(), &true.into()), "{told}");
        let died = death(&manager, worker);
        assert_eq!([&died["at"], &died["disposition"]], ["job", "failed"], "{how}: {died}");
    }
}

#[test]
fn sizes_that_no_packet_has_are_failures_and_no_crashes() {
    let (gearmand, manager) = served("");
    let size = 1_u64 << 40;
    for (how, call) in
        [("huge result", "gm_result"), ("huge exception", "gm_exception"), ("huge handed over", "gm_result_owned")]
    {
        let failure = Job::act(&gearmand, "", how).failure();
        assert_eq!(
            failure.trim_end(),
            format!("{call} was given a size of {size} bytes, which is negative or too large")
        );
    }
    assert_eq!(Job::act(&gearmand, "", "huge data").result(), b"0");
    assert_eq!(Job::act(&gearmand, "", "no message").failure().trim_end(), "gm_fail was called without a message");
    assert!(manager.events().iter().all(|event| event["event"] != "worker_died"), "{}", manager.log());
}

/// P32: what is not known is not guessed.
#[test]
fn the_line_of_a_crash_does_not_guess() {
    let (gearmand, manager) = served("");
    let at_the_call = line("stack");
    for (how, is_known, words) in [
        ("stack", true, at_the_call.as_str()),
        ("out of descriptors", false, "no descriptor was free"),
        ("alarm", false, "SIGALRM ends a process before"),
        ("ignored", false, "ignores it"),
    ] {
        Job::act(&gearmand, how, how).failure();
        let (examined, _) = report(&manager, how);
        let [found, other] = if is_known { ["place", "unknown"] } else { ["unknown", "place"] };
        assert!(examined[found].as_str().unwrap_or_default().contains(words), "{how}: {examined}");
        assert_eq!([&examined[other], &examined["stack_overflow"]], [&Value::Null, &Value::from(false)], "{examined}");
    }
}

/// P29: a handler that can do nothing must not leave the process where it is.
#[test]
fn a_crash_where_no_system_call_works_ends_the_worker() {
    let (gearmand, manager) = served("");
    for (how, signal) in [("fault", "SIGSEGV"), ("abort", "SIG"), ("trap", "SIG")] {
        let failure = Job::act(&gearmand, how, &format!("sandbox {how}")).failure();
        assert!(failure.starts_with(&format!("worker killed by {signal}")), "{how}: {failure}");
        let (_, report) = report(&manager, how);
        assert_eq!(report["snapshot"]["taken"], "crash", "{report}");
    }
}

const THROWS: &str = r#"
#include <gm_plugin.h>
#include <stdexcept>

GM_FUNCTION(act) {
    if (gm_workload_size(job)) throw std::range_error("no such row"); /* throw */
    return 0;
}
"#;

/// P32: without gm_plugin.hpp it ends the worker.
#[test]
fn an_exception_that_leaves_a_function_in_cpp_is_named() {
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    let library = build::cpp("act.so", THROWS, &["-shared", "-fPIC", &include]);
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[gearmand.server()]).plugin("act", &library).ini("on_crash = fail").start();
    wait_serving(&manager, "act");
    Job::act(&gearmand, "u", "x").failure();
    let (examined, report) = report(&manager, "u");
    assert!(examined["place"].as_str().unwrap_or_default().contains("source.cc:6:"), "{examined}");
    assert!(report["output"].to_string().contains("what():  no such row"), "{report}");
}
