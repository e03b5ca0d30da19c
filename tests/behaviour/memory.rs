//! Workers that exceed `max_memory`, and `max_memory_hard`.

use std::collections::BTreeSet;

use crate::fixture::{Job, served, wait_serving, workers};

/// P8: under `max_memory` a worker that leaks is replaced between jobs, and no job fails or waits for it.
#[test]
fn a_worker_that_leaks_is_replaced_between_jobs() {
    let (gearmand, manager) = served("max_memory = 100M");
    let mut by = BTreeSet::new();
    let mut jobs = 0;
    while by.len() < 4 {
        let pid = Job::act(&gearmand, "", "leak 10\ntake 2\npid").result();
        by.insert(String::from_utf8(pid).unwrap());
        jobs += 1;
        assert!(jobs < 2000, "nobody is replaced");
        assert!(gearmand.status("act").unwrap().workers > 0, "nobody serves it");
    }
    let first = workers(&manager).len();
    assert!((1..=2).contains(&first), "one, and the next");
    let grown = manager.wait_event("memory_limit_exceeded", |_| true);
    assert!(grown["mib"].as_u64() >= Some(100), "{grown}");
    manager.wait_event("worker_exited", |event| event["pid"] == grown["pid"]);
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}

/// P16.
#[test]
fn a_worker_over_its_limit_at_start_is_reported_once_and_kept() {
    let (gearmand, manager) = served("count = 3\nmax_memory = 1M");
    let before = workers(&manager);
    for _ in 0..20 {
        assert_eq!(Job::act(&gearmand, "", "take 15\nsay well").result(), b"well");
    }
    assert_eq!(workers(&manager), before);
    let warning = manager.wait_event("memory_limit_too_low", |_| true);
    assert_eq!(warning["max_mib"], 1, "{warning}");
    let warnings = manager.events().iter().filter(|event| event["event"] == "memory_limit_too_low").count();
    assert_eq!(warnings, 1);
}

/// P4, where there is no memory cgroup: the job that asks for more ends its worker, and nothing else.
#[test]
fn under_max_memory_hard_a_job_that_wants_more_dies_and_the_machine_does_not() {
    let (gearmand, manager) = served("max_memory_hard = 256M\non_crash = fail");
    let job = Job::act(&gearmand, "", "leak 1024");
    let text = job.failure();
    assert!(text.starts_with("worker killed by SIGABRT in this job"), "{text}");
    manager.wait_log("memory allocation of 1073741824 bytes failed");
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "leak 10\nsay enough").result(), b"enough");
}
