//! The commands of docs/running.md, and of docs/deploying.md on taking a function out of service.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use gm_native::cli::Cli;
use nix::sys::signal::Signal;

use crate::fixture::{Job, library, wait_serving};
use crate::is_there;
use crate::machine::{self, is_root};
use crate::support::build::repository;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};
use crate::support::watchdog::MARK;

const PROGRAM: &str = env!("CARGO_BIN_EXE_gm-native");

/// The blocks of a language, also those within a list.
fn blocks(language: &str) -> Vec<String> {
    let all = machine::blocks("running.md").into_iter();
    all.filter(|(of, _)| of == language).map(|(_, block)| block).collect()
}

/// Runs a line as a shell does, as a part of this manager, with the program under test in place of the installed one.
fn shell(manager: &Manager, line: &str) -> Finished {
    let line = line.replace("/usr/local/bin/gm-native", PROGRAM);
    let mut command = Command::new("sh");
    command.args(["-c", &line]).current_dir(manager.dir()).env(MARK, manager.dir());
    run(&mut command, b"", DEADLINE).unwrap()
}

#[test]
fn its_options_and_commands_are_those_of_the_program() {
    let lines: Vec<String> =
        ["sh", "cron"].map(blocks).concat().concat().lines().map(|l| l.trim().to_owned()).collect();
    let calls = lines.iter().filter_map(|line| {
        let start = ["@reboot /usr/local/bin/gm-native", "target/release/gm-native", "gm-native"];
        start.iter().find_map(|start| line.strip_prefix(start)).map(|rest| format!("gm-native{rest}"))
    });
    let calls: Vec<String> = calls.collect();
    assert!(calls.len() >= 7, "{calls:?}");
    for call in calls {
        let parsed = Cli::parse_args(call.split_whitespace(), "");
        assert!(parsed.is_ok(), "{call}: {}", parsed.err().unwrap());
    }
    // What is installed, and its user.
    let unit = fs::read_to_string(repository().join("packaging/gm-native.service")).unwrap();
    for word in ["TimeoutStopSec=90", "Type=notify", "User=gm-native", "-c /etc/gm-native/gm.ini"] {
        assert!(unit.contains(word), "the unit has no {word}");
    }
}

/// Twice, and in the wrong order.
#[test]
fn the_init_script_starts_reloads_and_stops() {
    if !is_root() || !is_there("start-stop-daemon") {
        return;
    }
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[&gearmand.server()]).plugin("act", &library()).prepared();
    fs::set_permissions(manager.dir(), Permissions::from_mode(0o755)).unwrap();
    let dir = manager.dir().display();
    let defaults = format!(
        "DAEMON={PROGRAM}\nCONFIG={dir}/gm.ini\nRUN_AS=root\nPIDFILE={dir}/gm.pid\nLOG={dir}/gm.log\nSTOP_AFTER=60\n"
    );
    fs::write(manager.dir().join("defaults"), defaults).unwrap();
    let script = repository().join("packaging/gm-native.init");
    let say = |verb: &str| {
        let done = shell(&manager, &format!("DEFAULTS={dir}/defaults {} {verb}", script.display()));
        done.code().unwrap()
    };
    assert_eq!((say("status"), say("stop"), say("nonsense")), (3, 0, 2));
    assert_ne!(say("reload"), 0);
    assert_eq!((say("start"), say("start"), say("status")), (0, 0, 0));
    wait_serving(&manager, "act");
    let pid = manager.pid();
    let reloaded = shell(&manager, &format!("DEFAULTS={dir}/defaults {} reload", script.display()));
    assert!(reloaded.out().starts_with("reload: 1 worker replaced"), "{reloaded:?}");
    manager.wait_log("reload: the configuration was read again");
    assert_eq!(say("restart"), 0);
    wait_serving(&manager, "act");
    assert_ne!(manager.pid(), pid);
    assert_eq!((say("stop"), say("stop"), say("status")), (0, 0, 3));
    fs::write(manager.dir().join("gm.ini"), "rubbish\n").unwrap();
    assert_ne!(say("start"), 0);
}

#[test]
fn crons_line_starts_it_with_what_cron_gives() {
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[&gearmand.server()]).plugin("act", &library()).prepared();
    let line = blocks("cron").concat();
    let line = line.trim().strip_prefix("@reboot ").unwrap().replace("/usr/local/bin/gm-native", PROGRAM);
    let home = manager.dir().display();
    let mark = MARK;
    let cron = format!("env -i HOME={home} LOGNAME=me SHELL=/bin/sh PATH=/usr/bin:/bin {mark}={home} sh -c '{line}'");
    let started = shell(&manager, &cron);
    assert!(started.status.success(), "{started:?}");
    wait_serving(&manager, "act");
    let again = shell(&manager, &cron);
    assert!(again.code() == Some(1) && again.err().contains("another gm-native"), "{again:?}");
}

/// The second one serves while the first is away: no gap, and no job that fails.
#[test]
fn two_versions_serve_side_by_side() {
    if !is_root() {
        return;
    }
    let gearmand = Gearmand::start();
    let mut first = Setup::new(&[&gearmand.server()]).plugin("act", &library()).start();
    wait_serving(&first, "act");
    let dir = first.dir().display().to_string();
    let block = blocks("sh").into_iter().find(|block| block.contains("second")).unwrap();
    let places = [
        ("target/release/gm-native", PROGRAM),
        ("/etc/gm-native/gm.ini", &format!("{dir}/gm.ini")),
        ("/var/lib/gm-native/second", &format!("{dir}/second")),
        ("/run/gm-second.pid", &format!("{dir}/second.pid")),
        ("/var/log/gm-native/second.log", &format!("{dir}/second.log")),
        (" -u gm-native", ""),
    ];
    let block = places.iter().fold(block, |block, (from, to)| block.replace(from, to));
    let block = block.replace("\ngm-native ", &format!("\n{PROGRAM} "));
    let [start, status, stop] = block.trim().lines().collect::<Vec<_>>().try_into().unwrap();
    let started = shell(&first, start);
    assert!(started.status.success(), "{started:?}");
    assert!(shell(&first, status).success().starts_with(b"gm-native "));
    first.signal(Signal::SIGTERM);
    first.wait_exit();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    first.start_again();
    wait_serving(&first, "act");
    shell(&first, stop).success();
    wait_for("the second one's end", DEADLINE, || fs::read(format!("{dir}/second.pid")).is_err().then_some(()));
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
}

/// Jobs wait meanwhile, and are done when it is back; other functions go on.
#[test]
fn a_function_is_taken_out_of_service_and_put_back() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("act", &library()).plugin("other", &library());
    let mut manager = setup.start();
    wait_serving(&manager, "act");
    let versions = manager.command("versions", &[]).out();
    manager.configure("exclude = act");
    shell(&manager, "kill -HUP $(cat gm.pid)").success();
    wait_for("no worker to offer it", DEADLINE, || {
        gearmand.status("act").is_none_or(|status| status.workers == 0).then_some(())
    });
    let job = Job::act(&gearmand, "", "say here");
    wait_for("the job to wait", DEADLINE, || gearmand.status("act").filter(|status| status.running == 0));
    let refused = manager.command("retry", &["act"]);
    assert!(refused.code() == Some(4) && refused.err().contains("exclude names it"), "{refused:?}");
    assert_eq!(manager.command("versions", &[]).out().lines().count(), versions.lines().count());
    manager.mark();
    manager.configure("");
    shell(&manager, "kill -HUP $(cat gm.pid)").success();
    assert_eq!(job.result(), b"here");
}
