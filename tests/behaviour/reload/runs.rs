//! `max_runs_per_worker`, and the mutex that one dedicated worker is with `rollout_surge = 0`.

use std::collections::BTreeMap;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};

use super::hang_up;
use crate::fixture::{acting, path, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::wait::DEADLINE;

/// Keeps six jobs of that workload at the server until `enough`, which is shown each result; all have to succeed.
#[track_caller]
fn load(gearmand: &Gearmand, workload: &str, mut enough: impl FnMut(&str) -> bool) -> usize {
    let mut client = gearmand.client();
    let (mut open, mut done, mut ends) = (0, 0, false);
    while !ends || open > 0 {
        while !ends && open < 6 {
            let how = Submission::Foreground(Priority::Normal);
            client.submit(how, b"act", b"", workload.as_bytes()).unwrap();
            open += 1;
        }
        let event = client.next_event(Instant::now() + DEADLINE).unwrap().expect("all jobs to be done");
        match event.event {
            JobEvent::Complete(result) => ends |= enough(std::str::from_utf8(&result).unwrap()),
            other => panic!("after {done} jobs: {other:?}"),
        }
        (open, done) = (open - 1, done + 1);
    }
    done
}

/// Hard, and its function is never without a worker meanwhile, although there is only one.
#[test]
fn a_worker_runs_max_runs_jobs_and_no_more() {
    const RUNS: usize = 20;
    // Quick jobs, and such of which each lasts.
    for (workload, jobs) in [("when", 1000), ("take 10\nwhen", 105)] {
        let gearmand = Gearmand::with_args(&["-j", "1"]);
        let manager = acting(&[&gearmand]).ini(&format!("max_runs_per_worker = {RUNS}")).start();
        wait_serving(&manager, "act");
        let over = AtomicBool::new(false);
        let mut ran = Vec::new();
        std::thread::scope(|scope| {
            let looks = scope.spawn(|| {
                let mut looks = 0;
                while !over.load(Ordering::Relaxed) {
                    let status = gearmand.status("act").unwrap();
                    assert!(status.workers > 0, "nobody served it at look {looks}: {status:?}");
                    looks += 1;
                }
                looks
            });
            load(&gearmand, workload, |result| {
                let (worker, at) = result.split_once(' ').unwrap();
                ran.push((at.parse::<u64>().unwrap(), worker.to_owned()));
                ran.len() >= jobs
            });
            over.store(true, Ordering::Relaxed);
            assert!(looks.join().unwrap() > 0);
        });
        // By when they ran: the server may pass the results of two workers on in another order.
        ran.sort();
        let (mut by, mut order) = (BTreeMap::<String, usize>::new(), Vec::new());
        for (_, worker) in ran {
            *by.entry(worker.clone()).or_default() += 1;
            if order.last() != Some(&worker) {
                order.push(worker);
            }
        }
        assert_eq!(order.len(), by.len(), "one after the other");
        let last = order.pop().unwrap();
        assert!(by.remove(&last).unwrap() <= RUNS && by.len() >= jobs / RUNS - 1, "{by:?}");
        assert!(by.values().all(|count| *count == RUNS), "{by:?}");
        assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
    }
}

/// People use one dedicated worker as a mutex.
#[test]
fn with_no_surge_two_jobs_never_run_at_once() {
    let gearmand = Gearmand::with_args(&["-j", "1"]);
    let mut manager = acting(&[&gearmand]).ini("rollout_surge = 0\ncanary_jobs = 3").start();
    wait_serving(&manager, "act");
    let workload = format!("alone {} take 2\npid", path(&manager, "lock"));
    let workload = format!("{workload}\nalone {} pid", path(&manager, "lock"));
    let (mut seen, mut changes) = (workers(&manager)[0].to_string(), 0);
    load(&gearmand, &workload, |worker| {
        if changes == 0 {
            // Other bytes at the end: another version that does the same.
            let part = path(&manager, "next");
            let mut library = fs::read(crate::fixture::library()).unwrap();
            library.extend_from_slice(b"next\n");
            fs::write(&part, library).unwrap();
            manager.install("act", part.as_ref());
            changes = 1;
        } else if worker != seen {
            // Of the deploy, then of each of two HUPs.
            changes += 1;
            if changes < 4 {
                hang_up(&mut manager);
            }
        }
        worker.clone_into(&mut seen);
        changes == 4
    });
    assert_eq!(workers(&manager).len(), 1);
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}
