//! Files removed while the manager runs: its pid file, its state, its control socket.

use std::fs;
use std::os::unix::fs::symlink;

use nix::sys::signal::{Signal, kill};

use crate::fixture::{Job, acting, gm_native, path, serving, wait_serving};
use crate::state_directories::{as_nobody, chmod, root};
use crate::support::gearmand::Gearmand;
use crate::support::wait::{DEADLINE, wait_for};

/// M5, M7: what may be made again is, at the slow tick or at a signal that has the manager look after its files: jobs go
/// on, a library that is gone from the store is stored again, commands find the manager, and no second one starts.
#[test]
fn what_is_removed_is_recreated_and_reported_once() {
    for tick in [true, false] {
        let gearmand = Gearmand::start();
        let interval = if tick { "rescan_interval = 200ms" } else { "rescan_interval = 0" };
        let manager = acting(&[&gearmand]).ini(interval).start();
        wait_serving(&manager, "act");
        let (pid_file, state) = (path(&manager, "gm.pid"), path(&manager, "state"));
        let socket = format!("{state}/control.sock");
        let pid = format!("{}\n", manager.pid());
        let looks = |signal| {
            if !tick {
                manager.signal(signal);
            }
        };
        fs::remove_file(&pid_file).unwrap();
        looks(Signal::SIGUSR1);
        wait_for("the pid file", DEADLINE, || (fs::read_to_string(&pid_file).ok()? == pid).then_some(()));
        fs::remove_file(&socket).unwrap();
        looks(Signal::SIGUSR1);
        wait_for("the control socket", DEADLINE, || fs::symlink_metadata(&socket).ok());
        wait_serving(&manager, "act");
        // At once, unlike a removal entry by entry.
        fs::rename(&state, format!("{state}.away")).unwrap();
        looks(Signal::SIGHUP);
        wait_for("the state", DEADLINE, || fs::symlink_metadata(&socket).ok());
        let workers = serving(&manager);
        workers.iter().for_each(|worker| kill(*worker, Signal::SIGKILL).unwrap());
        assert_eq!(Job::act(&gearmand, "", "say again").result(), b"again");
        let config = path(&manager, "gm.ini");
        let second = gm_native(manager.dir(), &["-c", &config, "-P", "second.pid", "-l", "second.log"]);
        assert!(second.code() == Some(1) && second.err().contains(&format!("(pid {})", manager.pid())), "{second:?}");
        // The state takes its socket with it.
        for (what, times) in [("pid file", 1), ("state directory", 1), ("control socket", 2)] {
            let lines = manager.log().lines().filter(|line| line.contains(what) && line.contains("made again")).count();
            assert_eq!(lines, times, "{what}: {}", manager.log());
        }
    }
}

/// M5, H11: what root alone may make, or what others have by now, is reported once.
#[test]
fn what_cannot_be_recreated_is_reported_once() {
    if !root() {
        return;
    }
    let gearmand = Gearmand::start();
    let manager = as_nobody(&gearmand).ini("rescan_interval = 100ms").start();
    wait_serving(&manager, "act");
    let (pid_file, state) = (path(&manager, "gm.pid"), path(&manager, "state"));
    fs::remove_file(&pid_file).unwrap();
    manager.wait_log("only root may make it again");
    fs::remove_file(format!("{state}/control.sock")).unwrap();
    fs::write(format!("{state}/control.sock"), "in the way").unwrap();
    manager.wait_log("was replaced by something else");
    fs::rename(&state, format!("{state}.away")).unwrap();
    manager.wait_log("was removed or replaced, and cannot be made or used: Permission denied");
    fs::write(&state, "").unwrap();
    manager.wait_log("was removed or replaced, and is no directory");
    assert_eq!(Job::act(&gearmand, "", "say on").result(), b"on");
    assert!(!fs::exists(&pid_file).unwrap());
    assert_eq!(manager.log().matches("only root may make it again").count(), 1);
    fs::remove_file(&state).unwrap();
    fs::create_dir(&state).unwrap();
    let nobody = crate::state_directories::nobody();
    std::os::unix::fs::chown(&state, Some(nobody), None).unwrap();
    manager.wait_log("it was made again");
    wait_serving(&manager, "act");
}

/// H13, M7: while another user's manager runs the place is its, and not to be given away.
#[test]
fn the_directory_of_another_users_manager_is_reported_as_its() {
    if !root() {
        return;
    }
    let gearmand = Gearmand::start();
    let manager = as_nobody(&gearmand).start();
    wait_serving(&manager, "act");
    let config = path(&manager, "gm.ini");
    for second in [&[][..], &["-u", "daemon"]] {
        let args = [&["-c", &config, "-P", "second.pid", "-l", "second.log"], second].concat();
        let refused = gm_native(manager.dir(), &args);
        let stderr = refused.err();
        let holder = format!("another gm-native (pid {}) uses state directory", manager.pid());
        assert!(refused.code() == Some(1) && stderr.contains(&holder), "{refused:?}");
    }
}

/// What has the name of a library and leads nowhere, or where the user may not go, is reported without a request.
#[test]
fn an_unreachable_library_is_reported() {
    let gearmand = Gearmand::start();
    let setup = if root() { as_nobody(&gearmand) } else { acting(&[&gearmand]) };
    let setup = setup.quiet();
    let (hidden, workers) = (setup.dir().join("hidden"), setup.dir().join("workers"));
    fs::create_dir(&hidden).unwrap();
    fs::copy(crate::fixture::library(), hidden.join("hidden.so")).unwrap();
    chmod(&hidden, 0o000);
    symlink(hidden.join("hidden.so"), workers.join("hidden.so")).unwrap();
    symlink("nowhere", workers.join("gone.so")).unwrap();
    let manager = setup.start();
    wait_serving(&manager, "act");
    manager.wait_log("hidden.so cannot be inspected: Permission denied");
    manager.wait_log("gone.so is a link to nowhere, which does not exist");
    let plan = gm_native(manager.dir(), &["-c", &path(&manager, "gm.ini"), "-Z"]);
    assert!(plan.err().contains("gone.so is a link to nowhere, which does not exist"), "{plan:?}");
    chmod(&hidden, 0o755);
}
