//! Workers that exceed `max_memory`, and `max_memory_hard`.

use std::collections::BTreeSet;

use nix::sys::signal::{Signal, kill};

use crate::fixture::{Job, acting, make_script, may_mount, served, wait_serving, workers};
use crate::support::cgroup::Cgroup;
use crate::support::gearmand::Gearmand;

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
    assert!(text.starts_with("worker killed by SIGABRT after a failed allocation in this job"), "{text}");
    let died = manager.wait_event("worker_died", |_| true);
    let expected = serde_json::json!({"by": "failed_allocation", "limit": "max_memory_hard", "limit_mib": 256});
    assert_eq!(died["out_of_memory"], expected, "{died}");
    assert!(died["text"].as_str().unwrap().contains(" MiB (max_memory_hard: 256 MiB); "), "{died}");
    manager.wait_log("memory allocation of 1073741824 bytes failed");
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "leak 10\nsay enough").result(), b"enough");
}

/// P4: what the kernel's out-of-memory killer did is known from the kernel's log, and without that from the count of the
/// control group. A worker that is killed by somebody else is not taken for one.
#[test]
fn a_worker_killed_for_lack_of_memory_is_named_as_such() {
    for has_log in [true, false] {
        let Some(group) = Cgroup::with_memory(if has_log { "log" } else { "count" }, 256 << 20) else {
            return eprintln!("skipped: may not make a control group with a memory limit");
        };
        if !has_log && !may_mount() {
            return eprintln!("skipped: may not mount");
        }
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]).ini("on_crash = fail\nrescan_interval = 100ms");
        let program = setup.dir().join("in-group");
        let (entrance, real) = (group.entrance(), env!("CARGO_BIN_EXE_gm-native"));
        let enters = format!("echo $$ > {}", entrance.display());
        // In a container there is no log, or another device in its place.
        let script = match has_log {
            true => format!("#!/bin/sh\n{enters}\nexec {real} \"$@\"\n"),
            false => format!(
                "#!/bin/sh\n{enters}\n\
                 exec unshare -m sh -c 'mount --bind /dev/null /dev/kmsg && exec {real} \"$@\"' sh \"$@\"\n"
            ),
        };
        make_script(&program, &script);
        let mut manager = setup.program(program).start();
        wait_serving(&manager, "act");
        for round in 0..2 {
            manager.mark();
            let failure = Job::act(&gearmand, "", "leak 400").failure();
            let killed = "worker killed by SIGKILL from the kernel's out-of-memory killer in this job";
            assert!(failure.starts_with(killed), "{failure} in round {round}");
            let died = manager.wait_event("worker_died", |_| true);
            let reason = &died["out_of_memory"];
            assert_eq!(reason["by"], "kernel", "{died}");
            // Version 1 of the control groups does not count how often the limit was reached.
            assert!(!has_log || (reason["limit"] == "cgroup" && reason["limit_mib"] == 256), "{died}");
            assert!(died["peak_mib"].as_u64() > Some(100), "{died}");
            wait_serving(&manager, "act");
        }
        manager.mark();
        kill(workers(&manager)[0], Signal::SIGKILL).unwrap();
        let died = manager.wait_event("worker_died", |_| true);
        assert_eq!((&died["out_of_memory"], &died["end"]), (&serde_json::Value::Null, &"killed by SIGKILL".into()));
        drop(manager);
    }
}
