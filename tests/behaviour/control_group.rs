//! `control_group`: who may look at a manager of another user's, and that looking is all.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;

use crate::fixture::open_directory;
use crate::support::child_guard::ChildGuard;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};

/// The group of `games` in Debian: nobody and daemon are no members.
const GROUP: &str = "games";
const DAEMON: u32 = 1;
const NOBODY: u32 = 65534;

/// A manager's directory, which everybody may enter.
struct Place(tempfile::TempDir);

impl Place {
    fn new(ini: &str) -> Self {
        Self(open_directory(&format!("state_dir = DIR/state\n{ini}")))
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn socket(&self) -> PathBuf {
        self.at("state.group/read-only.sock")
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(self.at("gm-native"));
        command.arg("-c").arg(self.at("gm.ini")).args(args).current_dir(self.0.path());
        command
    }

    /// The command as a user with this one group.
    fn ask(&self, uid: u32, gid: u32, args: &[&str]) -> Finished {
        run(self.command(args).uid(uid).gid(gid), b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"))
    }

    fn manager(&self) -> ChildGuard {
        let manager = ChildGuard::start("gm-native", &mut self.command(&[]));
        wait_for("the manager to answer", DEADLINE, || {
            let asked = run(&mut self.command(&["status"]), b"", DEADLINE).unwrap();
            asked.status.success().then_some(())
        });
        manager
    }
}

fn is_root() -> bool {
    let is_root = nix::unistd::geteuid().is_root();
    if !is_root {
        eprintln!("skipped: needs root");
    }
    is_root
}

fn gid() -> u32 {
    nix::unistd::Group::from_name(GROUP).unwrap().unwrap().gid.as_raw()
}

fn owner(path: &Path) -> (u32, u32, u32) {
    let found = path.symlink_metadata().unwrap();
    (found.uid(), found.gid(), found.mode() & 0o7777)
}

/// H18.
#[test]
fn its_members_may_look_and_change_nothing() {
    if !is_root() {
        return;
    }
    for (ini, user) in [("", 0), ("user = daemon\n", DAEMON)] {
        let place = Place::new(&format!("{ini}control_group = {GROUP}"));
        let _manager = place.manager();
        assert_eq!(owner(&place.at("state.group")), (user, gid(), 0o2750));
        assert_eq!(owner(&place.socket()), (user, gid(), 0o660));
        for args in [&["status"][..], &["status", "--json"], &["events"], &["versions"]] {
            let looked = place.ask(NOBODY, gid(), args);
            assert_eq!(looked.code(), Some(0), "{args:?}: {looked:?}");
            let refused = place.ask(NOBODY, NOBODY, args);
            assert_eq!(refused.code(), Some(4), "{args:?}: {refused:?}");
        }
        let checked = place.ask(NOBODY, gid(), &["status", "--check=live"]);
        assert_eq!(checked.code(), Some(0), "{checked:?}");
        for args in [
            &["stop"][..],
            &["reload"],
            &["restart", "all"],
            &["pause", "act"],
            &["resume", "act"],
            &["scale", "act", "3"],
            &["kill", "1"],
            &["log-level", "5"],
            &["retry", "act"],
            &["rollback", "act"],
        ] {
            let refused = place.ask(NOBODY, gid(), args);
            let sentence = refused.err();
            assert!(refused.code() == Some(4) && sentence.contains("as a member of its control_group"), "{refused:?}");
        }
        let managers = place.ask(NOBODY, gid(), &["managers", "--json"]);
        let sockets: Vec<serde_json::Value> = serde_json::from_str(&managers.out()).unwrap();
        let control = place.at("state/control.sock");
        let ours: Vec<_> = sockets.iter().filter(|one| one["control"] == control.to_str().unwrap()).collect();
        assert_eq!(ours.len(), 1, "{managers:?}");
        let none = run(&mut place.command(&["events"]), b"", DEADLINE).unwrap().out();
        assert!(!none.contains("requested by"), "nothing was begun: {none}");
    }
}

/// H18: clients that take all connections of the group's socket, or wait in its queue, are in nobody else's way.
#[test]
fn a_full_socket_of_the_group_delays_nobody_else() {
    if !is_root() {
        return;
    }
    let place = Place::new(&format!("control_group = {GROUP}"));
    let _manager = place.manager();
    // Those that follow the events stay.
    let connect = |_| {
        let mut stream = UnixStream::connect(place.socket()).unwrap();
        let _ = stream.write_all(b"{\"v\":1,\"request\":\"events\",\"follow\":true}\n");
        stream
    };
    let _all: Vec<UnixStream> = (0..100).map(connect).collect();
    let busy = place.ask(NOBODY, gid(), &["status"]);
    assert!(busy.code() == Some(4) && busy.err().contains("16 connections are open"), "{busy:?}");
    let asked = run(&mut place.command(&["status"]), b"", DEADLINE).unwrap();
    assert_eq!(asked.code(), Some(0), "{asked:?}");
}

/// H18: what is in the way of the directory is left as it is, and the start refused.
#[test]
fn what_is_in_the_way_of_the_directory_refuses_the_start() {
    if !is_root() {
        return;
    }
    let refused = |prepare: &dyn Fn(&Place), ini: &str, code: i32, text: &str| {
        let place = Place::new(ini);
        prepare(&place);
        let started = run(&mut place.command(&[]), b"", DEADLINE).unwrap();
        assert!(started.code() == Some(code) && started.err().contains(text), "{text}: {started:?}");
        place
    };
    let ini = format!("user = daemon\ncontrol_group = {GROUP}");
    let place = refused(
        &|place| {
            fs::create_dir(place.at("elsewhere")).unwrap();
            symlink(place.at("elsewhere"), place.at("state.group")).unwrap();
        },
        &ini,
        1,
        "is no directory",
    );
    assert_eq!(owner(&place.at("elsewhere")).0, 0, "a link is not followed");
    let place = refused(
        &|place| {
            fs::create_dir(place.at("state.group")).unwrap();
            chown(place.at("state.group"), Some(NOBODY), Some(NOBODY)).unwrap();
        },
        &ini,
        1,
        "belongs to uid 65534",
    );
    assert_eq!(owner(&place.at("state.group")).0, NOBODY);
    refused(&|_| {}, "control_group = no-such-group", 2, "gm.ini:5: there is no group \"no-such-group\"");
}

/// H18: another user's socket at the place is not taken for the manager's.
#[test]
fn a_socket_that_somebody_else_has_made_is_not_asked() {
    if !is_root() {
        return;
    }
    let place = Place::new("");
    let _manager = place.manager();
    let dir = place.at("state.group");
    fs::create_dir(&dir).unwrap();
    chown(&dir, Some(NOBODY), Some(gid())).unwrap();
    let script = "my $s = IO::Socket::UNIX->new(Local => $ARGV[0], Listen => 5) or die; chmod 0666, $ARGV[0]; \
                  while (my $c = $s->accept) { <$c>; print $c qq({\"v\":1,\"ok\":\"all is well\"}\\n) }";
    let mut perl = Command::new("perl");
    perl.args(["-MIO::Socket::UNIX", "-e", script]).arg(place.socket()).uid(NOBODY).gid(gid());
    let _fake = ChildGuard::start("perl", &mut perl);
    wait_for("the socket", DEADLINE, || UnixStream::connect(place.socket()).ok());
    let refused = place.ask(DAEMON, gid(), &["status", "--check=live"]);
    assert_eq!(refused.code(), Some(3), "{refused:?}");
    assert!(!refused.out().contains("all is well"), "{refused:?}");
}

/// H18: the key holds until the next start, and the socket is made again if it was removed.
#[test]
fn a_reload_does_not_change_the_group_and_the_socket_is_made_again() {
    if !is_root() {
        return;
    }
    let place = Place::new(&format!("user = daemon\nrescan_interval = 100ms\ncontrol_group = {GROUP}"));
    let manager = place.manager();
    fs::remove_file(place.socket()).unwrap();
    wait_for("the socket", DEADLINE, || place.socket().exists().then_some(()));
    assert_eq!(owner(&place.socket()), (DAEMON, gid(), 0o660));
    let ini = fs::read_to_string(place.at("gm.ini")).unwrap().replace(GROUP, "daemon");
    fs::write(place.at("gm.ini"), ini).unwrap();
    manager.signal(Signal::SIGHUP);
    wait_for("a warning", DEADLINE, || {
        let events = run(&mut place.command(&["events"]), b"", DEADLINE).unwrap().out();
        let is_it = |line: &&str| line.contains("control_group") && line.contains("the old value holds");
        events.lines().find(is_it).map(drop)
    });
    assert_eq!(owner(&place.socket()), (DAEMON, gid(), 0o660));
    assert_eq!(place.ask(NOBODY, gid(), &["status"]).code(), Some(0));
}
