//! What the tests of deploying begin with: versions of one library, a manager that serves one, and jobs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use gm_native::gearman::client::{Client, JobEvent};
use gm_native::gearman::packet::{Priority, Submission};
use gm_native::plugins::content_hash::ContentHash;
use serde_json::Value;

use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};

/// What stands before version and mood in the library.
const MARK: &[u8] = b"gm-native test stamp: ";

/// Canaries that are promoted soon; no re-scan, so that what is seen was noticed.
pub const QUICK: &str = "canary_seconds = 100ms\ncanary_jobs = 1\nrescan_interval = 1h\nsettle_time = 20ms";

/// The library in this version: its bytes.
pub fn stamped(version: &str, mood: &str) -> Vec<u8> {
    let mut bytes = fs::read(plugins::example("gm_test_stamped")).unwrap();
    let at = bytes.windows(MARK.len()).position(|window| window == MARK).unwrap() + MARK.len();
    bytes[at..at + 16].copy_from_slice(format!("{version:8}{mood:8}").as_bytes());
    bytes
}

/// A good version.
pub fn version(version: &str) -> Vec<u8> {
    stamped(version, "good")
}

/// What a version is called: the first 12 hexadecimal digits of its hash.
pub fn hash(bytes: &[u8]) -> String {
    ContentHash::of_reader(bytes).unwrap().short().to_string()
}

/// A job server that counts one attempt.
pub fn strict_gearmand() -> Gearmand {
    Gearmand::with_args(&["-j", "1"])
}

/// A job server, and a manager that serves `stamped` in version `v1`.
pub fn served(ini: &str) -> (Gearmand, Manager) {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini(ini);
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));
    (gearmand, manager)
}

/// Runs a program that deploys by its own means.
#[track_caller]
pub fn command(program: &str, args: &[&Path]) {
    run(Command::new(program).args(args), b"", DEADLINE).unwrap().success();
}

/// The path of `stamped` in worker_dir.
pub fn file(manager: &Manager) -> PathBuf {
    manager.worker_dir().join("stamped.so")
}

/// Writes beside worker_dir, then renames.
#[track_caller]
pub fn rename_over(manager: &Manager, bytes: &[u8]) {
    put(manager, "stamped", bytes);
}

/// As [`rename_over`], for any function.
#[track_caller]
pub fn put(manager: &Manager, function: &str, bytes: &[u8]) {
    let part = manager.dir().join("part");
    fs::write(&part, bytes).unwrap();
    fs::rename(part, manager.worker_dir().join(format!("{function}.so"))).unwrap();
}

/// The element of a list in a status whose `key` is `value`.
pub fn of<'a>(status: &'a Value, list: &str, key: &str, value: &str) -> Option<&'a Value> {
    status[list].as_array()?.iter().find(|element| element[key] == value)
}

/// Hash and state of each version, the newest first, from `versions --json`.
#[track_caller]
pub fn versions(manager: &Manager) -> Vec<(String, String)> {
    let all: Vec<Value> = serde_json::from_slice(&manager.command("versions", &["--json"]).success()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_stamped = all.iter().filter(|version| version["function"] == "stamped");
    of_stamped.map(|version| (text(&version["version"]), text(&version["state"]))).collect()
}

/// As [`versions`] has them: the name of each version, and its state.
pub fn named(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(name, state)| (hash(&version(name)), (*state).to_owned())).collect()
}

/// Waits until every planned worker for a function serves, that version is the current one, and no other worker is
/// there.
#[track_caller]
pub fn wait_all(manager: &Manager, function: &str, bytes: &[u8]) {
    let hash = hash(bytes);
    manager.wait_status(&format!("all workers for {function} in version {hash}"), |status| {
        let about = of(status, "functions", "name", function)?;
        let all = about["workers_planned"] != 0 && about["workers_ready"] == about["workers_planned"];
        let planned = about["workers_planned"].as_u64()?;
        let serves = |worker: &&Value| worker["functions"].as_array().is_some_and(|f| f.contains(&function.into()));
        let there = status["workers"].as_array()?.iter().filter(serves).count() as u64;
        (all && there == planned && about["version"] == *hash).then_some(())
    });
}

/// Waits until that version has replaced every other, and has it asked.
#[track_caller]
pub fn wait_deployed(gearmand: &Gearmand, manager: &Manager, name: &str) {
    wait_all(manager, "stamped", &version(name));
    assert_eq!(ask(gearmand, "stamped"), name);
}

/// How many events there were about that version.
pub fn count_events(manager: &Manager, event: &str, function: &str) -> usize {
    let is = |e: &&Value| e["event"] == event && e["function"] == function;
    manager.events().iter().filter(is).count()
}

/// Which version answers a job.
#[track_caller]
pub fn ask(gearmand: &Gearmand, function: &str) -> String {
    let job = Job::start(gearmand, function, "", "");
    String::from_utf8(job.result()).unwrap()
}

/// A job in the foreground, on a connection of its own.
pub struct Job(Client);

impl Job {
    /// Submits one.
    #[track_caller]
    pub fn start(server: &Gearmand, function: &str, unique: &str, workload: &str) -> Self {
        let mut client = server.client();
        let how = Submission::Foreground(Priority::Normal);
        client.submit(how, function.as_bytes(), unique.as_bytes(), workload.as_bytes()).unwrap();
        Self(client)
    }

    /// How it ends.
    #[track_caller]
    pub fn end(mut self) -> JobEvent {
        loop {
            let event = self.0.next_event(Instant::now() + DEADLINE).unwrap().expect("a job that ends");
            if event.event.is_end() {
                return event.event;
            }
        }
    }

    /// The result of a job that must have one.
    #[track_caller]
    pub fn result(self) -> Vec<u8> {
        match self.end() {
            JobEvent::Complete(result) => result,
            other => panic!("no result: {other:?}"),
        }
    }
}

/// Waits until so many processes of the manager's are there beside its guardian: no probe, no canary.
#[track_caller]
pub fn wait_quiet(manager: &Manager, workers: usize) {
    wait_for("probes and other workers to be gone", DEADLINE, || {
        let own = fs::read_to_string(format!("/proc/{0}/task/{0}/children", manager.pid())).ok()?;
        let guardian = manager.guardian().map(|guardian| guardian.to_string());
        let others = own.split_whitespace().filter(|child| guardian.as_deref() != Some(*child));
        (others.count() == workers).then_some(())
    });
}

/// Descriptors and threads of the manager.
pub fn holds(manager: &Manager) -> [usize; 2] {
    let count =
        |what: &str| fs::read_dir(Path::new("/proc").join(manager.pid().to_string()).join(what)).unwrap().count();
    [count("fd"), count("task")]
}
