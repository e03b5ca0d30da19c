//! The smaller program that workers run: where it is used, and where it must not be.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Job, acting, gm_native, pid, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Manager;
use crate::support::program::{run, write_program};
use crate::support::wait::DEADLINE;

const OWN: &str = env!("CARGO_BIN_EXE_gm-native");
const WORKER: &str = env!("CARGO_BIN_EXE_gm-native-worker");

/// What a process runs.
fn program(process: Pid) -> PathBuf {
    fs::read_link(format!("/proc/{process}/exe")).unwrap()
}

/// A manager whose program is a copy, beside what `prepare` puts there.
fn copied(gearmand: &Gearmand, prepare: impl FnOnce(&Path)) -> Manager {
    let setup = acting(&[gearmand]).ini("backoff_max = 10ms");
    let installed = setup.dir().join("gm-native");
    write_program(&installed, &fs::read(OWN).unwrap());
    prepare(&setup.dir().join("gm-native-worker"));
    let manager = setup.program(installed).start();
    wait_serving(&manager, "act");
    manager
}

/// How often the log says why workers run the whole program.
fn reasons(manager: &Manager) -> Vec<String> {
    let log = manager.log();
    log.lines().filter(|line| line.contains(": workers run gm-native itself")).map(str::to_owned).collect()
}

#[test]
fn workers_and_the_guardian_run_it() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).start();
    wait_serving(&manager, "act");
    let small = fs::canonicalize(WORKER).unwrap();
    assert_eq!(program(workers(&manager)[0]), small);
    assert_eq!(program(manager.guardian().unwrap()), small);
    assert_eq!(program(manager.pid()), fs::canonicalize(OWN).unwrap());
    assert_eq!(reasons(&manager), Vec::<String>::new());
}

/// As when somebody copies gm-native alone, or only a part of an upgrade.
#[test]
fn without_a_fitting_one_workers_run_gm_native_itself_and_the_log_says_why_once() {
    type Prepare = fn(&Path);
    let cases: [(Prepare, &str); 7] = [
        (|_| (), "there is no "),
        (|at| write_program(at, b"#!/bin/sh\nexit 3\n"), " is of another build"),
        (
            |at| {
                let mut other = fs::read(WORKER).unwrap();
                let (section, _) = build_section(&other);
                other[section] ^= 1;
                write_program(at, &other);
            },
            " is of another build",
        ),
        (
            |at| {
                write_program(at, &fs::read(WORKER).unwrap());
                fs::set_permissions(at, fs::Permissions::from_mode(0o757)).unwrap();
            },
            " can be changed by users who cannot change gm-native",
        ),
        (
            |at| {
                write_program(at, &fs::read(WORKER).unwrap());
                fs::set_permissions(at, fs::Permissions::from_mode(0o600)).unwrap();
            },
            " is not executable for everyone for whom gm-native is",
        ),
        (
            |at| {
                write_program(at, &fs::read(WORKER).unwrap());
                fs::set_permissions(at, fs::Permissions::from_mode(0o4755)).unwrap();
            },
            " has a set-user-ID or set-group-ID bit",
        ),
        (|at| fs::create_dir(at).unwrap(), " is no regular file"),
    ];
    let gearmand = Gearmand::start();
    for (prepare, reason) in cases {
        let manager = copied(&gearmand, prepare);
        assert_eq!(program(workers(&manager)[0]), program(manager.pid()), "{reason}");
        let reasons = reasons(&manager);
        assert!(reasons.len() == 1 && reasons[0].contains(reason), "{reason}: {reasons:?}");
    }
}

/// Where the number of the build is in a program, and how long it is.
fn build_section(program: &[u8]) -> (usize, usize) {
    use object::read::{Object, ObjectSection};
    let file = object::File::parse(program).unwrap();
    let (start, size) = file.section_by_name(".gm_native_build").unwrap().file_range().unwrap();
    (start as usize, size as usize)
}

#[test]
fn one_that_is_replaced_changes_nothing_until_the_manager_is_started_again() {
    let gearmand = Gearmand::start();
    let mut manager = copied(&gearmand, |at| write_program(at, &fs::read(WORKER).unwrap()));
    let installed = manager.dir().join("gm-native-worker");
    let worker = workers(&manager)[0];
    assert_eq!(program(worker), installed);
    let new = installed.with_extension("new");
    write_program(&new, b"#!/bin/sh\nexit 3\n");
    fs::rename(new, &installed).unwrap();
    manager.mark();
    kill(worker, Signal::SIGKILL).unwrap();
    let worker = pid(&manager.wait_event("worker_serving", |_| true));
    assert_eq!(program(worker), PathBuf::from(format!("{} (deleted)", installed.display())));
    assert_eq!(Job::act(&gearmand, "", "pid").result(), worker.to_string().into_bytes());
}

#[test]
fn by_hand_it_says_what_it_is() {
    let finished = run(std::process::Command::new(WORKER).arg("-V"), b"", DEADLINE).unwrap();
    assert_eq!(finished.code(), Some(2));
    assert!(finished.err().contains("gm-native starts it for its workers"), "{}", finished.err());
    let own = gm_native(Path::new("/"), &["-V"]);
    let version = own.out().lines().next().unwrap().trim_start_matches("gm-native ").to_owned();
    assert!(finished.err().contains(&version), "{} and {}", finished.err(), own.out());
}
