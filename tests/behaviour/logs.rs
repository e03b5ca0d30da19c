//! The log under load and on a failing disk.

use std::collections::BTreeMap;
use std::fs;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::{Job, acting, lines, make_script, may_mount, path, served, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::program::run;
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
        if let Some((_, text)) = line.split_once(": job ")
            && words[3] == "WORKER"
        {
            let parts: Vec<&str> = text.split(' ').collect();
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

/// A disk that is full stops no job. The lines that were lost are counted, in the next log that takes lines.
#[test]
fn a_full_disk_stops_no_work() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).all_in_ini().ini("verbose = vvv\nlog_file = /dev/full").start();
    wait_serving(&manager, "act");
    for _ in 0..3 {
        assert_eq!(Job::act(&gearmand, "", "log into the void\nsay on").result(), b"on");
    }
    let log = path(&manager, "own.log");
    manager.configure(&format!("verbose = vvv\nlog_file = {log}"));
    manager.signal(Signal::SIGHUP);
    let lost = wait_for("the count of what was lost", DEADLINE, || {
        lines(&log).into_iter().find(|line| line.contains(" log lines were lost: "))
    });
    assert!(lost.contains(" WARN ") && lost.contains("log file /dev/full: No space left on device"), "{lost}");
    assert!(!lost.contains("os error"), "{lost}");
}

/// The same file goes on, with a count and without a torn line, once there is room again.
#[test]
fn a_disk_with_room_again_gets_the_count() {
    if !may_mount() {
        eprintln!("skipped: needs root and mount namespaces");
        return;
    }
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]);
    let (dir, program) = (setup.dir().join("logs"), setup.dir().join("gm-native"));
    fs::create_dir(&dir).unwrap();
    let text = format!(
        "#!/bin/sh\nexec unshare -m sh -c 'mount -t tmpfs -o size=256k gm-native-test \"$0\" && exec \"$@\"' '{}' '{}' \
         \"$@\"\n",
        dir.display(),
        env!("CARGO_BIN_EXE_gm-native"),
    );
    make_script(&program, &text);
    let manager = setup.program(program).log(dir.join("own.log").to_str().unwrap()).start();
    wait_serving(&manager, "act");
    let seen = format!("/proc/{}/root{}", manager.pid(), dir.display());
    let (log, filler) = (format!("{seen}/own.log"), format!("{seen}/filler"));
    fs::write(&filler, vec![0; 1 << 20]).unwrap_err();
    let much: Vec<String> = (0..100).map(|line| format!("log lost {line} {}", "x".repeat(200))).collect();
    for _ in 0..3 {
        assert_eq!(Job::act(&gearmand, "", &much.join("\n")).result(), b"");
    }
    fs::remove_file(&filler).unwrap();
    assert_eq!(Job::act(&gearmand, "", "log there is room").result(), b"");
    for text in [" log lines were lost: ", "there is room"] {
        wait_for(text, DEADLINE, || lines(&log).into_iter().find(|line| line.contains(text)));
    }
    let torn: Vec<String> =
        lines(&log).into_iter().filter(|line| line.len() > 28 && line.matches("] ").count() != 1).collect();
    assert!(torn.is_empty(), "{torn:?}");
}

/// A manager whose only library is none, with its standard output at `how`: what it printed before it gave up.
fn printed(how: impl FnOnce(&str) -> Command, no_color: &str) -> String {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("workers")).unwrap();
    fs::write(dir.path().join("workers/broken.so"), "no library\n").unwrap();
    fs::write(dir.path().join("gm.ini"), "[GearmanManager]\nstate_dir = state\n").unwrap();
    let mut command = how(concat!("'", env!("CARGO_BIN_EXE_gm-native"), "' -c gm.ini -v --strict"));
    command.current_dir(dir.path()).env("TERM", "xterm").env("NO_COLOR", no_color);
    let finished = run(&mut command, b"", DEADLINE).unwrap_or_else(|hung| panic!("it hung: {hung:?}"));
    assert_eq!(finished.code(), Some(1), "{finished:?}");
    let line = finished.out().lines().find(|line| line.contains("ERROR")).map(str::to_owned);
    line.unwrap_or_else(|| panic!("no error: {finished:?}"))
}

/// Colours and dates are for a terminal; NO_COLOR takes the colours away.
#[test]
fn colours_on_a_terminal_only() {
    let pipe = |line: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", line]);
        command
    };
    let terminal = |line: &str| {
        let mut command = Command::new("script");
        command.args(["-qec", line, "/dev/null"]);
        command
    };
    let plain = printed(pipe, "");
    assert!(!plain.contains('\x1b') && !plain.starts_with("[20"), "{plain}");
    if Command::new("script").arg("--version").output().is_err() {
        eprintln!("skipped: needs script(1)");
        return;
    }
    let coloured = printed(terminal, "");
    assert!(coloured.contains("\x1b[") && coloured.contains("[20"), "{coloured:?}");
    let uncoloured = printed(terminal, "1");
    assert!(!uncoloured.contains('\x1b') && uncoloured.starts_with("[20"), "{uncoloured:?}");
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
