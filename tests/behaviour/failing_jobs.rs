//! A function whose jobs fail has its reason reported: in the log, in events, in `status`.

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};

use crate::fixture::{Job, acting, of, path, served, wait_done};
use crate::support::gearmand::Gearmand;

/// The line is in the log that everybody has: without -v.
#[test]
fn a_failing_function_leaves_its_reason_in_log_events_and_status() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).verbosity("").start();
    assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
    let job = Job::act(&gearmand, "", "fail no such table");
    let handle = job.handle.clone();
    job.news();
    let event = manager.wait_event("function_failing", |event| event["function"] == "act");
    assert_eq!([&event["reason"], &event["handle"]], ["no such table", handle.as_str()], "{event}");
    assert!(event["level"] == "WARN" && event["failed"] == 1 && event["jobs"] == 1, "{event}");
    manager.wait_log("no such table");
    for _ in 0..20 {
        Job::act(&gearmand, "", "fail no such table").news();
    }
    Job::act(&gearmand, "", "panic at the\ndisco").news();
    let function = manager.wait_status("the last job to be counted", |status| {
        let function = of(status, "functions", "name", "act")?;
        (function["jobs_failed"] == 22).then(|| function.clone())
    });
    assert_eq!(function["jobs_completed"], 1, "{function}");
    let last = &function["last_failure"];
    assert!(last["kind"] == "failed" && last["reason"].as_str().unwrap().contains("panicked at"), "{last}");
    assert!(last["version"] == function["version"] && last["seconds_ago"].as_f64().unwrap() < 60.0, "{last}");
    let failing = &function["failing"];
    assert!(failing["failed"] == 22 && failing["jobs"] == 22 && failing["high"] == true, "{failing}");
    let text = manager.command("status", &[]).out();
    assert!(text.contains("22 of 22 jobs had no result") && text.contains("last failure"), "{text}");
    // The first of them has its line, and all that come within the pause have none.
    let events = manager.events().iter().filter(|event| event["event"] == "function_failing").count();
    assert_eq!((events, manager.log().matches("no such table").count()), (1, 1), "{}", manager.log());
}

/// However fast they fail, the log gets a line a minute at most, and each job is counted.
#[test]
fn a_flood_of_failures_is_a_line() {
    const JOBS: usize = 3000;
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).ini("count = 2").verbosity("").start();
    let mut client = gearmand.client();
    for job in 0..JOBS {
        let words = ["lost", "gone", "spent", "broken"][job % 4];
        let how = Submission::Background(Priority::Normal);
        client.submit(how, b"act", b"", format!("fail row {job} is {words}").as_bytes()).unwrap();
    }
    wait_done(&gearmand);
    manager
        .wait_status("all jobs to be counted", |status| (status["functions"][0]["jobs_failed"] == JOBS).then_some(()));
    manager.wait_event("function_failing", |_| true);
    let lines = manager.log().lines().count();
    // A machine that takes minutes for this has a line for each.
    assert!((1..10).contains(&lines), "{}", manager.log());
}

/// Each run of a job is in one of four counters.
#[test]
fn every_end_of_a_job_has_its_counter() {
    let (gearmand, manager) = served("count = 2\ntimeout = 1\ntimeout_grace = 0\non_timeout = fail");
    assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well");
    Job::act(&gearmand, "", "fail oh").news();
    let exception = Job::act(&gearmand, "", "exception oh").news();
    assert_eq!(exception.last(), Some(&JobEvent::Fail), "{exception:?}");
    let mark = path(&manager, "mark");
    assert_eq!(Job::act(&gearmand, "", &format!("first {mark} abort\nsay again")).result(), b"again");
    Job::act(&gearmand, "", "deaf\ntake 60000").news();
    let function = manager.wait_status("all to be counted", |status| {
        let function = of(status, "functions", "name", "act")?;
        (function["jobs_timed_out"] == 1).then(|| function.clone())
    });
    let counts = ["jobs_completed", "jobs_failed", "jobs_crashed", "jobs_timed_out"].map(|key| function[key].as_u64());
    assert_eq!(counts, [2, 2, 1, 1].map(Some), "{function}");
    assert_eq!(function["last_failure"]["kind"], "timed_out", "{function}");
    assert!(function["last_failure"]["reason"].as_str().unwrap().contains("SIGKILL"), "{function}");
    // What crashes or times out has lines of its own.
    let events: Vec<_> = manager.events().into_iter().filter(|event| event["event"] == "function_failing").collect();
    assert!(events.iter().all(|event| event["reason"] == "oh"), "{events:?}");
}
