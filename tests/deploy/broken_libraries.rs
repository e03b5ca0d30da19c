//! The corpus of broken libraries, each dropped into a manager that runs: as a new file, and over a good one.

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::corpus::{Case, cases};
use crate::fixture::{ask, count_events, hash, holds, served, wait_quiet};
use crate::support::build;
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, try_wait_for, wait_for};

/// Puts what a case has into worker_dir, in one step. A directory or a FIFO is put there by a link.
fn drop_in(manager: &Manager, case: &Case) {
    let part = manager.dir().join("part");
    let meta = case.path.symlink_metadata().unwrap();
    // One of them is a terabyte of nothing.
    if meta.is_file() && meta.len() < 1 << 30 {
        fs::copy(&case.path, &part).unwrap();
    } else {
        symlink(&case.path, &part).unwrap();
    }
    fs::rename(part, place(manager, case)).unwrap();
}

fn place(manager: &Manager, case: &Case) -> PathBuf {
    manager.worker_dir().join(case.path.file_name().unwrap())
}

/// Whether the case is a library that is served, perhaps with a warning.
fn is_served(case: &Case) -> bool {
    case.expect == "is served" || case.expect.starts_with("is a panic = \"abort\" build")
}

/// What the scan itself sees has words of its own.
fn is_no_file(case: &Case) -> bool {
    ["directory", "fifo", "socket", "device", "dangling", "loop"].contains(&case.function.as_str())
}

/// Waits for the event about a case since the mark; returns the event if it is not the expected one.
fn misjudged(manager: &Manager, case: &Case, from: usize) -> Option<String> {
    let name = format!("/{}", case.path.file_name().unwrap().to_str().unwrap());
    let about = |event: &Value| event["path"].as_str().is_some_and(|path| path.ends_with(&name));
    let is_word = |event: &Value| match event["event"].as_str() {
        Some("function_found") => is_served(case),
        Some("library_refused") => true,
        Some("file_skipped") => is_no_file(case),
        _ => false,
    };
    let event = wait_for(&format!("a word on {name}"), DEADLINE, || {
        manager.events().into_iter().skip(from).find(|event| about(event) && is_word(event))
    });
    let right = is_served(case) || is_no_file(case) || case.matches(event["reason"].as_str().unwrap());
    (!right).then(|| format!("{event}, not {:?}", case.expect))
}

fn wrong(manager: &Manager, cases: &[Case], from: usize) -> Vec<String> {
    cases.iter().filter_map(|case| misjudged(manager, case, from)).collect()
}

#[track_caller]
fn as_before(manager: &Manager, workers: usize, before: [usize; 2]) {
    wait_quiet(manager, workers);
    // A thread that read a directory stays for a while, now or before.
    let no_more = |now: [usize; 2]| now[0] <= before[0] && now[1] <= before[1];
    let settled = try_wait_for(DEADLINE, || no_more(holds(manager)).then_some(()));
    assert!(settled.is_some(), "descriptors and threads were {before:?}, and are {:?}", holds(manager));
}

#[test]
fn each_as_a_new_file_is_refused_with_its_reason_and_the_others_serve() {
    let (gearmand, manager) = served("probe_timeout = 2s\ncount = 1\ndedicated_count = 0");
    wait_quiet(&manager, 1);
    let before = holds(&manager);
    let cases = cases();
    cases.iter().for_each(|case| drop_in(&manager, case));
    assert_eq!(wrong(&manager, &cases, 0), [""; 0]);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    cases.iter().for_each(|case| drop(fs::remove_file(place(&manager, case))));
    let gone = cases.iter().filter(|case| is_served(case));
    gone.for_each(|case| drop(manager.wait_event("function_removed", |event| event["function"] == *case.function)));
    manager.wait_status("one worker for one function", |status| {
        let workers = status["workers"].as_array()?;
        (workers.len() == 1 && workers[0]["functions"] == serde_json::json!(["stamped"])).then_some(())
    });
    as_before(&manager, 1, before);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

/// What a good library answers; its last digit is its version.
const GOOD: &str = "good, in version 1";

/// The library that answers with another version.
fn in_version(bytes: &[u8], version: u8) -> (Vec<u8>, String) {
    let answer = GOOD.replace('1', &version.to_string());
    let mut bytes = bytes.to_vec();
    let at = bytes.windows(GOOD.len()).position(|window| window == GOOD.as_bytes()).unwrap();
    bytes[at..at + GOOD.len()].copy_from_slice(answer.as_bytes());
    (bytes, answer)
}

/// A library that is good as every one of these functions.
fn good_as(cases: &[Case], dir: &Path) -> PathBuf {
    let mut source = "use gm_plugin_api::{Job, JobResult, Log, function};\n".to_owned();
    for (number, case) in cases.iter().enumerate() {
        let name = &case.function;
        let body = "(_job: &Job, _log: &mut Log) -> JobResult { Ok(GOOD.into()) }";
        writeln!(source, "#[function(name = {name:?})]\nfn f{number}{body}").unwrap();
    }
    writeln!(source, "static GOOD: &str = {GOOD:?};").unwrap();
    let (file, library) = (dir.join("good.rs"), dir.join("good"));
    fs::write(&file, source).unwrap();
    let deps = std::env::current_exe().unwrap().parent().unwrap().to_owned();
    let mut rustc = Command::new("rustc");
    // Small, since it is copied and hashed some hundred times.
    rustc.args(["--edition", "2024", "--crate-type", "cdylib", "-C", "strip=symbols", "-o"]).args([&library, &file]);
    rustc.arg("--extern").arg(format!("gm_plugin_api={}", crate::corpus::api().display()));
    rustc.arg("-L").arg(format!("dependency={}", deps.display()));
    build::command(&mut rustc);
    library
}

#[test]
fn each_over_a_good_one_is_refused_and_the_good_one_stays() {
    let (gearmand, manager) = served("probe_timeout = 2s\ncount = 1\ndedicated_count = 0");
    let mut cases = cases();
    cases.retain(|case| !is_served(case));
    let good = good_as(&cases, manager.dir());
    let part = manager.dir().join("part");
    for case in &cases {
        fs::copy(&good, &part).unwrap();
        fs::rename(&part, place(&manager, case)).unwrap();
    }
    let all = |status: &Value| {
        let workers = status["workers"].as_array()?;
        let one = workers.len() == 1 && workers[0]["functions"].as_array()?.len() == cases.len() + 1;
        (one && workers[0]["state"] == "idle").then_some(workers[0]["pid"].clone())
    };
    let worker = manager.wait_status("one worker for all functions", all);
    wait_quiet(&manager, 1);
    let (before, from) = (holds(&manager), manager.events().len());
    cases.iter().for_each(|case| drop_in(&manager, case));
    assert_eq!(wrong(&manager, &cases, from), [""; 0]);
    as_before(&manager, 1, before);
    for case in &cases {
        assert_eq!(ask(&gearmand, &case.function), GOOD, "{}", case.function);
        assert_eq!(
            [
                count_events(&manager, "function_removed", &case.function),
                count_events(&manager, "rollout_started", &case.function)
            ],
            [0; 2]
        );
    }
    assert_eq!(manager.wait_status("all as before", all), worker, "nobody was replaced");
}

/// Puts the library in place for every case, each in one step.
fn put_all(manager: &Manager, cases: &[Case], bytes: &[u8]) {
    let part = manager.dir().join("part");
    for case in cases {
        fs::write(&part, bytes).unwrap();
        let place = place(manager, case);
        fs::rename(&part, &place).unwrap();
    }
}

/// Waits until there was an event for every case, in that version.
#[track_caller]
fn wait_told(manager: &Manager, cases: &[Case], event: &str, key: &str, bytes: &[u8]) {
    let hash = hash(bytes);
    for case in cases {
        manager.wait_event(event, |event| event["function"] == *case.function && event[key] == *hash);
    }
}

/// What the manager has of memory, in KiB.
fn memory(manager: &Manager) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", manager.pid())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A canary tries a good version of all of them, and is not done with it, when the bad ones come.
#[test]
fn each_in_the_middle_of_a_rollout_is_refused_and_the_served_version_stays() {
    let ini = "probe_timeout = 2s\ncount = 1\ndedicated_count = 0\ncanary_seconds = 1h\ncanary_jobs = 1";
    let (gearmand, manager) = served(ini);
    let mut cases = cases();
    cases.retain(|case| !is_served(case));
    let good = fs::read(good_as(&cases, manager.dir())).unwrap();
    let (next, _) = in_version(&good, 2);
    let (last, last_answer) = in_version(&good, 3);
    put_all(&manager, &cases, &good);
    manager.wait_status("one worker for all functions", |status| {
        let workers = status["workers"].as_array()?;
        (workers.len() == 1 && workers[0]["functions"].as_array()?.len() == cases.len() + 1).then_some(())
    });
    wait_quiet(&manager, 1);
    let (before, kib) = (holds(&manager), memory(&manager));
    put_all(&manager, &cases, &next);
    wait_told(&manager, &cases, "rollout_started", "to", &next);
    wait_quiet(&manager, 2);

    let from = manager.events().len();
    cases.iter().for_each(|case| drop_in(&manager, case));
    assert_eq!(wrong(&manager, &cases, from), [""; 0]);
    as_before(&manager, 1, before);
    let now = memory(&manager);
    assert!(now < kib + 8 * 1024, "{kib} KiB before, {now} after");
    for case in &cases {
        assert_eq!(ask(&gearmand, &case.function), GOOD, "{}", case.function);
        assert_eq!(
            ["rollout_promoted", "function_removed"].map(|event| count_events(&manager, event, &case.function)),
            [0; 2]
        );
    }

    put_all(&manager, &cases, &last);
    wait_told(&manager, &cases, "rollout_started", "to", &last);
    // It is promoted when it has had a job of each.
    while count_events(&manager, "rollout_promoted", &cases[0].function) == 0 {
        cases.iter().for_each(|case| drop(ask(&gearmand, &case.function)));
    }
    wait_told(&manager, &cases, "rollout_promoted", "version", &last);
    wait_quiet(&manager, 1);
    for case in &cases {
        assert_eq!(ask(&gearmand, &case.function), last_answer, "{}", case.function);
    }
}
