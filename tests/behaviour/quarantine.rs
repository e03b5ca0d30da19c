//! Jobs that kill as many workers as they may are kept, and can be submitted again.

use std::fs;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::fixture::{Job, background, lines, path, served, touch, wait_done, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

const INI: &str = "backoff_max = 10ms\nmax_attempts = 2\n";

/// Waits until the job of this event is kept; returns its record.
#[track_caller]
fn kept(manager: &Manager, event: &Value) -> Value {
    let id = event["quarantine"].as_str().unwrap();
    let path = manager.dir().join("state/quarantine").join(format!("{id}.json"));
    wait_for("a job in quarantine", DEADLINE, || serde_json::from_slice(&fs::read(&path).ok()?).ok())
}

/// Lets a job kill its workers; returns its id in quarantine.
#[track_caller]
fn quarantined(gearmand: &Gearmand, manager: &mut Manager, unique: &str, workload: &str) -> String {
    manager.mark();
    Job::act(gearmand, unique, workload).failure();
    let event = manager.wait_event("job_quarantined", |_| true);
    kept(manager, &event);
    event["quarantine"].as_str().unwrap().to_owned()
}

#[track_caller]
fn command(manager: &Manager, args: &[&str]) -> String {
    String::from_utf8(manager.command("quarantine", args).success()).unwrap()
}

/// P14: it is kept with its workload, listed, shown, and submitted again with all its attempts.
#[test]
fn a_poison_job_is_kept_and_submitted_again() {
    let (gearmand, mut manager) = served(INI);
    assert_eq!(command(&manager, &[]), "no jobs in quarantine\n");
    let (cure, notes) = (path(&manager, "cure"), path(&manager, "notes"));
    // Its worker dies until there is a cure.
    let workload = format!("note {notes}\nuncured {cure} abort\nsay done");
    let id = quarantined(&gearmand, &mut manager, "u1", &workload);
    let event = manager.wait_event("job_quarantined", |_| true);
    assert_eq!((&event["unique"], &event["deaths"], &event["workload_kept"]), (&"u1".into(), &2.into(), &true.into()));
    let record = kept(&manager, &event);
    assert_eq!((&record["function"], &record["server"]), (&"act".into(), &gearmand.server().into()));
    let file = manager.dir().join("state/quarantine").join(format!("{id}.workload"));
    assert_eq!(fs::read_to_string(&file).unwrap(), workload);
    let report = record["report"].as_str().unwrap();
    let report: Value = wait_for("its crash report", DEADLINE, || {
        serde_json::from_slice(&fs::read(manager.dir().join(format!("state/crashes/{report}.json"))).ok()?).ok()
    });
    assert_eq!(report["job"]["quarantine"], id.as_str());

    let list = command(&manager, &["list"]);
    assert!(list.lines().nth(1).unwrap().starts_with(&id) && list.contains("u1"), "{list}");
    let shown = command(&manager, &["show", &id]);
    assert!(shown.contains("killed by SIGABRT") && shown.contains(&format!("{} bytes", workload.len())), "{shown}");

    // Still poison: it gets both attempts again, and is kept once.
    let out = command(&manager, &["resubmit", &id]);
    assert!(out.starts_with(&format!("{id}: submitted to {} as H:", gearmand.server())), "{out}");
    let again = manager.wait_event("job_quarantined", |event| event["quarantine"] != id.as_str());
    kept(&manager, &again);
    assert_eq!((lines(&notes).len(), again["deaths"].as_u64()), (4, Some(2)));
    assert_eq!(command(&manager, &["list"]).lines().count(), 2, "the one before is gone");

    touch(&cure);
    let priority = ["resubmit", again["quarantine"].as_str().unwrap(), "--priority", "high"];
    command(&manager, &priority);
    wait_for("the job to run", DEADLINE, || (lines(&notes).len() == 5).then_some(()));
    wait_done(&gearmand);
    assert_eq!(lines(&notes), ["u1"; 5], "it keeps its unique id");
    assert_eq!(command(&manager, &[]), "no jobs in quarantine\n");
}

/// P30: the same job again under its name is failed at its next death, and without a name by its workload; another one
/// is not.
#[test]
fn a_poison_job_that_is_submitted_again_kills_one_worker_more() {
    let (gearmand, mut manager) = served(INI);
    for (unique, workload) in [("u1", "abort"), ("", "print x\nabort")] {
        let notes = path(&manager, &format!("notes{unique}"));
        let workload = format!("note {notes}\n{workload}");
        let first = quarantined(&gearmand, &mut manager, unique, &workload);
        assert_eq!(lines(&notes).len(), 2, "{unique}");
        let second = quarantined(&gearmand, &mut manager, unique, &workload);
        assert_eq!(lines(&notes).len(), 3, "{unique}");
        let third = quarantined(&gearmand, &mut manager, unique, &workload);
        for earlier in [first, second] {
            let shown = command(&manager, &["show", &earlier]);
            assert!(shown.starts_with(&format!("job {third} in")), "the log names {earlier}: {shown}");
        }
        wait_serving(&manager, "act");
    }
    assert_eq!(command(&manager, &["list"]).lines().count(), 3, "each is kept once");
    Job::act(&gearmand, "u2", "say fine").result();
}

/// P14: without the whole workload it cannot be submitted from here, and the key that says so is named.
#[test]
fn without_its_workload_a_job_is_not_submitted() {
    let (gearmand, mut manager) = served(&format!("{INI}crash_workload_max = 3"));
    let id = quarantined(&gearmand, &mut manager, "u1", "abort");
    let event = manager.wait_event("job_quarantined", |_| true);
    assert_eq!(event["workload_kept"], false);
    let refused = manager.command("quarantine", &["resubmit", &id]);
    assert_eq!(refused.code(), Some(4));
    assert!(refused.err().contains("crash_workload_max"), "{refused:?}");
    assert_eq!(command(&manager, &["list"]).lines().count(), 2, "it stays");
    assert_eq!(command(&manager, &["drop", &id]), format!("{id}: a job of act was removed\n"));
    assert_eq!(command(&manager, &["list", "--json"]).trim(), "[]");
    assert_eq!(manager.command("quarantine", &["drop", &id]).code(), Some(1));
}

/// P14: it works without a manager; where the job server is down, the job stays.
#[test]
fn jobs_are_submitted_without_a_manager_and_stay_where_the_server_is_down() {
    let (gearmand, mut manager) = served(INI);
    let id = quarantined(&gearmand, &mut manager, "u1", "abort");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    command(&manager, &["resubmit", &id]);
    assert_eq!(gearmand.status("act").map(|status| status.total), Some(1));
    manager.start_again();
    let again = manager.wait_event("job_quarantined", |_| true);
    kept(&manager, &again);
    drop(gearmand);
    let id = again["quarantine"].as_str().unwrap();
    let refused = manager.command("quarantine", &["resubmit", id]);
    assert!(refused.code() == Some(3) && refused.err().contains("stays in quarantine"), "{refused:?}");
    assert_eq!(command(&manager, &["list"]).lines().count(), 2);
}

/// M25: there are never too many.
#[test]
fn quarantine_is_bounded() {
    let (gearmand, manager) = served(&format!("{INI}quarantine_keep = 3\nmax_attempts = 1\ncrash_keep = 0"));
    for number in 0..8 {
        background(&gearmand, &number.to_string(), &format!("print {number}\nabort"));
    }
    wait_done(&gearmand);
    let ids = || fs::read_dir(manager.dir().join("state/quarantine")).map(Iterator::count).unwrap_or_default();
    let last = manager.wait_event("job_quarantined", |event| event["quarantine"].as_str().unwrap().ends_with("-8"));
    kept(&manager, &last);
    wait_for("old jobs to go", DEADLINE, || (ids() == 6).then_some(()));
    assert!(!manager.dir().join("state/crashes").exists(), "crash_keep is 0");
}
