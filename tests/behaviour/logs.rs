//! The log under load and in trouble.

use std::collections::BTreeMap;
use std::fs;

use nix::sys::signal::Signal;

use crate::scene::{Job, acting, lines, path, served, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

/// Lines of four workers at once, as fast as they come: whole, each under its worker, in its order, none twice. What
/// was too much is counted in the log, and only that is missing.
#[test]
fn many_lines_come_whole_and_in_order() {
    const JOBS: usize = 8;
    const LINES: usize = 5_000;
    let (gearmand, manager) = served("count = 4");
    let jobs: Vec<Job> = (0..JOBS)
        .map(|job| {
            let steps: Vec<String> = (0..LINES).map(|line| format!("log job {job} line {line:06} ends here")).collect();
            Job::act(&gearmand, &format!("u{job}"), &steps.join("\n"))
        })
        .collect();
    jobs.into_iter().for_each(|job| assert_eq!(job.result(), b""));
    assert_eq!(Job::act(&gearmand, "", "log the very last").result(), b"");
    manager.wait_log("the very last");
    wait_for("the ends of all jobs", DEADLINE, || {
        let done = manager.log().lines().filter(|line| line.contains(": done in ")).count();
        (done == JOBS + 1).then_some(())
    });
    let mut next = BTreeMap::new();
    let mut dropped = 0;
    for line in lines(&path(&manager, "gm.log")) {
        let words: Vec<&str> = line.split_whitespace().collect();
        assert!(words.len() > 4 && words[0].starts_with("[20") && words[1].ends_with(']'), "{line}");
        if let Some((_, said)) = line.split_once(": job ")
            && words[3] == "WORKER"
        {
            let parts: Vec<&str> = said.split(' ').collect();
            assert!(parts.len() == 5 && parts[3..] == ["ends", "here"], "{line}");
            let number: usize = parts[2].parse().unwrap();
            let (pid, after, count) = next.entry(parts[0].to_owned()).or_insert((words[2].to_owned(), 0, 0));
            assert!(*pid == words[2] && number >= *after, "out of order or under another worker: {line}");
            (*after, *count) = (number + 1, *count + 1);
        }
        if let Some((before, _)) = line.split_once(" log lines of worker ") {
            dropped += before.rsplit(' ').next().unwrap().parse::<usize>().unwrap();
        }
    }
    let arrived: usize = next.values().map(|(_, _, count)| count).sum();
    assert_eq!(arrived + dropped, JOBS * LINES, "{next:?}");
}

/// A directory that vanishes under the log stops no job; the lines that could not be written are counted when it is
/// there again.
#[test]
fn a_vanished_directory_stops_no_work() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]);
    let dir = setup.dir().join("logs");
    fs::create_dir(&dir).unwrap();
    let log = dir.join("own.log");
    let manager = setup.log(log.to_str().unwrap()).start();
    wait_serving(&manager, "act");
    fs::remove_dir_all(&dir).unwrap();
    manager.signal(Signal::SIGUSR1);
    for _ in 0..3 {
        assert_eq!(Job::act(&gearmand, "", "log into the void\nsay on").result(), b"on");
    }
    fs::create_dir(&dir).unwrap();
    manager.signal(Signal::SIGUSR1);
    wait_for("the log", DEADLINE, || fs::exists(&log).unwrap().then_some(()));
    assert_eq!(Job::act(&gearmand, "", "log back again").result(), b"");
    wait_for("a line in it", DEADLINE, || fs::read_to_string(&log).unwrap().contains("back again").then_some(()));
}

/// What a plugin prints is logged line by line under its worker, and can forge none.
#[test]
fn what_a_plugin_prints_is_its_workers_line() {
    let (gearmand, manager) = served("");
    let workload = "print one \u{1b}[31m two\npid\nlog a\tb";
    assert_eq!(Job::act(&gearmand, "", workload).result(), b"");
    let pid = String::from_utf8(Job::act(&gearmand, "", "pid").result()).unwrap();
    for text in ["one \\x1b[31m two", "a\\tb"] {
        wait_for(&format!("{text} of its worker"), DEADLINE, || {
            let log = manager.log();
            log.lines().find(|line| line.contains(&format!(" {pid} WORKER ")) && line.ends_with(text)).map(|_| ())
        });
    }
}

/// Workloads and results appear at -vvvv, cut at 256 bytes.
#[test]
fn workloads_and_results_are_cut() {
    let (gearmand, manager) = served("");
    let long = "w".repeat(400);
    assert_eq!(Job::act(&gearmand, "", &format!("say {long}")).result(), long.as_bytes());
    for name in ["workload: say ", "result: "] {
        let line = manager.wait_log(name);
        assert!(line.contains(" DEBUG ") && line.ends_with("w...(truncated)"), "{line}");
        let shown = line.split(": ").last().unwrap().trim_end_matches("...(truncated)");
        assert_eq!(shown.len(), 256, "{line}");
    }
}
