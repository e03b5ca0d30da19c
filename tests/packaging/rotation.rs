//! The snippet for logrotate, with the real one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use crate::fixture::{Job, acting, lines, path};
use crate::is_there;
use crate::support::build::repository;
use crate::support::gearmand::Gearmand;
use crate::support::program::run;
use crate::support::wait::{DEADLINE, wait_for};

const LINES: usize = 40;

#[test]
fn no_line_is_lost_when_the_log_is_rotated() {
    if !["logrotate", "../sbin/logrotate"].iter().any(|program| is_there(program)) {
        return;
    }
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).daemonize();
    let (log, pid) = (path(&manager, "gm.log"), path(&manager, "gm.pid"));
    let snippet = fs::read_to_string(repository().join("packaging/gm-native.logrotate")).unwrap();
    let snippet = snippet.replace("/var/log/gm-native/*.log", &log).replace("/run/gm-native/gm.pid", &pid);
    // logrotate makes the new file, for our own user here.
    assert!(snippet.contains("create 0640 gm-native gm-native\n"));
    let snippet = snippet.replace("create 0640 gm-native gm-native", "create 0640");
    let config = path(&manager, "logrotate.conf");
    fs::write(&config, snippet).unwrap();
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).unwrap();

    let say = |number: usize| assert_eq!(Job::act(&gearmand, "", &format!("log line no. {number}.")).result(), b"");
    (0..LINES).for_each(say);
    let state = path(&manager, "logrotate.state");
    let mut rotate = Command::new("logrotate");
    rotate.args(["-f", "-s", &state, &config]);
    rotate.env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin");
    run(&mut rotate, b"", DEADLINE).unwrap().success();
    manager.wait_event("log_reopened", |_| true);
    (LINES..2 * LINES).for_each(say);

    let numbers = |path: &str| -> Vec<usize> {
        let number = |line: &String| line.split_once("line no. ")?.1.split_once('.')?.0.parse().ok();
        lines(path).iter().filter(|line| !line.contains("workload")).filter_map(number).collect()
    };
    let new = wait_for("the last line", DEADLINE, || Some(numbers(&log)).filter(|new| new.contains(&(2 * LINES - 1))));
    let old = numbers(&format!("{log}.1"));
    let all: Vec<usize> = old.iter().chain(&new).copied().collect();
    let expected: Vec<usize> = (0..2 * LINES).collect();
    let first = |number: &usize| all.iter().position(|other| other == number);
    assert!(expected.iter().all(|number| first(number).is_some()), "lines are missing: {all:?}");
    assert!(old.iter().all(|number| *number < LINES), "a later line is in the old file: {old:?}");
}
