//! Deploys under load: every job is accounted for by its unique id.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::Scope;
use std::time::Instant;

use gm_native::gearman::client::JobEvent;
use gm_native::gearman::packet::{Priority, Submission};
use nix::sys::signal::Signal;

use crate::fixture::{
    Job, command, count_events, file, hash, of, rename_over, served, version, wait_all, wait_deployed,
};
use crate::support::gearmand::Gearmand;
use crate::support::wait::DEADLINE;

const CALLERS: usize = 6;

/// What became of the jobs of one caller.
#[derive(Debug, Default)]
pub struct Account {
    submitted: Vec<String>,
    /// Results: how many of each.
    answers: BTreeMap<String, usize>,
    failed: Vec<String>,
}

/// Callers that submit one job after another until it is over.
pub fn callers<'scope>(
    scope: &'scope Scope<'scope, '_>,
    server: &'scope Gearmand,
    notes: &'scope Path,
    over: &'scope AtomicBool,
) -> Vec<std::thread::ScopedJoinHandle<'scope, Account>> {
    (0..CALLERS).map(|number| scope.spawn(move || calls(server, notes, over, number))).collect()
}

fn calls(server: &Gearmand, notes: &Path, over: &AtomicBool, number: usize) -> Account {
    let mut account = Account::default();
    let mut client = server.client();
    let notes = notes.display();
    while !over.load(Ordering::Relaxed) {
        let unique = format!("{number}-{}", account.submitted.len());
        let how = Submission::Foreground(Priority::Normal);
        let workload = format!("note {notes}-{number}\ntake 1500");
        client.submit(how, b"stamped", unique.as_bytes(), workload.as_bytes()).unwrap();
        account.submitted.push(unique.clone());
        let news = client.next_event(Instant::now() + DEADLINE).unwrap().unwrap_or_else(|| panic!("{unique} is lost"));
        match news.event {
            JobEvent::Complete(result) => {
                *account.answers.entry(String::from_utf8(result).unwrap()).or_default() += 1;
            }
            _ => account.failed.push(unique),
        }
    }
    account
}

/// Every job was run once, and none failed. Returns the answers of all.
#[track_caller]
pub fn settle(accounts: Vec<Account>, notes: &Path) -> BTreeMap<String, usize> {
    let mut answers = BTreeMap::new();
    for (number, account) in accounts.into_iter().enumerate() {
        assert!(account.failed.is_empty(), "failed: {:?}", account.failed);
        let run = fs::read_to_string(format!("{}-{number}", notes.display())).unwrap();
        let run: Vec<&str> = run.lines().collect();
        assert_eq!(run, account.submitted, "every job once, one after another");
        account.answers.into_iter().for_each(|(answer, count)| *answers.entry(answer).or_default() += count);
    }
    answers
}

#[test]
fn no_job_is_lost_fails_or_is_run_twice() {
    let (gearmand, manager) = served("dedicated_count = 4\ncanary_jobs = 3");
    let (notes, over) = (manager.dir().join("notes"), AtomicBool::new(false));
    let accounts = std::thread::scope(|scope| {
        let callers = callers(scope, &gearmand, &notes, &over);
        for round in 0..15 {
            let name = format!("v{}", round % 3 + 2);
            let new = manager.dir().join(format!("new-{round}"));
            fs::write(&new, version(&name)).unwrap();
            match round % 5 {
                0 => rename_over(&manager, &version(&name)),
                1 => fs::write(file(&manager), version(&name)).unwrap(),
                2 => command("rsync", &[Path::new("-aI"), &new, &file(&manager)]),
                3 => command("ln", &[Path::new("-sf"), &new, &file(&manager)]),
                _ => {
                    // A broken one on the way.
                    fs::write(file(&manager), "not a library\n").unwrap();
                    rename_over(&manager, &version(&name));
                }
            }
            wait_all(&manager, "stamped", &version(&name));
        }
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    let answers = settle(accounts, &notes);
    assert!(["v2", "v3", "v4"].iter().all(|name| answers.contains_key(*name)), "{answers:?}");
    assert_eq!(manager.status()["functions"][0]["workers_ready"], 4);
}

/// Only a stop cuts a job: the worker that has it stays until it is done, and others are replaced meanwhile.
#[test]
fn a_long_job_outlasts_deploys() {
    let (gearmand, manager) = served("dedicated_count = 2\ngraceful_shutdown_wait_time = 1ms");
    let gate = manager.dir().join("gate");
    let job = Job::start(&gearmand, "stamped", "", &format!("wait {}", gate.display()));
    manager.wait_status("the job to run", |status| of(status, "workers", "state", "busy").map(drop));
    for name in ["v2", "v3"] {
        rename_over(&manager, &version(name));
        manager.wait_event("rollout_promoted", |event| event["version"] == *hash(&version(name)));
        manager.wait_status("new code everywhere else", |status| {
            let about = of(status, "functions", "name", "stamped")?;
            (about["workers_ready"] == 2 && status["workers"].as_array()?.len() == 3).then_some(())
        });
    }
    fs::write(&gate, "").unwrap();
    assert_eq!(job.result(), b"v1");
    wait_deployed(&gearmand, &manager, "v3");
    assert_eq!(count_events(&manager, "worker_died", "stamped"), 0);
}

/// M1: in mid-rollout. The orphans finish what they have; the next manager serves, and rolls out.
#[test]
fn a_manager_killed_in_mid_rollout_loses_no_job() {
    let (gearmand, mut manager) = served("dedicated_count = 4\ncanary_seconds = 1h\ncanary_jobs = 1000000");
    let (notes, over) = (manager.dir().join("notes"), AtomicBool::new(false));
    let accounts = std::thread::scope(|scope| {
        let callers = callers(scope, &gearmand, &notes, &over);
        rename_over(&manager, &version("v2"));
        manager.wait_event("rollout_started", |_| true);
        let hash = hash(&version("v2"));
        manager.wait_status("a canary that serves", |status| (status["workers"].as_array()?.len() == 5).then_some(()));
        manager.signal(Signal::SIGKILL);
        manager.wait_exit();
        let ini = fs::read_to_string(manager.dir().join("gm.ini")).unwrap();
        fs::write(manager.dir().join("gm.ini"), ini.replace("canary_jobs = 1000000", "canary_jobs = 2")).unwrap();
        manager.start_again();
        manager.wait_event("rollout_promoted", |event| event["version"] == *hash);
        wait_all(&manager, "stamped", &version("v2"));
        over.store(true, Ordering::Relaxed);
        callers.into_iter().map(|caller| caller.join().unwrap()).collect::<Vec<_>>()
    });
    settle(accounts, &notes);
    wait_deployed(&gearmand, &manager, "v2");
}
