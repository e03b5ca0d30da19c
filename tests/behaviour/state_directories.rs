//! Where a manager keeps its files, and who owns them: started as root, with and without `-u`.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, lchown, symlink};
use std::path::{Path, PathBuf};

use nix::sys::signal::Signal;
use nix::unistd::{User, geteuid};

use crate::fixture::{Job, acting, library, make_script, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::machine;
use crate::support::manager::{Manager, Setup};

/// Whether this is root, who may become `nobody`; prints it if not.
pub fn root() -> bool {
    let root = geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root");
    }
    root
}

pub fn nobody() -> u32 {
    User::from_name("nobody").unwrap().unwrap().uid.as_raw()
}

pub fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// A manager of `act` that is to run as nobody, who may read its directory.
pub fn as_nobody(gearmand: &Gearmand) -> Setup {
    let setup = acting(&[gearmand]).args(&["-u", "nobody"]);
    chmod(setup.dir(), 0o755);
    setup
}

/// Owner and mode.
fn whose(path: impl AsRef<Path>) -> (u32, u32) {
    let found = fs::symlink_metadata(path.as_ref()).unwrap();
    (found.uid(), found.mode() & 0o7777)
}

fn stop(manager: &mut Manager) {
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0));
}

/// The place of a manager's state on a machine where there is one.
pub fn usual_place() -> PathBuf {
    let mut all = fs::read_dir("/var/lib/gm-native").unwrap();
    let only = all.next().unwrap().unwrap().path();
    assert!(all.next().is_none(), "there is a second place");
    only
}

/// Runs everything with an umask under which not even its owner may use what is made.
fn closed_umask(setup: Setup) -> Setup {
    let program = setup.dir().join("gm-native");
    let script = format!("#!/bin/sh\numask 0777\nexec '{}' \"$@\"\n", env!("CARGO_BIN_EXE_gm-native"));
    make_script(&program, &script);
    setup.program(program)
}

/// H9: what is above the state is for all to enter, whatever root's umask; the state is that user's, and commands of
/// root's find it.
#[test]
fn on_a_fresh_machine_it_starts_as_another_user() {
    machine::fresh(|| {
        let gearmand = Gearmand::start();
        let mut manager = closed_umask(as_nobody(&gearmand).usual_place()).start();
        wait_serving(&manager, "act");
        assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
        let place = usual_place();
        assert_eq!(whose("/var/lib/gm-native"), (0, 0o755));
        assert_eq!(whose(&place), (nobody(), 0o700));
        assert_eq!(whose(place.join("lock")).0, nobody());
        stop(&mut manager);
        manager.start_again();
        wait_serving(&manager, "act");
        stop(&mut manager);
    });
}

/// H9: after that a start without `-u` is refused in a sentence that says what to do, and changes nothing. The other way
/// round, too.
#[test]
fn a_start_as_another_user_names_the_user_to_start_with() {
    machine::fresh(|| {
        for (first, second, words) in [
            (&["-u", "nobody"][..], &[][..], ["not to uid 0", "start with -u nobody, or run `chown -R root /"]),
            (&[], &["-u", "nobody"], ["belongs to uid 0", "start without -u, or run `chown -R nobody /"]),
        ] {
            let gearmand = Gearmand::start();
            let setup = acting(&[&gearmand]).usual_place();
            chmod(setup.dir(), 0o755);
            let mut manager = setup.args(first).start();
            wait_serving(&manager, "act");
            stop(&mut manager);
            let place = usual_place();
            let before = whose(&place);
            let config = manager.dir().join("gm.ini").display().to_string();
            let refused = crate::fixture::gm_native(manager.dir(), &[&["-c", &config], second].concat());
            let stderr = refused.err();
            assert!(refused.code() == Some(1) && words.iter().all(|words| stderr.contains(words)), "{refused:?}");
            assert!(stderr.contains(&place.display().to_string()), "{stderr}");
            assert_eq!(whose(&place), before);
            manager.start_again();
            wait_serving(&manager, "act");
            stop(&mut manager);
            fs::remove_dir_all(place).unwrap();
        }
    });
}

/// H9, for a place that is named.
#[test]
fn directories_that_are_missing_above_the_state_are_made() {
    if !root() {
        return;
    }
    let gearmand = Gearmand::start();
    let setup = as_nobody(&gearmand).usual_place();
    let state = setup.dir().join("a/b/state");
    let manager = closed_umask(setup.ini(&format!("state_dir = {}", state.display()))).daemonize();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let dir = manager.dir();
    assert_eq!((whose(dir.join("a")), whose(dir.join("a/b"))), ((0, 0o755), (0, 0o755)));
    assert_eq!(whose(&state), (nobody(), 0o700));
}

/// H9: what the user may not do is found before anything starts, and the directory that is closed is named.
#[test]
fn a_state_directory_that_the_user_cannot_reach_is_refused() {
    if !root() {
        return;
    }
    let setup = as_nobody(&Gearmand::start()).usual_place();
    let closed = setup.dir().join("closed");
    fs::create_dir(&closed).unwrap();
    chmod(&closed, 0o700);
    let state = closed.join("state");
    let mut manager = setup.args(&["--state-dir", state.to_str().unwrap()]).prepared();
    let refused = manager.run_to_end();
    let sentence = format!(
        "user \"nobody\" (-u) cannot reach the state directory {}: {} is closed",
        state.display(),
        closed.display()
    );
    assert!(refused.code() == Some(1) && refused.err().contains(&sentence), "{refused:?}");
    assert!(!manager.dir().join("gm.pid").exists(), "the pid file was left behind");
    manager.wait_gone();
}

/// A directory with somebody's files is neither closed to others nor given away.
#[test]
fn another_users_directory_is_left_unchanged() {
    for args in [&[][..], &["-u", "nobody"]] {
        if !args.is_empty() && !root() {
            return;
        }
        let setup = Setup::new(&["127.0.0.1:1"]).plugin("act", &library()).args(args);
        let state = setup.dir().join("state");
        chmod(setup.dir(), 0o755);
        chmod(&state, 0o755);
        fs::write(state.join("precious"), "").unwrap();
        let before = whose(&state);
        let refused = setup.prepared();
        let finished = refused.run_to_end();
        assert!(finished.code() == Some(1) && finished.err().contains("are not gm-native's"), "{finished:?}");
        assert_eq!(whose(&state), before);
    }
}

/// H3, for the directories above: as root nothing is written or given away through another user's link. A log that the
/// user may write is opened with that user's rights, whatever leads to it.
#[test]
fn links_of_others_on_the_way_are_not_followed_as_root() {
    if !root() {
        return;
    }
    let gearmand = Gearmand::start();
    // The option that goes through the link, and whether the manager starts all the same.
    for (option, name, user) in [
        ("-P", "gm.pid", true),
        ("-l", "gm.log", false),
        ("-l", "gm.log", true),
        ("--state-dir", "state", true),
        ("--state-dir", "state", false),
    ] {
        let setup = acting(&[&gearmand]).usual_place();
        chmod(setup.dir(), 0o755);
        let at = |name: &str| setup.dir().join(name);
        let (theirs, victim) = (at("theirs"), at("victim"));
        [&theirs, &victim].iter().for_each(|dir| fs::create_dir(dir).unwrap());
        symlink(&victim, theirs.join("link")).unwrap();
        chown(&theirs, Some(nobody()), None).unwrap();
        lchown(theirs.join("link"), Some(nobody()), None).unwrap();
        let path = theirs.join("link").join(name);
        let (config, state) = (at("gm.ini"), at("state"));
        let manager = setup.prepared();
        let mut args = vec!["-c", config.to_str().unwrap(), option, path.to_str().unwrap()];
        if option != "--state-dir" {
            args.extend(["--state-dir", state.to_str().unwrap()]);
        }
        args.extend(if user { &["-u", "nobody"][..] } else { &[] });
        let refused = crate::fixture::gm_native(manager.dir(), &args);
        let link = format!("{}: it is a symbolic link", theirs.join("link").display());
        assert!(refused.code() == Some(1) && refused.err().contains(&link), "{args:?}: {refused:?}");
        assert_eq!((whose(&victim), fs::read_dir(&victim).unwrap().count()), ((0, 0o755), 0), "{args:?}");
    }
    let setup = as_nobody(&gearmand);
    let (theirs, logs) = (setup.dir().join("theirs"), setup.dir().join("logs"));
    [&theirs, &logs].iter().for_each(|dir| fs::create_dir(dir).unwrap());
    symlink(&logs, theirs.join("link")).unwrap();
    for path in [&theirs, &logs, &theirs.join("link")] {
        lchown(path, Some(nobody()), None).unwrap();
    }
    let log = theirs.join("link/gm.log");
    let manager = setup.log(log.to_str().unwrap()).start();
    wait_serving(&manager, "act");
    assert_eq!(whose(logs.join("gm.log")).0, nobody());
}
