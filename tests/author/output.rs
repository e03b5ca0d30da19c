//! P9: what a plugin prints reaches the manager's log with its process, function and job, at the right level, and no
//! amount of it harms anybody.

use std::fs;

use crate::library;
use crate::support::callers::{gearman, try_gearman};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins::example;
use crate::support::wait::{DEADLINE, wait_for};

/// A manager with functions of the test library, each with a worker of its own, and one more function beside them.
fn served(functions: &[&str]) -> (Gearmand, Manager) {
    let gearmand = Gearmand::start();
    let mut setup = Setup::new(&[&gearmand.server()]).plugin("reverse_string", &example("reverse_string"));
    for function in functions {
        setup = setup.plugin(function, &library());
    }
    let manager = setup.args(&["-v"]).start();
    for function in functions.iter().chain(&["reverse_string"]) {
        gearmand.wait_workers(function, 1);
    }
    (gearmand, manager)
}

/// The worker process that serves a function.
fn worker(manager: &Manager, function: &str) -> u64 {
    let status = manager.status();
    let workers = status["workers"].as_array().unwrap();
    let worker = workers.iter().find(|worker| worker["functions"][0] == function).unwrap();
    worker["pid"].as_u64().unwrap()
}

/// Process, level and text of a log line.
fn parts(line: &str) -> (u64, &str, &str) {
    let (_, rest) = line.split_once(']').unwrap();
    let (pid, rest) = rest.trim_start().split_once(' ').unwrap();
    let (level, text) = rest.split_once(' ').unwrap();
    (pid.parse().unwrap(), level, text.trim_start())
}

#[test]
fn everything_a_plugin_prints_is_a_line_with_process_function_and_job() {
    let (gearmand, manager) = served(&["talk"]);
    let pid = worker(&manager, "talk");
    let finished = gearman(&gearmand, &["-f", "talk"], b"");
    assert!(finished.out().contains("[true, true, true]"), "{}", finished.out());
    for (text, level) in [
        ("an error", "ERROR"),
        ("a warning", "WARN"),
        ("all\\nis well", "WORKER"),
        ("a detail", "DEBUG"),
        ("from log", "WORKER"),
        ("from tracing number=7", "WARN"),
        ("the smallest", "CRAZY"),
    ] {
        let line = manager.wait_log(&format!(": {text}"));
        let (by, at, what) = parts(&line);
        assert_eq!((by, at), (pid, level), "{line}");
        assert!(what.starts_with("talk H:") && what.ends_with(&format!(": {text}")), "{line}");
    }
    for (text, level) in [("talk: stdout: from println", "WORKER"), ("talk: stderr: from eprintln", "WARN")] {
        let line = manager.wait_log(text);
        assert_eq!(parts(&line), (pid, level, text), "{line}");
    }
}

#[test]
fn no_payload_forges_a_line() {
    let (gearmand, manager) = served(&["noise"]);
    gearman(&gearmand, &["-f", "noise"], b"forged").success();
    manager.wait_log("noise: stdout: [2026-11-24] \\x1b[2J\\x00 end");
    let line = manager.wait_log("ERROR  forged\\n");
    assert!(
        line.contains(": \\r[2026-11-24 12:00:00.123456]  1 ERROR  forged\\n[2026-11-24] \\x1b[2J\\x00 end"),
        "{line}"
    );
    let log = fs::read(manager.dir().join("gm.log")).unwrap();
    assert!(!log.iter().any(|byte| matches!(byte, 0x1b | b'\r' | 0)), "a control character in the log");
    for line in String::from_utf8(log).unwrap().lines() {
        let (_, level, text) = parts(line);
        assert!(!(level == "ERROR" && text.starts_with("forged")), "{line}");
    }
}

#[test]
fn a_line_without_end_is_cut() {
    let (gearmand, manager) = served(&["noise"]);
    gearman(&gearmand, &["-f", "noise"], b"endless 8388608").success();
    let line = manager.wait_log("noise: stdout: xxxx");
    let (_, _, text) = parts(&line);
    assert_eq!(text, format!("noise: stdout: {}...(truncated)", "x".repeat(256)));
    assert!(peak_mib(&manager) < 64, "the manager held it: {} MiB", peak_mib(&manager));
}

#[test]
fn every_record_is_written_or_counted() {
    const RECORDS: u64 = 20_000;
    let (gearmand, manager) = served(&["noise"]);
    gearman(&gearmand, &["-f", "noise"], format!("lines {RECORDS}").as_bytes()).success();
    wait_for("all records", DEADLINE, || {
        let log = manager.log();
        let written = log.lines().filter(|line| line.ends_with(" of many")).count() as u64;
        let dropped = |line: &str| parts(line).2.split_once(" log lines of worker ")?.0.parse::<u64>().ok();
        let dropped: u64 = log.lines().filter(|line| line.starts_with('[')).filter_map(dropped).sum();
        (written + dropped >= RECORDS).then(|| assert_eq!(written + dropped, RECORDS))
    });
}

/// One prints and logs without end; the others do not notice, and it still leaves when it is asked to.
#[test]
fn a_flood_harms_nobody() {
    let (gearmand, mut manager) = served(&["noise"]);
    std::thread::scope(|scope| {
        scope.spawn(|| try_gearman(&gearmand, &["-f", "noise", "-b"], b"flood", DEADLINE));
        manager.wait_log("a line of a flood");
        for _ in 0..50 {
            assert_eq!(gearman(&gearmand, &["-f", "reverse_string"], b"abc").out(), "cba");
        }
        assert!(manager.try_status().is_some());
    });
    assert!(peak_mib(&manager) < 64, "{} MiB", peak_mib(&manager));
    manager.signal(nix::sys::signal::Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    let log = manager.log();
    assert!(log.contains(" exited after 1 job"), "{}", &log[log.len().saturating_sub(2000)..]);
}

/// The most memory the manager has had.
fn peak_mib(manager: &Manager) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", manager.pid())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}
