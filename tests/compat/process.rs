//! The manager as a process: pid file, user, background, log, and what its options print.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::Command;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};

use crate::differences::on_purpose;
use crate::subject::{Fixture, Subject, ask, ours, put, wait_shown};
use crate::support::gearmand::Gearmand;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::Watchdog;

/// The pid in a file, once it is there.
fn pid_in(path: &str) -> Pid {
    wait_for(&format!("a pid in {path}"), DEADLINE, || {
        fs::read_to_string(path).ok()?.trim().parse().ok().map(Pid::from_raw)
    })
}

#[test]
fn a_pid_file() {
    for (by_option, ini) in [(true, ""), (false, "pid_file = gm.pid\n")] {
        let gearmand = Gearmand::start();
        let fixture = Fixture::new(&gearmand.server(), "one", &format!("{ini}graceful_shutdown_wait_time = 1"));
        let mut subject = if by_option { fixture.args(&["-P", "gm.pid"]) } else { fixture }.start();
        wait_shown(&gearmand, "1 one");
        let file = subject.path("gm.pid");
        assert_eq!(pid_in(&file), subject.pid());
        subject.signal(Signal::SIGTERM);
        assert_eq!(subject.wait_exit().code(), Some(0));
        assert!(!fs::exists(&file).unwrap(), "the pid file was left behind");
    }
}

/// A pid file that somebody else has written to since is not removed.
#[test]
fn a_pid_file_that_is_anothers_stays() {
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one", "graceful_shutdown_wait_time = 1").args(&["-P", "gm.pid"]);
    let mut subject = fixture.start();
    wait_shown(&gearmand, "1 one");
    let file = subject.path("gm.pid");
    fs::remove_file(&file).unwrap();
    fs::write(&file, "1\n").unwrap();
    subject.signal(Signal::SIGTERM);
    subject.wait_exit();
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
}

/// pid-file-locked.
#[test]
fn a_second_one_on_the_same_pid_file() {
    on_purpose("pid-file-locked");
    let gearmand = Gearmand::start();
    let subject = Fixture::new(&gearmand.server(), "one", "").args(&["-P", "gm.pid"]).start();
    wait_shown(&gearmand, "1 one");
    let file = subject.path("gm.pid");
    let second = Fixture::new(&gearmand.server(), "one", "").args(&["-P", &file]);
    if ours() {
        let finished = second.run_to_end();
        let pid = format!("pid {}", subject.pid());
        assert!(
            finished.code() == Some(1) && finished.err().contains(&pid) && finished.err().contains(&file),
            "{finished:?}"
        );
        assert_eq!(pid_in(&file), subject.pid());
    } else {
        let second = second.start();
        wait_for("the file to be taken over", DEADLINE, || (pid_in(&file) == second.pid()).then_some(()));
    }
}

/// `-d`: the caller's shell comes back with 0, and what runs is another process, in a session of its own.
#[test]
fn in_the_background() {
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one", "graceful_shutdown_wait_time = 1");
    // All relative.
    let fixture = fixture.args(&["-d", "-P", "gm.pid", "-l", "gm.log", "-w", "./workers"]);
    let watchdog = Watchdog::over(&fixture.dir.path().display().to_string());
    let finished = run(fixture.bare().args(["-c", "gm.ini", "-d", "-P", "gm.pid", "-l", "gm.log"]), b"", DEADLINE);
    let finished = finished.unwrap_or_else(|hung| panic!("it holds on to its caller: {hung:?}"));
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    wait_shown(&gearmand, "1 one");
    let pid = pid_in(&fixture.path("gm.pid"));
    assert_ne!(nix::unistd::getsid(Some(pid)).unwrap(), nix::unistd::getsid(None).unwrap());
    assert_eq!(ask(&gearmand, "one", "say here"), "here");
    assert!(fs::exists(fixture.path("gm.log")).unwrap());
    kill(pid, Signal::SIGTERM).unwrap();
    wait_for("its end", DEADLINE, || watchdog.marked().is_empty().then_some(()));
    assert!(!fs::exists(fixture.path("gm.pid")).unwrap(), "the pid file was left behind");
    watchdog.kill_all(None);
}

/// `-u`, where the tests run as root: manager and workers are that user's, and the log too. The pid file stays root's.
#[test]
fn another_user() {
    on_purpose("user-groups");
    if !Uid::effective().is_root() {
        eprintln!("not root: nothing to drop");
        return;
    }
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one", "graceful_shutdown_wait_time = 1");
    fs::set_permissions(fixture.dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let mut subject = fixture.args(&["-u", "nobody", "-P", "gm.pid", "-l", "gm.log"]).start();
    wait_shown(&gearmand, "1 one");
    assert_eq!(ask(&gearmand, "one", "say as nobody"), "as nobody");
    let nobody = nix::unistd::User::from_name("nobody").unwrap().unwrap();
    let processes = subject.processes();
    assert!(processes.len() >= 2, "{processes:?}");
    for pid in processes {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let field = |name: &str| -> Vec<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(field("Uid"), vec![nobody.uid.to_string(); 4], "of {pid}");
        if ours() {
            let gid = nobody.gid.to_string();
            assert_eq!(field("Gid"), vec![gid.clone(); 4], "of {pid}");
            assert_eq!(field("Groups"), [gid], "of {pid}");
            assert_eq!(field("NoNewPrivs"), ["1"], "of {pid}");
        }
    }
    on_purpose("pid-file-roots");
    let root = if ours() { 0 } else { nobody.uid.as_raw() };
    for (file, owner) in [("gm.pid", root), ("gm.log", nobody.uid.as_raw())] {
        assert_eq!(fs::metadata(subject.path(file)).unwrap().uid(), owner, "{file}");
    }
    if ours() {
        usable_after_the_drop(&gearmand, &subject);
    }
    subject.signal(Signal::SIGTERM);
    assert_eq!(subject.wait_exit().code(), Some(0));
    // It may not remove anything from that directory any more.
    on_purpose("pid-file-emptied");
    let left = fs::read_to_string(subject.path("gm.pid")).unwrap();
    assert_eq!(left, if ours() { String::new() } else { subject.pid().to_string() });
}

/// The log is reopened, a new library is picked up, and the control socket answers, all without root.
fn usable_after_the_drop(gearmand: &Gearmand, subject: &Subject) {
    subject.signal(Signal::SIGUSR1);
    put(subject.path("workers").as_ref(), "two", "two");
    wait_shown(gearmand, "1 one, 1 two");
    let status = run(subject.fixture.bare().args(["status", "-c", "gm.ini", "--json"]), b"", DEADLINE);
    assert_eq!(status.unwrap_or_else(|hung| panic!("{hung:?}")).code(), Some(0));
}

/// exit-codes: nothing is started for a user that is not there. Our exit code shows it, too.
#[test]
fn a_user_that_is_not_there() {
    on_purpose("exit-codes");
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one", "").args(&["-u", "no-such-user-here", "-P", "gm.pid"]);
    let finished = fixture.run_to_end();
    assert!(output_of(&finished).contains("no-such-user-here"), "{finished:?}");
    assert_eq!(finished.code(), Some(if ours() { 2 } else { 0 }));
    assert_eq!(gearmand.status("one"), None);
    if ours() {
        assert!(!fs::exists(fixture.path("gm.pid")).unwrap(), "something was started");
    }
}

fn output_of(finished: &Finished) -> String {
    finished.out() + &finished.err()
}

/// exit-codes: a configuration or a directory that is not there is named.
#[test]
fn what_is_not_there_is_named() {
    let fixture = Fixture::new("127.0.0.1", "one", "");
    for (args, name) in [(["-c", "nowhere.ini"], "nowhere.ini"), (["-w", "nowhere"], "nowhere")] {
        let finished = run(fixture.bare().args(args), b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"));
        assert!(output_of(&finished).contains(name), "{finished:?}");
        assert_eq!(finished.code(), Some(if ours() { 2 } else { 0 }), "{finished:?}");
    }
}

/// `-H` is help; `-h` is not.
#[test]
fn help() {
    let fixture = Fixture::new("127.0.0.1", "one", "");
    let finished = run(fixture.bare().arg("-H"), b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"));
    assert_eq!(finished.code(), Some(0));
    for option in ["-a", "-c", "-d", "-D", "-h", "-H", "-l", "-p", "-P", "-u", "-v", "-w", "-r", "-t", "-x", "-Z"] {
        assert!(
            finished.out().contains(&format!("{option} ")) || finished.out().contains(&format!("{option},")),
            "{option}"
        );
    }
}

/// `-Z` shows what holds in the end, options over the file, and starts nothing.
#[test]
fn the_configuration_is_dumped() {
    on_purpose("dump-config");
    let gearmand = Gearmand::start();
    let ini = "count = 2\ntimeout = 44\nmax_worker_lifetime = 77\n[one]\npriority = 3";
    let fixture = Fixture::new(&gearmand.server(), "one", ini);
    let fixture = fixture.args(&["-D", "5", "-r", "9", "-P", "gm.pid", "-l", "gm.log"]);
    // The original's help has a -t; it does not read it, nor any option after it.
    on_purpose("timeout-option");
    let fixture = fixture.args(if ours() { &["-t", "33", "-Z"] } else { &["-Z"] });
    let finished = fixture.run_to_end();
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    for (key, value) in [
        ("count", "5"),
        ("max_runs_per_worker", "9"),
        ("timeout", if ours() { "33" } else { "44" }),
        ("max_worker_lifetime", "77"),
    ] {
        let shown = |line: &str| {
            let line = line.trim().trim_start_matches(['[']).replace("] =>", " =");
            let (name, rest) = line.split_once('=')?;
            (name.trim() == key).then(|| rest.split(';').next().unwrap_or_default().trim().to_owned())
        };
        let shown = finished.out().lines().find_map(shown);
        assert_eq!(shown.as_deref(), Some(value), "{key}: {}", finished.out());
    }
    assert_eq!(gearmand.status("one"), None);
    if ours() {
        let out = finished.out();
        assert!(out.contains("gm.ini:") && out.contains("-D") && out.contains("; plan: 5 workers"), "{out}");
        assert!(!fs::exists(fixture.path("gm.pid")).unwrap() && !fs::exists(fixture.path("gm.log")).unwrap());
    }
}

/// A line of a file is `[2026-11-24 12:00:00.123456]  1234 WORKER message`; what a job logs is in one of its worker's,
/// at WORKER, with the job's handle.
#[test]
fn lines_of_the_log() {
    on_purpose("log-header");
    let gearmand = Gearmand::start();
    let fixture = Fixture::new(&gearmand.server(), "one", "verbose = 3").args(&["-l", "gm.log"]);
    let subject = fixture.start();
    wait_shown(&gearmand, "1 one");
    let note = subject.path("ran");
    assert_eq!(ask(&gearmand, "one", &format!("note {note}\nlog a line of the job's\nsay x")), "x");
    let worker = subject.notes("ran")[0].split(' ').nth(1).unwrap().to_owned();
    let line = wait_for("the job's line", DEADLINE, || {
        subject.log().lines().find(|line| line.contains("a line of the job's")).map(str::to_owned)
    });
    let words: Vec<&str> = line.split_whitespace().collect();
    assert!(words[0].starts_with("[20") && words[1].ends_with(']') && words[1].len() == "12:00:00.123456]".len());
    assert_eq!((words[2], words[3]), (worker.as_str(), "WORKER"), "{line}");
    assert!(line.contains("H:"), "{line}");
    let text = fs::read_to_string(subject.path("gm.log")).unwrap();
    assert_eq!(text.starts_with("Date "), !ours(), "{text}");
    for line in text.lines().skip(usize::from(!ours())) {
        assert!(["INFO", "PROC", "WORKER", "WARN"].contains(&line.split_whitespace().nth(3).unwrap()), "{line}");
    }
}

/// Workloads and results appear at DEBUG and are cut at 256 bytes; below that they do not appear.
#[test]
fn workloads_in_the_log() {
    for (level, appears) in [("3", false), ("4", true)] {
        let gearmand = Gearmand::start();
        let ini = format!("verbose = {level}");
        let subject = Fixture::new(&gearmand.server(), "one", &ini).args(&["-l", "gm.log"]).start();
        wait_shown(&gearmand, "1 one");
        let long = "r".repeat(400);
        ask(&gearmand, "one", &format!("log end\nsay {long}"));
        wait_for("the job's line", DEADLINE, || subject.log().contains("end").then_some(()));
        if appears {
            wait_for("the result", DEADLINE, || subject.log().contains("rrr...(truncated)").then_some(()));
        }
        let log = fs::read_to_string(subject.path("gm.log")).unwrap();
        assert_eq!(log.contains("rrrr"), appears, "{log}");
        // The original cuts results, not workloads.
        assert_eq!(log.contains(&long), appears && !ours(), "{log}");
    }
}

/// verbose-in-ini: what is logged at which verbosity.
#[test]
fn verbosity() {
    on_purpose("verbose-in-ini");
    let labels = |args: &[&str], ini: &str| -> Vec<String> {
        let gearmand = Gearmand::start();
        let all: Vec<&str> = [&["-l", "gm.log"], args].concat();
        let subject = Fixture::new(&gearmand.server(), "one", ini).args(&all).start();
        wait_shown(&gearmand, "1 one");
        ask(&gearmand, "one", "log a line");
        let present =
            |label: &str| subject.notes("gm.log").iter().any(|line| line.split_whitespace().nth(3) == Some(label));
        // The job's own line is written when the client has its result already, and is the last.
        if args.contains(&"-vvvv") || args.contains(&"-vvv") {
            wait_for("the job's line", DEADLINE, || present("WORKER").then_some(()));
        }
        let labels = ["INFO", "PROC", "WORKER", "DEBUG"].into_iter();
        labels.filter(|label| present(label)).map(str::to_owned).collect()
    };
    let all = ["INFO", "PROC", "WORKER", "DEBUG"];
    for (verbosity, option) in ["-v", "-vv", "-vvv", "-vvvv"].into_iter().enumerate() {
        assert_eq!(labels(&[option], ""), all[..=verbosity], "{option}");
    }
    assert_eq!(labels(&[], "verbose = 2"), all[..2]);
    assert_eq!(labels(&[], "verbose = v"), all[..if ours() { 1 } else { 2 }]);
    assert_eq!(labels(&[], ""), Vec::<String>::new());
}

/// The log is moved away by logrotate; a HUP reopens it.
#[test]
fn the_log_is_reopened_at_sighup() {
    let gearmand = Gearmand::start();
    let subject = Fixture::new(&gearmand.server(), "one", "verbose = 3").args(&["-l", "gm.log"]).start();
    wait_shown(&gearmand, "1 one");
    fs::rename(subject.path("gm.log"), subject.path("gm.log.1")).unwrap();
    subject.signal(Signal::SIGHUP);
    wait_for("a new log", DEADLINE, || {
        fs::metadata(subject.path("gm.log")).is_ok_and(|meta| meta.len() > 0).then_some(())
    });
}

/// config-errors and php-config: what gm-native refuses and the original runs with.
#[test]
fn wrong_configurations() {
    on_purpose("config-errors");
    on_purpose("php-config");
    let fixture =
        Fixture::new("127.0.0.1", "one", "count = many\ntimeout = soon\n[one]\npriority = high").args(&["-Z"]);
    let finished = fixture.run_to_end();
    if ours() {
        assert_eq!(finished.code(), Some(2), "{finished:?}");
        for line in ["gm.ini:6: ", "gm.ini:7: ", "gm.ini:9: "] {
            assert!(finished.err().contains(line), "nothing of {line}: {}", finished.err());
        }
    } else {
        assert!(finished.code() == Some(0) && finished.out().contains("many"), "{finished:?}");
    }
    fs::write(fixture.path("gm.php"), "<?php $gearman_config = ['GearmanManager' => ['count' => 41]];\n").unwrap();
    let finished = run(fixture.bare().args(["-c", "gm.php", "-w", "workers", "-Z"]), b"", DEADLINE);
    let finished = finished.unwrap_or_else(|hung| panic!("{hung:?}"));
    if ours() {
        assert!(finished.code() == Some(2) && finished.err().contains("[GearmanManager]"), "{finished:?}");
    } else {
        assert!(finished.out().contains("41"), "{finished:?}");
    }
}

/// `${NAME}` is the environment variable, list items are trimmed, `;` begins a comment, quotes hold a value together.
#[test]
fn an_ini_as_php_reads_it() {
    let gearmand = Gearmand::start();
    let fixture =
        Fixture::new("${COMPAT_HOST}", "one two three", "count = \"2\" ; workers\nexclude = \"three\"\n; the end");
    let mut command: Command = fixture.command();
    command.env("COMPAT_HOST", gearmand.server());
    let watchdog = Watchdog::over(&fixture.dir.path().display().to_string());
    let manager = crate::support::child_guard::ChildGuard::start("the manager", &mut command);
    wait_shown(&gearmand, "2 one two");
    watchdog.kill_all(Some(manager.pid()));
}
