//! What other users of the machine may not do or see.

use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::{Job, library, path, served, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::wait::{DEADLINE, wait_for};

fn setup() -> Setup {
    Setup::new(&["127.0.0.1:1"]).plugin("act", &library())
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// H1: whatever is sent to the control socket, jobs go on, and a client that asks sensibly is answered as soon as the silent ones
/// have met their deadline. What one connection may cost, and that another user has none: manager/control/server.
#[test]
fn many_clients_of_the_control_socket_delay_nobody() {
    let (gearmand, manager) = served("");
    let socket = manager.dir().join("state/control.sock");
    let connect = || {
        let stream = UnixStream::connect(&socket).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.set_write_timeout(Some(DEADLINE)).unwrap();
        stream
    };
    let mut garbage = connect();
    garbage.write_all(b"\xff\0\x1b[2J garbage\n").unwrap();
    let mut answer = [0; 4096];
    let length = garbage.read(&mut answer).unwrap();
    assert!(String::from_utf8_lossy(&answer[..length]).contains("bad_request"));
    // A line without end is cut off: a gigabyte is never taken.
    let mut endless = connect();
    let taken = (0..1 << 18).take_while(|_| endless.write_all(&[b'x'; 4096]).is_ok()).count();
    assert!(taken < 1 << 10, "{taken} blocks were taken");
    let silent: Vec<UnixStream> = (0..1000).map(|_| connect()).collect();
    for number in 0..50 {
        let number = number.to_string();
        assert_eq!(Job::act(&gearmand, "", &format!("say {number}")).result(), number.into_bytes());
    }
    manager.wait_status("an answer among a thousand that say nothing", |status| Some(status["pid"].clone()));
    drop(silent);
}

/// H2: as root, or with `strict_permissions`, code that others may write is refused, with path and mode.
#[test]
fn a_library_that_others_may_write_is_refused() {
    for (name, mode, of) in
        [("workers", 0o777, "workers"), ("workers/act.so", 0o666, "workers/act.so"), ("", 0o770, "")]
    {
        let setup = setup().ini("strict_permissions = 1");
        let (place, named) = (setup.dir().join(name), setup.dir().join(of).display().to_string());
        chmod(&place, mode);
        let refused = setup.args(&["--strict"]).run_to_end();
        let stderr = refused.err();
        assert_eq!((refused.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
        let named = named.trim_end_matches('/');
        assert!(stderr.contains(&format!("{named} is writable by")), "{stderr}");
        assert!(stderr.contains(&format!("(mode {mode:04o})")), "{stderr}");
    }
}

/// H2: root's manager, and libraries below a directory that is a user's: one line for all of them, and what to do.
#[test]
fn libraries_below_a_users_directory_are_refused_in_one_line() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let names: Vec<String> = (0..20).map(|n| format!("x{n:02}")).collect();
    let setup = names.iter().fold(setup(), |setup, name| setup.plugin(name, &library())).verbosity("-v");
    chown(setup.dir(), Some(65534), Some(65534)).unwrap();
    let place = setup.dir().display().to_string();
    let mut manager = setup.args(&["--strict"]).prepared();
    let refused = manager.run_to_end();
    let stderr = refused.err();
    assert_eq!((refused.code(), stderr.lines().count()), (Some(1), 1), "{stderr}");
    let cause = format!("cannot be trusted: {place} belongs to uid 65534, not to root; start with -u nobody, or keep");
    assert!(stderr.contains("act, x00 and 19 more functions: ") && stderr.contains(&cause), "{stderr}");
    assert_eq!(stderr.matches(&cause).count(), 1, "{stderr}");
    let log = manager.log();
    assert_eq!(log.matches("cannot be trusted").count(), 2, "when the first is refused, and at the end: {log}");

    // As the message says; what the first start made is root's, which is reported next.
    manager.add_args(&["-u", "nobody"]);
    let refused = manager.run_to_end().err();
    let chown =
        refused.split('`').find(|part| part.starts_with("chown -R nobody ")).unwrap_or_else(|| panic!("{refused}"));
    assert!(Command::new("sh").args(["-c", chown]).status().unwrap().success(), "{chown}");
    manager.start_again();
    manager.wait_event("function_found", |event| event["function"] == "act");
    assert!(!manager.events().iter().any(|event| event["reason"].to_string().contains("cannot be trusted")));
}

/// H3: as root nothing is written through a link that somebody planted, wherever root's rights open something.
#[test]
fn planted_links_are_not_followed_as_root() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    for name in ["gm.pid", "gm.log", "state/lock", "state/control.sock"] {
        let setup = setup();
        let victim = setup.dir().join("victim");
        fs::write(&victim, "precious\n").unwrap();
        symlink(&victim, setup.dir().join(name)).unwrap();
        let refused = setup.prepared();
        let finished = refused.run_to_end();
        assert!(finished.code() == Some(1) && finished.err().contains(name), "{name}: {finished:?}");
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious\n", "{name}");
    }
    for name in ["state", "state/store"] {
        let setup = setup();
        let elsewhere = setup.dir().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        chmod(&elsewhere, 0o755);
        let place = setup.dir().join(name);
        let _ = fs::remove_dir(&place);
        symlink(&elsewhere, &place).unwrap();
        let refused = setup.prepared();
        let finished = refused.run_to_end();
        assert!(finished.code() == Some(1) && finished.err().contains(place.to_str().unwrap()), "{name}: {finished:?}");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 0, "{name}");
        assert_eq!(fs::metadata(&elsewhere).unwrap().mode() & 0o777, 0o755, "{name}");
    }
}

/// H5: a secret reaches the plugin and nothing that is read by others: at the highest verbosity, through a crash, and
/// when it changes.
#[test]
fn a_secret_is_in_no_log_event_or_status() {
    let gearmand = Gearmand::start();
    let ini = |word: &str| format!("[act]\nsetting.password = {word}\nsetting.url = mysql://me:{word}@db/x\n");
    let setup = Setup::new(&[&gearmand.server()]).plugin("act", &library()).verbosity("-vvvvv");
    let manager = setup.ini(&ini("hunter2")).start();
    wait_serving(&manager, "act");
    Job::act(&gearmand, "", &format!("first {} segv", path(&manager, "mark"))).result();
    manager.wait_event("worker_died", |_| true);
    manager.configure(&ini("hunter3"));
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    wait_for("the change in the log", DEADLINE, || manager.log().contains("setting.password").then_some(()));
    let events: String = manager.events().iter().map(ToString::to_string).collect();
    for (place, text) in [("log", manager.log()), ("events", events), ("status", manager.status().to_string())] {
        assert!(!text.contains("hunter"), "in the {place}: {text}");
    }
}

/// H8: what the manager keeps is its own, whatever the modes were before; a state directory of somebody else is refused.
#[test]
fn what_the_manager_keeps_is_closed_to_others() {
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[&gearmand.server()]).plugin("act", &library()).prepared();
    let at = |name: &str| manager.dir().join(name);
    fs::create_dir(at("state/store")).unwrap();
    chmod(&at("state"), 0o777);
    chmod(&at("state/store"), 0o777);
    let mut manager = manager;
    manager.start_again();
    wait_serving(&manager, "act");
    let at = |name: &str| manager.dir().join(name);
    let mode = |path: &Path| fs::symlink_metadata(path).unwrap().mode() & 0o777;
    let private = [("state", 0o700), ("state/store", 0o700), ("state/control.sock", 0o600)];
    for (name, expected) in private {
        assert_eq!(mode(&at(name)), expected, "{name}");
    }
    assert_eq!(mode(&at("gm.log")) & 0o007, 0, "at -vvvv it holds workloads");
    let versions: Vec<_> = fs::read_dir(at("state/store")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let stored: Vec<_> = versions.iter().map(|version| version.join("act.so")).filter(|file| file.exists()).collect();
    assert_eq!(stored.iter().map(|file| mode(file)).collect::<Vec<_>>(), [0o500]);
    if nix::unistd::geteuid().is_root() {
        manager.signal(Signal::SIGTERM);
        manager.wait_exit();
        let state = manager.dir().join("state");
        chown(&state, Some(65534), None).unwrap();
        let refused = manager.run_to_end();
        let stderr = refused.err();
        assert!(refused.code() == Some(1) && stderr.contains("belongs to uid 65534, not to uid 0"), "{refused:?}");
    }
}
