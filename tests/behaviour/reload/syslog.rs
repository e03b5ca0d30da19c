//! `-l syslog -d` and SIGHUP, where the original stands still. The test plays syslogd.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Instant;

use nix::sys::signal::Signal;

use super::hang_up;
use crate::fixture::{Job, acting, may_mount, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::wait::DEADLINE;

/// Gives the manager a `/dev` of its own, in which `log` is a socket of the test's.
const SCRIPT: &str = r#"#!/bin/sh
    exec unshare -m sh -c '
        set -e
        dev="$0/dev"; program="$1"; shift
        mkdir -p "$dev"
        mount -t tmpfs gm-native-test "$dev"
        cp -a /dev/null /dev/zero /dev/urandom "$dev"
        mkdir -m 1777 "$dev/shm"
        ln -s /proc/self/fd "$dev/fd"
        ln -s "$0/log.sock" "$dev/log"
        mount --bind "$dev" /dev
        exec "$program" "$@"
    ' DIR PROGRAM "$@"
"#;

/// Reads lines until one has `text` in it.
#[track_caller]
fn receive(syslogd: &UnixDatagram, text: &str) -> String {
    let (end, mut buffer) = (Instant::now() + DEADLINE, [0; 16384]);
    loop {
        let left = end.saturating_duration_since(Instant::now());
        assert!(!left.is_zero(), "no line with {text:?}");
        syslogd.set_read_timeout(Some(left)).unwrap();
        let length = syslogd.recv(&mut buffer).unwrap_or_else(|error| panic!("no line with {text:?}: {error}"));
        let line = String::from_utf8_lossy(&buffer[..length]);
        if line.contains(text) {
            return line.into_owned();
        }
    }
}

#[test]
fn hup_with_syslog_in_the_background() {
    if !may_mount() {
        eprintln!("skipped: needs root and mount namespaces");
        return;
    }
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).log("syslog");
    let (socket, program) = (setup.dir().join("log.sock"), setup.dir().join("gm-native"));
    let script = SCRIPT.replace("DIR", setup.dir().to_str().unwrap());
    fs::write(&program, script.replace("PROGRAM", env!("CARGO_BIN_EXE_gm-native"))).unwrap();
    fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    let syslogd = UnixDatagram::bind(&socket).unwrap();
    let mut manager = setup.program(program).daemonize();
    wait_serving(&manager, "act");
    let line = receive(&syslogd, "started: 1 worker for 1 function loaded");
    // Facility daemon, severity info.
    assert!(line.starts_with("<30>") && line.contains(&format!("gm-native[{}]: ", manager.pid())), "{line}");
    for round in 0..3 {
        let before = workers(&manager);
        hang_up(&mut manager);
        receive(&syslogd, "SIGHUP: the log was reopened");
        manager.wait_event("worker_exited", |event| event["pid"] == before[0].as_raw());
        let step = format!("log round {round}");
        Job::act(&gearmand, "", &step).result();
        receive(&syslogd, &step[4..]);
    }
    // Facility daemon all along, with the severity of each level: debug, warning, error.
    Job::act(&gearmand, "", "say severity").result();
    for (text, priority) in [("done in ", "<30>"), ("workload: say severity", "<31>")] {
        Job::act(&gearmand, "", "say severity").result();
        let line = receive(&syslogd, text);
        assert!(line.starts_with(priority), "{line}");
    }
    for (ini, text, priority) in
        [("user = nobody", "(needs a restart)", "<28>"), ("count = x", "cannot be used", "<27>")]
    {
        manager.configure(ini);
        manager.signal(Signal::SIGHUP);
        let line = receive(&syslogd, text);
        assert!(line.starts_with(priority), "{line}");
    }
    manager.configure("");
    // As after a restart of syslogd.
    drop(syslogd);
    fs::remove_file(&socket).unwrap();
    hang_up(&mut manager);
    let syslogd = UnixDatagram::bind(&socket).unwrap();
    Job::act(&gearmand, "", "log it is back").result();
    receive(&syslogd, "it is back");
}
