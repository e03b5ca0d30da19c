//! Releases that a link switches between, and the manager that stays the same.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::fixture::{acting, library, of, wait_serving};
use crate::state_directories::usual_place;
use crate::support::child_guard::ChildGuard;
use crate::support::gearmand::Gearmand;
use crate::support::machine;
use crate::support::manager::Manager;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};

/// Makes `current` lead to another release, as deploying tools do.
fn swap(dir: &Path, release: &str) {
    let next = dir.join("next");
    symlink(Path::new("releases").join(release), &next).unwrap();
    fs::rename(next, dir.join("current")).unwrap();
}

/// A manager that was started as `-c DIR/current/gm.ini`, at its usual place, and a second release with another ini.
fn released(gearmand: &Gearmand) -> Manager {
    let setup = acting(&[gearmand]).usual_place().config("current/gm.ini");
    let setup = setup.ini("canary_seconds = 100ms\ncanary_jobs = 1");
    for release in ["1", "2"] {
        fs::create_dir_all(setup.dir().join("releases").join(release)).unwrap();
    }
    swap(setup.dir(), "1");
    let manager = setup.start();
    let releases = manager.dir().join("releases");
    let ini = fs::read_to_string(releases.join("1/gm.ini")).unwrap();
    fs::write(releases.join("2/gm.ini"), format!("{ini}count = 2\n")).unwrap();
    wait_serving(&manager, "act");
    manager
}

/// Runs gm-native with a relative path, from a working directory that a shell calls `pwd`, or nothing.
#[track_caller]
fn from(here: &Path, pwd: Option<&Path>, args: &[&str]) -> Finished {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    command.args(args).current_dir(here).env_remove("PWD");
    command.envs(pwd.map(|pwd| ("PWD", pwd)));
    run(&mut command, b"", DEADLINE).unwrap_or_else(|hung| panic!("gm-native {args:?} hung: {hung:?}"))
}

#[track_caller]
fn refused(finished: &Finished, pid: Pid) {
    let stderr = finished.err();
    assert!(finished.code() == Some(1) && stderr.contains(&format!("(pid {pid})")), "{finished:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

fn asked(finished: &Finished) -> Option<u64> {
    serde_json::from_slice::<serde_json::Value>(&finished.stdout).ok()?["pid"].as_u64()
}

/// H10: every command finds the manager after the next release, no second one starts, and what was pinned stays so when
/// the new release is started.
#[test]
fn after_the_next_release_the_manager_is_found_and_no_second_one_starts() {
    machine::fresh(|| {
        let gearmand = Gearmand::start();
        let mut manager = released(&gearmand);
        let (pid, first) = (manager.pid(), manager.status());
        let place = usual_place();
        let mut next = fs::read(library()).unwrap();
        next.push(b'2');
        let part = manager.dir().join("part");
        fs::write(&part, next).unwrap();
        fs::rename(part, manager.worker_dir().join("act.so")).unwrap();
        let version = |status: &serde_json::Value| of(status, "functions", "name", "act").unwrap()["version"].clone();
        manager.wait_status("the second version", |status| (version(status) != version(&first)).then_some(()));

        swap(manager.dir(), "2");
        assert_eq!(manager.status()["pid"], pid.as_raw());
        for (verb, args) in [("versions", &[][..]), ("events", &[]), ("retry", &["act"]), ("rollback", &["act"])] {
            let done = manager.command(verb, args);
            assert_eq!(done.code(), Some(0), "{verb}: {done:?}");
        }
        manager
            .wait_status("the first version to be pinned", |status| (version(status) == version(&first)).then_some(()));

        let dir = manager.dir().to_owned();
        let path = |name: &str| dir.join(name).display().to_string();
        for config in ["current/gm.ini", "releases/2/gm.ini", "releases/1/../2/gm.ini"].map(path) {
            refused(&crate::fixture::gm_native(&dir, &["-c", &config]), pid);
            let finished = crate::fixture::gm_native(&dir, &["status", "--json", "-c", &config]);
            assert_eq!(asked(&finished), Some(pid.as_raw() as u64), "{finished:?}");
        }
        // From within the release, by the link and by what it leads to; a shell may call that place as it likes.
        let (here, current) = (dir.join("releases/2"), dir.join("current"));
        for pwd in [Some(current.as_path()), None, Some(Path::new("/")), Some(Path::new("current"))] {
            refused(&from(&here, pwd, &["-c", "gm.ini"]), pid);
            let finished = from(&here, pwd, &["status", "--json", "-c", "./gm.ini"]);
            assert_eq!(asked(&finished), Some(pid.as_raw() as u64), "{pwd:?}: {finished:?}");
        }
        assert_eq!(usual_place(), place, "a refused one left something behind");

        manager.signal(Signal::SIGHUP);
        manager.wait_status("the new release's workers", |status| {
            (status["workers"].as_array()?.len() == 2).then_some(())
        });
        manager.signal(Signal::SIGTERM);
        manager.wait_exit();
        manager.start_again();
        wait_serving(&manager, "act");
        let status = manager.status();
        assert_eq!((version(&status), &status["instance"]), (version(&first), &first["instance"]));
        let note = of(&status, "functions", "name", "act").unwrap()["note"].as_str().unwrap_or_default().to_owned();
        assert!(note.contains("pinned"), "{note}");
        assert_eq!(usual_place(), place);
    });
}

/// Files of one name in two directories are two managers.
#[test]
fn two_files_of_one_name_are_two_managers() {
    machine::fresh(|| {
        let gearmand = Gearmand::start();
        let [one, other] = [0, 1].map(|_| acting(&[&gearmand]).usual_place().start());
        for manager in [&one, &other] {
            assert_eq!(manager.status()["pid"], manager.pid().as_raw());
        }
        assert_ne!(one.status()["instance"], other.status()["instance"]);
    });
}

/// Without a file it is the worker directories that count.
#[test]
fn without_a_file_the_worker_directories_are_the_manager() {
    machine::fresh(|| {
        let dir = tempfile::tempdir().unwrap();
        let workers = |release: &str| dir.path().join(release).join("workers");
        for release in ["1", "2"] {
            fs::create_dir_all(workers("releases").parent().unwrap().join(release).join("workers")).unwrap();
        }
        swap(dir.path(), "1");
        let of = |path: PathBuf| path.display().to_string();
        let current = of(workers("current"));
        let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
        command.args(["-w", &current, "-h", "127.0.0.1:1"]).current_dir(dir.path());
        let manager = ChildGuard::start("gm-native", &mut command);
        let status = || crate::fixture::gm_native(dir.path(), &["status", "--json", "-w", &current]);
        wait_for("the manager to answer", DEADLINE, || asked(&status()));
        for path in [current.clone(), of(workers("releases/1"))] {
            refused(&crate::fixture::gm_native(dir.path(), &["-w", &path]), manager.pid());
        }
        swap(dir.path(), "2");
        assert_eq!(asked(&status()), Some(manager.pid().as_raw() as u64));
        for path in [current.clone(), of(workers("releases/2"))] {
            refused(&crate::fixture::gm_native(dir.path(), &["-w", &path]), manager.pid());
        }
    });
}

/// H10: a release that is on the way to the configuration only to come back from it may be removed, as old ones are.
#[test]
fn a_release_that_no_path_needs_may_be_removed() {
    machine::fresh(|| {
        let gearmand = Gearmand::start();
        let manager = released(&gearmand);
        let here = manager.dir().join("releases/1");
        // Not by its being the same file: the plan names the place.
        let plan = from(&here, Some(&here), &["-Z", "-c", "../../current/gm.ini"]);
        assert!(plan.out().contains(usual_place().to_str().unwrap()), "{plan:?}");
    });
}
