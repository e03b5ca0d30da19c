//! The pid file as root's tools use it: they must be able to trust it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::{Job, path, wait_serving};
use crate::state_directories::{as_nobody, nobody, root};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::program::{Finished, run};
use crate::support::wait::DEADLINE;

const START_STOP_DAEMON: &str = "/sbin/start-stop-daemon";
const INIT_FUNCTIONS: &str = "/lib/lsb/init-functions";

/// Whether this is root on a machine with this tool; prints it if not.
fn root_with(tool: &str) -> bool {
    let there = Path::new(tool).exists();
    if !there {
        eprintln!("skipped: needs {tool}");
    }
    root() && there
}

fn start_stop_daemon(pid_file: &str, args: &[&str]) -> Finished {
    let mut command = Command::new(START_STOP_DAEMON);
    command.args(["--pidfile", pid_file]).args(args);
    run(&mut command, b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"))
}

/// Owner, group, mode and length.
fn state_of(pid_file: &str) -> (u32, u32, u32, u64) {
    let found = fs::symlink_metadata(pid_file).unwrap();
    (found.uid(), found.gid(), found.permissions().mode() & 0o7777, found.len())
}

fn serving(gearmand: &Gearmand, daemonized: bool) -> Manager {
    let setup = as_nobody(gearmand);
    let manager = if daemonized { setup.daemonize() } else { setup.start() };
    wait_serving(&manager, "act");
    manager
}

/// H11: after `-u` the file is root's, through a reload and to the end, and is stale when it is empty.
#[test]
fn it_stays_roots_and_is_emptied_where_it_may_not_be_removed() {
    if !root() {
        return;
    }
    let gearmand = Gearmand::start();
    for daemonized in [false, true] {
        let mut manager = serving(&gearmand, daemonized);
        let file = path(&manager, "gm.pid");
        let pid = format!("{}\n", manager.pid());
        manager.signal(Signal::SIGHUP);
        manager.wait_event("reloaded", |_| true);
        assert_eq!(fs::read_to_string(&file).unwrap(), pid);
        assert_eq!(state_of(&file), (0, 0, 0o644, pid.len() as u64));
        assert!(!manager.log().contains("may write to"), "nobody may not write there");
        for process in manager.processes().into_iter().filter(|process| *process != manager.pid()) {
            // A worker that the reload replaces may be gone by now; its successor is not.
            for entry in fs::read_dir(format!("/proc/{process}/fd")).into_iter().flatten().flatten() {
                let target = fs::read_link(entry.path()).unwrap_or_default();
                assert_ne!(target, Path::new(&file), "worker {process} has it open");
            }
        }
        manager.signal(Signal::SIGTERM);
        manager.wait_gone();
        assert_eq!(state_of(&file), (0, 0, 0o644, 0));
        // With `-d` it is not the process we start that runs in the end.
        if !daemonized {
            manager.start_again();
            assert_eq!(fs::read_to_string(&file).unwrap(), format!("{}\n", manager.pid()));
        }
    }
}

/// H11: if the user may write to the directory there is a warning, and a file of that user's is not taken for root's.
#[test]
fn a_directory_that_the_user_may_write_is_warned_of() {
    if !root() {
        return;
    }
    let gearmand = Gearmand::start();
    let setup = as_nobody(&gearmand);
    chown(setup.dir(), Some(nobody()), None).unwrap();
    let file = setup.dir().join("gm.pid").display().to_string();
    fs::write(&file, "1\n").unwrap();
    chown(&file, Some(nobody()), None).unwrap();
    let mut manager = setup.start();
    let warning = format!("pid file {file}: user nobody (-u) may write to {}", manager.dir().display());
    assert!(manager.wait_log(&warning).contains("WARN"));
    assert_eq!((state_of(&file).0, state_of(&file).2), (0, 0o644));
    // What it may remove it removes; what others have put there it does not.
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    assert!(!Path::new(&file).exists());
    manager.start_again();
    fs::remove_file(&file).unwrap();
    fs::write(&file, "1\n").unwrap();
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
    assert_eq!(fs::read_to_string(&file).unwrap(), "1\n");
}

/// H11, with dpkg's tool: it finds the manager, starts no second one, and stops the one there is.
#[test]
fn start_stop_daemon_believes_it() {
    if !root_with(START_STOP_DAEMON) {
        return;
    }
    let gearmand = Gearmand::start();
    let mut manager = serving(&gearmand, true);
    let (file, pid) = (path(&manager, "gm.pid"), manager.pid());
    assert_eq!(start_stop_daemon(&file, &["--status"]).code(), Some(0));
    let second = start_stop_daemon(&file, &["--start", "--startas", "/bin/false"]);
    assert_eq!(second.code(), Some(1), "{second:?}");
    // Nobody it is, and yet it cannot name another process to be killed.
    let forged =
        run(Command::new("su").args(["-s", "/bin/sh", "nobody", "-c", &format!("echo 1 > {file}")]), b"", DEADLINE);
    assert!(forged.is_ok_and(|forged| forged.code() != Some(0)));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{pid}\n"));
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let stopped = start_stop_daemon(&file, &["--stop", "--retry", "TERM/60"]);
    assert_eq!(stopped.code(), Some(0), "{stopped:?}");
    manager.wait_gone();
    assert_ne!(start_stop_daemon(&file, &["--status"]).code(), Some(0));
    let nothing = start_stop_daemon(&file, &["--stop"]);
    assert_eq!(nothing.code(), Some(1), "it is taken for one that runs: {nothing:?}");
}

/// H11, with the shell functions of init scripts.
#[test]
fn killproc_and_pidofproc_believe_it() {
    if !root_with(INIT_FUNCTIONS) {
        return;
    }
    let gearmand = Gearmand::start();
    let mut manager = serving(&gearmand, true);
    let (file, program) = (path(&manager, "gm.pid"), env!("CARGO_BIN_EXE_gm-native"));
    let script = |what: &str| {
        let text = format!(". {INIT_FUNCTIONS}; {what} -p {file} {program}");
        run(Command::new("sh").args(["-c", &text]), b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"))
    };
    let found = script("pidofproc");
    assert_eq!((found.code(), found.out().trim().to_owned()), (Some(0), manager.pid().to_string()), "{found:?}");
    assert_eq!(script("killproc").code(), Some(0));
    manager.wait_gone();
    assert_ne!(script("pidofproc").code(), Some(0));
}

/// A start that cannot write its pid reports it and leaves no file.
#[test]
fn a_full_disk_is_reported() {
    crate::support::machine::fresh(|| {
        let gearmand = Gearmand::start();
        let setup = as_nobody(&gearmand);
        let run_dir = setup.dir().join("run");
        fs::create_dir(&run_dir).unwrap();
        let args = ["-t", "tmpfs", "-o", "size=4k,mode=755", "gm-native-test"];
        assert!(Command::new("mount").args(args).arg(&run_dir).status().unwrap().success());
        fs::write(run_dir.join("filler"), [0; 4096]).unwrap();
        let mut manager = setup.pid_file("run/gm.pid").prepared();
        let refused = manager.run_to_end();
        assert!(refused.code() == Some(1) && refused.err().contains("cannot write pid file"), "{refused:?}");
        assert_eq!(fs::read_dir(&run_dir).unwrap().count(), 1, "it left a file behind");
        fs::remove_file(run_dir.join("filler")).unwrap();
        manager.start_again();
        wait_serving(&manager, "act");
        let file = run_dir.join("gm.pid");
        assert_eq!(fs::read_to_string(file).unwrap(), format!("{}\n", manager.pid()));
    });
}
