//! A log that is an open stream, and a log that cannot be reopened.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::User;

use crate::fixture::{acting, library, make_script, path, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};

/// A manager that is started by a shell with these redirections, all of its log lines going to where they lead.
fn redirected(setup: Setup, how: &str) -> Setup {
    let program = setup.dir().join("gm-native");
    let ours = env!("CARGO_BIN_EXE_gm-native");
    let dir = setup.dir().display().to_string();
    let script =
        format!("#!/bin/sh\ncase $1 in -c) cd '{dir}' && exec '{ours}' \"$@\" {how};; esac\nexec '{ours}' \"$@\"\n");
    make_script(&program, &script);
    setup.program(program)
}

fn ends_well(manager: &mut Manager) {
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// Descriptors are used as they are: behind what was written, whatever happened to the file's name; by the user the
/// manager has become; and after the signals that reopen a log.
#[test]
fn a_stream_that_is_open_is_written_on() {
    let root = nix::unistd::geteuid().is_root();
    for (log, how) in [
        ("/dev/stdout", "1>>stream"),
        ("/dev/stderr", "2>stream 1>/dev/null"),
        ("/dev/fd/7", "7>>stream"),
        ("/proc/self/fd/7", "7>>stream"),
        ("link.log", "1>>stream"),
    ] {
        let gearmand = Gearmand::start();
        let setup = redirected(acting(&[&gearmand]).log(log).ini(if root { "user = nobody" } else { "" }), how);
        let (stream, dir) = (setup.dir().join("stream"), setup.dir().to_owned());
        fs::set_permissions(&dir, PermissionsExt::from_mode(0o755)).unwrap();
        symlink("/dev/stdout", dir.join("link.log")).unwrap();
        fs::write(&stream, "before\n").unwrap();
        fs::set_permissions(&stream, PermissionsExt::from_mode(0o600)).unwrap();
        let mut manager = setup.start();
        wait_serving(&manager, "act");
        manager.signal(Signal::SIGUSR1);
        manager.wait_event("log_not_reopened", |event| event["by"] == "SIGUSR1");
        // A reload of the configuration did not ask for it.
        manager.signal(Signal::SIGHUP);
        manager.wait_event("reloaded", |_| true);
        let before = if how.contains(">>") { "before\n" } else { "" };
        ends_well(&mut manager);
        let written = fs::read_to_string(&stream).unwrap();
        assert!(written.starts_with(before), "{log}: {written}");
        for line in ["started: 1 worker", "SIGUSR1: there is no log file to reopen"] {
            assert!(written.contains(line), "{log}: no {line:?} in {written}");
        }
        assert!(!written.contains("SIGHUP: there is no log file"), "{log}: {written}");
    }
}

/// What is not open, not for writing, or somebody's that is left behind.
#[test]
fn a_stream_that_is_none_is_an_error() {
    let setup = || Setup::new(&["127.0.0.1:1"]).plugin("act", &library());
    for (log, how, sentence) in [
        ("/dev/stdout", "1>&-", "cannot open standard output: it was not open when gm-native was started"),
        ("/dev/fd/9", "", "cannot open descriptor 9: it was not open when gm-native was started"),
        ("/dev/fd/3", "", "cannot open descriptor 3: it was not open when gm-native was started"),
        ("/dev/fd/8", "8</dev/null", "cannot open descriptor 8: it is open for reading only"),
        ("/dev/stdin", "0</dev/null", "cannot open descriptor 0: it is open for reading only"),
    ] {
        let finished = redirected(setup().log(log), how).run_to_end();
        assert!(finished.code() == Some(1) && finished.err().contains(sentence), "{log} {how}: {finished:?}");
        assert_eq!(finished.err().lines().count(), 1, "{finished:?}");
    }
    for log in ["/dev/stdout", "/dev/stderr", "/dev/fd/7"] {
        let finished = redirected(setup().log(log).args(&["-d"]), "7>>stream").run_to_end();
        assert!(finished.code() == Some(2) && finished.err().contains("in the background"), "{log}: {finished:?}");
    }
    let linked = setup().log("link.log").args(&["-d"]);
    symlink("/dev/stdout", linked.dir().join("link.log")).unwrap();
    let finished = redirected(linked, "").run_to_end();
    assert!(finished.code() == Some(1) && finished.err().contains("in the background"), "{finished:?}");
}

fn text(event: &serde_json::Value) -> &str {
    event["text"].as_str().unwrap_or_default()
}

/// If the log is not reopened, nothing claims that it was; and a log that cannot be opened does not become the log.
#[test]
fn a_failed_reopen_of_the_log_is_not_reported_as_done() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).all_in_ini().ini("log_file = gm.log\nverbose = 1").start();
    let log = manager.dir().join("gm.log");
    let moved = path(&manager, "gm.log.1");
    fs::rename(&log, &moved).unwrap();
    fs::create_dir(&log).unwrap();
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("manager_error", |event| text(event).starts_with("SIGUSR1: cannot reopen log file"));
    manager.configure(&format!("log_file = {}/gm.log/x/y", manager.dir().display()));
    manager.signal(Signal::SIGHUP);
    manager.wait_event("manager_error", |event| text(event).starts_with("SIGHUP: cannot reopen log file"));
    manager.wait_event("manager_error", |event| text(event).ends_with("the log stays where it is"));
    let reloaded = manager.wait_event("reloaded", |_| true);
    assert!(!manager.events().iter().any(|event| event["event"] == "log_reopened"), "{:?}", manager.events());
    assert!(!text(&reloaded).contains("log_file"), "{reloaded}");
    fs::remove_dir(&log).unwrap();
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("log_reopened", |event| event["by"] == "SIGUSR1");
    let lines = fs::read_to_string(&moved).unwrap();
    assert!(!lines.contains("the log was reopened") && lines.contains("cannot reopen"), "{lines}");
}

/// Root opens a log where the user it becomes could not: the start warns of it and says what to do.
#[test]
fn a_log_that_the_user_could_not_recreate_is_warned_of_at_the_start() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    for (owner, is_warned) in [(None, true), (User::from_name("nobody").unwrap(), false)] {
        let gearmand = Gearmand::start();
        let setup = acting(&[&gearmand]).all_in_ini();
        fs::set_permissions(setup.dir(), PermissionsExt::from_mode(0o755)).unwrap();
        let logs = setup.dir().join("logs");
        fs::create_dir(&logs).unwrap();
        if let Some(owner) = &owner {
            chown(&logs, Some(owner.uid.as_raw()), None).unwrap();
        }
        let ini = format!("user = nobody\nverbose = 1\nlog_file = {}/own.log", logs.display());
        let manager = setup.ini(&ini).start();
        wait_serving(&manager, "act");
        let log = fs::read_to_string(logs.join("own.log")).unwrap();
        let warned = log.lines().find(|line| line.contains("cannot create the log")).map(str::to_owned);
        assert_eq!(warned.is_some(), is_warned, "{log}");
        assert!(warned.is_none_or(|line| line.contains(" WARN ") && line.contains("gm.ini:7: ")), "{log}");
        rotated(&manager, &logs, is_warned);
    }
}

/// As logrotate does it with `create`, which needs no right of the manager's.
fn rotated(manager: &Manager, logs: &Path, create: bool) {
    let (log, old) = (logs.join("own.log"), logs.join("own.log.1"));
    fs::rename(&log, &old).unwrap();
    if create {
        fs::write(&log, "").unwrap();
        let nobody = User::from_name("nobody").unwrap().unwrap();
        chown(&log, Some(nobody.uid.as_raw()), None).unwrap();
    }
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("log_reopened", |event| event["by"] == "SIGUSR1");
    assert!(fs::read_to_string(&log).unwrap().contains("SIGUSR1: the log was reopened"));
}
