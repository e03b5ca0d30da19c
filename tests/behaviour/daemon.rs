//! The everyday call, `gm-native -c gm.ini -P gm.pid -d`, and where its log goes.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getsid};

use crate::fixture::{Job, acting, lines, make_script, path, workers};
use crate::support::callers::gearman;
use crate::support::gearmand::{Gearmand, unused_server};
use crate::support::manager::Setup;
use crate::support::plugins;
use crate::support::wait::{DEADLINE, wait_for};

#[test]
fn the_caller_gets_its_shell_back_when_the_workers_are_loaded() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).ini("count = 3").daemonize();
    let pid = manager.pid();
    assert_eq!(fs::read_to_string(manager.dir().join("gm.pid")).unwrap(), format!("{pid}\n"));
    let status = manager.status();
    assert!(status["state"] == "running" && status["functions"][0]["workers_ready"] == 3, "{status}");
    assert_eq!(gearman(&gearmand, &["-f", "act"], b"say hello").out(), "hello");

    // It is nobody's child any more, in a session of its own without being its leader, and holds nothing of ours.
    assert_ne!(getsid(Some(pid)).unwrap(), getsid(None).unwrap());
    assert_ne!(getsid(Some(pid)).unwrap(), pid);
    let proc = format!("/proc/{pid}");
    assert_eq!(fs::read_link(format!("{proc}/cwd")).unwrap().to_str(), Some("/"));
    for number in 0..3 {
        assert_eq!(fs::read_link(format!("{proc}/fd/{number}")).unwrap().to_str(), Some("/dev/null"));
    }

    let stopped: Pid = Pid::from_raw(fs::read_to_string(manager.dir().join("gm.pid")).unwrap().trim().parse().unwrap());
    kill(stopped, Signal::SIGTERM).unwrap();
    manager.wait_gone();
    assert!(!manager.dir().join("gm.pid").exists(), "the pid file was left behind");
    gearmand.wait_workers("act", 0);
}

/// What its caller had open beyond the standard streams (a terminal, the pipe of an ssh) is closed.
#[test]
fn nothing_of_its_callers_stays_open() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]);
    let (held, program) = (setup.dir().join("held"), setup.dir().join("gm-native"));
    let script = format!("#!/bin/sh\nexec 9>'{}' '{}' \"$@\"\n", held.display(), env!("CARGO_BIN_EXE_gm-native"));
    make_script(&program, &script);
    let manager = setup.program(program).daemonize();
    assert!(held.exists());
    for process in manager.processes() {
        for entry in fs::read_dir(format!("/proc/{process}/fd")).unwrap() {
            let target = fs::read_link(entry.unwrap().path()).unwrap_or_default();
            assert_ne!(target, held, "of {process}");
        }
    }
}

/// That is no reason not to start, but the caller gets a note.
#[test]
fn without_a_job_server_it_starts_with_a_note() {
    let server = unused_server();
    let manager = Setup::new(&[&server]).plugin("act", &crate::fixture::library()).args(&["-d"]).prepared();
    let finished = manager.run_to_end();
    let sentence = format!("job server {server} does not answer yet; retrying");
    assert!(finished.code() == Some(0) && finished.err().contains(&sentence), "{finished:?}");
    assert_eq!(manager.status()["state"], "running");
}

/// A failed start is reported to the caller, with its code; nothing runs then and nothing is left.
#[test]
fn a_start_that_fails_gives_its_reason_and_its_code() {
    let mut manager = Setup::new(&["127.0.0.1"]).args(&["-d", "--strict"]).prepared();
    fs::write(manager.worker_dir().join("broken.so"), "no library\n").unwrap();
    let failed = manager.run_to_end();
    assert_eq!(failed.code(), Some(1), "{failed:?}");
    assert!(failed.err().contains("broken.so"), "{failed:?}");
    manager.wait_gone();
    assert!(!manager.dir().join("gm.pid").exists(), "the pid file was left behind");

    let wrong = Setup::new(&["127.0.0.1"]).ini("count = many").args(&["-d"]).run_to_end();
    assert_eq!(wrong.code(), Some(2), "{wrong:?}");
    assert!(wrong.err().contains("gm.ini:5: count in [GearmanManager]: \"many\""), "{wrong:?}");
}

/// Functions that cannot be served are named, each in a line, also where there are no others.
#[test]
fn a_start_with_nothing_but_failures_stays_up_and_names_each() {
    let gearmand = Gearmand::start();
    let author = plugins::example("gm_test_author");
    let setup = || Setup::new(&[&gearmand.server()]).plugin("NewFails", &author).plugin("NewPanics", &author);
    let manager = setup().ini("metrics_listen = 9100").args(&["-d"]).prepared();
    fs::write(manager.worker_dir().join("text.so"), "no library\n").unwrap();
    let finished = manager.run_to_end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let warning =
        format!("warning: {}:5: metrics_listen = 9100 in [GearmanManager] has no effect", path(&manager, "gm.ini"));
    assert!(finished.err().starts_with(&warning), "{finished:?}");
    for start in ["text: ", "NewFails is not served: its new() failed: no database", "NewPanics is not served: "] {
        assert!(finished.err().lines().any(|line| line.starts_with(start)), "no {start:?} in {}", finished.err());
    }
    assert_eq!(manager.status()["state"], "running");
    let mut strict = setup().args(&["-d", "--strict"]).prepared();
    let finished = strict.run_to_end();
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    for part in ["strict is set", "NewFails is not served", "NewPanics is not served"] {
        assert!(finished.err().contains(part), "no {part:?} in {}", finished.err());
    }
    strict.wait_gone();
}

/// The log of a daemon is syslog unless `-l` names another. Without a syslog the caller gets a note, and so does `status --check`.
#[test]
fn without_a_syslog_the_start_reports_that_there_is_no_log() {
    if std::path::Path::new("/dev/log").exists() {
        return eprintln!("skipped: there is a /dev/log here");
    }
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).log("syslog").args(&["-d"]).prepared();
    let finished = manager.run_to_end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let sentence =
        "the syslog daemon at /dev/log does not answer: log lines are lost until it does; log to a file with -l";
    assert!(finished.err().contains(sentence), "{finished:?}");
    let check = manager.command("status", &["--check"]);
    assert!(check.code() == Some(1) && check.out().contains("log lines are lost"), "{check:?}");
    let foreground = acting(&[&gearmand]).log("syslog").start();
    foreground.wait_log(sentence);
}

/// Each line of a file has the time, the process and the level.
#[test]
fn a_log_file_is_written_and_reopened_at_usr1() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).daemonize();
    manager.wait_log("started: 1 worker for 1 function loaded");
    for line in lines(&path(&manager, "gm.log")) {
        let (date, rest) = line.split_once("] ").unwrap();
        assert_eq!((date.len(), date.as_bytes()[0]), ("[2026-11-24 12:00:00.123456".len(), b'['), "{line}");
        let mut words = rest.split_whitespace();
        words.next().unwrap().parse::<u32>().unwrap();
        assert!(["INFO", "PROC", "WORKER", "WARN"].contains(&words.next().unwrap()), "{line}");
    }
    let (log, moved) = (path(&manager, "gm.log"), path(&manager, "gm.log.1"));
    let before = fs::metadata(&log).unwrap().ino();
    fs::rename(&log, &moved).unwrap();
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("log_reopened", |_| true);
    assert_eq!(Job::act(&gearmand, "", "log a line of the plugin's").result(), b"");
    manager.wait_log("a line of the plugin's");
    assert_ne!(fs::metadata(&log).unwrap().ino(), before);
    assert!(!lines(&moved).iter().any(|line| line.contains("a line of the plugin's")));
}

/// Where there is no syslog, as here perhaps: it serves all the same, and takes a HUP.
#[test]
fn with_and_without_syslog_jobs_are_served() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).log("syslog").daemonize();
    let before = workers(&manager);
    assert_eq!(Job::act(&gearmand, "", "print to standard output\nlog to the log\nsay here").result(), b"here");
    manager.signal(Signal::SIGUSR1);
    wait_for("the log to be reopened, or the error of that", DEADLINE, || {
        let tried = |event: &serde_json::Value| event["event"] == "log_reopened" || event["event"] == "manager_error";
        manager.events().iter().any(tried).then_some(())
    });
    assert_eq!(Job::act(&gearmand, "", "say still").result(), b"still");
    assert_eq!(workers(&manager), before);
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    assert_eq!(Job::act(&gearmand, "", "say after all").result(), b"after all");
}

/// Without `-d` lines go to standard output, without a date: what collects them adds one.
#[test]
fn in_the_foreground_the_log_is_standard_output() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("reverse_string", &plugins::example("reverse_string"));
    let manager = setup.log("stdout").start();
    let line = manager.wait_log("started: 1 worker for 1 function loaded");
    let words: Vec<&str> = line.split_whitespace().take(2).collect();
    assert_eq!(words, [manager.pid().to_string().as_str(), "INFO"]);
}
