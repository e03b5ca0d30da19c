//! Rows of the contract with GearmanManager's users that the original has no part in.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use nix::sys::signal::Signal;
use nix::unistd::Uid;

use crate::fixture::{gm_native, path, served};
use crate::support::manager::Setup;
use crate::support::program::run;
use crate::support::wait::DEADLINE;

/// H5. `-Z`: values with their origins, variables put in, secrets masked; what is doubtful is on standard error, with its
/// lines and what was meant.
#[test]
fn the_dump_has_origins_and_warnings_and_no_secret() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("workers")).unwrap();
    let ini = "[GearmanManager]\ncount = 2\ncount = 3\nworker_dri = x\nhost = ${TEST_HOST}\n\
               [act]\nsetting.password = hunter2\nsetting.url = mysql://me:hunter3@db/x\n";
    fs::write(dir.path().join("gm.ini"), ini).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_gm-native"));
    command.args(["-c", "gm.ini", "-x", "50", "-Z"]).current_dir(dir.path()).env("TEST_HOST", "10.9.8.7:99");
    let finished = run(&mut command, b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"));
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    let (out, err) = (finished.out(), finished.err());
    let line = |key: &str| out.lines().find(|line| line.trim_start().starts_with(key)).unwrap_or_default();
    assert!(line("count ").contains("= 3") && line("count ").contains("gm.ini:3"), "{out}");
    assert!(line("max_worker_lifetime").contains("50") && line("max_worker_lifetime").contains("-x"), "{out}");
    assert!(line("host").contains("10.9.8.7:99") && line("host").contains("gm.ini:5"), "{out}");
    assert!(line("graceful_shutdown_wait_time").contains("default"), "{out}");
    assert!(!out.contains("hunter") && !err.contains("hunter"), "{out}{err}");
    assert!(err.contains("gm.ini:4") && err.contains("worker_dri") && err.contains("worker_dir"), "{err}");
    assert!(err.lines().any(|line| line.contains("gm.ini:3") && line.contains('2')), "{err}");
    assert!(err.contains("act is named by section [act]") || out.contains("act is named by section [act]"), "{out}");
}

/// Unlinked under a running manager, the pid file hides nothing: the state directory is locked too.
#[test]
fn an_unlinked_pid_file_lets_no_second_one_in() {
    let (_gearmand, manager) = served("");
    fs::remove_file(path(&manager, "gm.pid")).unwrap();
    let refused = gm_native(manager.dir(), &["-c", "gm.ini", "-P", "gm.pid"]);
    assert_eq!(refused.code(), Some(1), "{refused:?}");
    let sentence = refused.err();
    assert!(sentence.contains("state") && sentence.contains(&format!("pid {}", manager.pid())), "{sentence}");
    assert_eq!(manager.status()["state"], "running");
}

/// H3. A link at the pid file's path is not followed as root: it may have been planted.
#[test]
fn a_link_at_the_pid_files_path() {
    if !Uid::effective().is_root() {
        return;
    }
    let mut manager = Setup::new(&["127.0.0.1"]).plugin("act", &crate::fixture::library()).prepared();
    let victim = manager.dir().join("victim");
    fs::write(&victim, "precious\n").unwrap();
    symlink(&victim, manager.dir().join("gm.pid")).unwrap();
    let refused = manager.run_to_end();
    assert!(refused.code() == Some(1) && refused.err().contains("gm.pid"), "{refused:?}");
    assert_eq!(fs::read_to_string(victim).unwrap(), "precious\n");
    manager.wait_gone();
}

/// `-a` and the long names are taken; so is the old letter for every one of them.
#[test]
fn every_option_by_either_name() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("workers")).unwrap();
    fs::write(dir.path().join("gm.ini"), "[GearmanManager]\n").unwrap();
    let short = "-a -c gm.ini -D 2 -h 127.0.0.1 -l x.log -p x_ -P x.pid -r 3 -t 4 -vvv -w workers -x 5 -Z";
    let long = "--auto-update --config gm.ini --count 2 --host 127.0.0.1 --log-file x.log --prefix x_ --pid-file x.pid \
                --max-runs 3 --timeout 4 --verbose --verbose --verbose --worker-dir workers --max-worker-lifetime 5 \
                --dump-config";
    let [short, long] = [short, long].map(|line| {
        let args: Vec<&str> = line.split_whitespace().collect();
        let finished = gm_native(dir.path(), &args);
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        finished.out()
    });
    assert_eq!(short, long);
    assert!(!fs::exists(dir.path().join("x.pid")).unwrap());
}

/// USR1 opens the log only: no worker is replaced.
#[test]
fn usr1_replaces_no_worker() {
    let (_gearmand, manager) = served("count = 2");
    let before = crate::fixture::workers(&manager);
    manager.signal(Signal::SIGUSR1);
    manager.wait_event("log_reopened", |_| true);
    assert_eq!(crate::fixture::workers(&manager), before);
}
