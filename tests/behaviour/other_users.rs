//! Commands that would need another user's manager: they name the user, and the command that works.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::User;
use tempfile::TempDir;

use crate::fixture::{library, open_directory};
use crate::support::child_guard::ChildGuard;
use crate::support::program::{Finished, run};
use crate::support::wait::{DEADLINE, wait_for};

/// A configuration that everybody may read, with a program that everybody may run.
struct Place(TempDir);

impl Place {
    fn new(ini: &str) -> Self {
        Self(open_directory(ini))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    /// The program as a user, whose state is in a directory of its own.
    fn as_user(&self, name: &str, args: &[&str]) -> Command {
        let user = User::from_name(name).unwrap().unwrap();
        let state = self.path().join(format!("state-of-{name}"));
        let _ = fs::create_dir(&state);
        chown(&state, Some(user.uid.as_raw()), None).unwrap();
        let mut command = Command::new(self.path().join("gm-native"));
        command.args(["-c", self.path().join("gm.ini").to_str().unwrap()]).args(args);
        command.current_dir(self.path()).env("XDG_STATE_HOME", state);
        command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        command
    }

    fn ask(&self, name: &str, args: &[&str]) -> Finished {
        run(&mut self.as_user(name, args), b"", DEADLINE).unwrap_or_else(|hung| panic!("{hung:?}"))
    }

    /// A manager of that user, once it answers that user.
    fn manager_of(&self, name: &str) -> ChildGuard {
        let manager = ChildGuard::start("gm-native", &mut self.as_user(name, &[]));
        wait_for("the manager to answer", DEADLINE, || self.ask(name, &["status"]).status.success().then_some(()));
        manager
    }
}

/// The message of a command that may not, or cannot, ask.
#[track_caller]
fn refusal(finished: &Finished, code: i32, parts: &[&str]) -> String {
    let sentence = finished.err();
    assert_eq!((finished.code(), sentence.lines().count()), (Some(code), 1), "{finished:?}");
    for part in parts {
        assert!(sentence.contains(part), "there is no {part:?} in {sentence}");
    }
    sentence
}

/// What the command prints that stands in backquotes, run by a shell. The last of several; root needs no sudo for it.
#[track_caller]
fn as_printed(sentence: &str) -> String {
    let printed = sentence.trim_end().rsplit('`').nth(1).unwrap();
    let done = run(Command::new("sh").args(["-c", printed.trim_start_matches("sudo ")]), b"", DEADLINE).unwrap();
    assert_eq!(done.code(), Some(0), "{printed}: {done:?}");
    done.out()
}

/// H13: root's default place and a user's are not the same, and each finds the other's manager in words.
#[test]
fn a_manager_that_another_user_has_started_is_named() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let place = Place::new("");
    let _manager = place.manager_of("nobody");
    let sentence = refusal(&place.ask("root", &["status"]), 3, &["a manager of user nobody (uid 65534)", "run `/"]);
    let (_, socket) = sentence.trim_end().trim_end_matches('`').rsplit_once("--control ").unwrap();
    assert!(as_printed(&sentence).contains("pid "), "root may ask it");
    let sudo = "sudo -u nobody /";
    let sentence = refusal(&place.ask("daemon", &["status"]), 3, &["of user nobody (uid 65534)", sudo, socket]);
    assert!(as_printed(&sentence).contains("pid "));
    // The manager runs: that this user cannot ask it must not page anyone.
    for place_of_socket in [&[][..], &["--control", socket]] {
        let checked = place.ask("daemon", &[place_of_socket, &["status", "--check"]].concat());
        assert!(checked.code() == Some(3) && checked.out().starts_with("UNKNOWN: "), "{checked:?}");
        assert!(checked.out().contains(sudo), "it says what to do: {checked:?}");
    }
    let sentence = refusal(
        &place.ask("daemon", &["--control", socket, "events"]),
        4,
        &["belongs to user nobody (uid 65534), and this is user daemon (uid 1)", sudo],
    );
    assert!(as_printed(&sentence).contains("starts as"));
}

/// H13: where the configuration names the place it is the same for all, and closed.
#[test]
fn a_directory_of_root_is_reported_as_roots() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    for (ini, owner, code) in [
        ("state_dir = DIR/state", "root (uid 0)", 4),
        ("state_dir = DIR/state\ncontrol = DIR/gm.sock", "root (uid 0)", 4),
        ("state_dir = DIR/state\nuser = daemon", "daemon (uid 1)", 4),
    ] {
        let place = Place::new(ini);
        let _manager = place.manager_of("root");
        for verb in ["status", "versions", "events"] {
            let finished = place.ask("nobody", &[verb]);
            let belongs = format!("belongs to user {owner}, and this is user nobody (uid 65534)");
            let sentence = refusal(&finished, code, &[&belongs, "sudo "]);
            assert!(!sentence.to_lowercase().contains("permission denied"), "{sentence}");
        }
    }
    let place = Place::new("state_dir = DIR/state\npid_file = DIR/run/gm.pid\nlog_file = DIR/run/gm.log");
    fs::create_dir(place.path().join("run")).unwrap();
    let _manager = place.manager_of("root");
    refusal(&place.ask("nobody", &[]), 1, &["gm.log", "it, or its directory, belongs to user root (uid 0)"]);
}

/// H15: whoever may write reports cannot have root run their code with root's rights.
#[test]
fn root_replays_a_job_as_the_user_to_whom_the_report_belongs() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return;
    }
    let place = Place::new("state_dir = DIR/state");
    fs::set_permissions(place.path(), Permissions::from_mode(0o777)).unwrap();
    let (state, notes) = (place.path().join("state"), place.path().join("notes"));
    let workload = format!("note {}", notes.display());
    let report = serde_json::json!({
        "format": 1, "function": "act", "version": "0123456789ab", "library": "/nowhere/else.so",
        "job": {"workload_size": workload.len(), "workload_kept": true},
    });
    let version = state.join("store/0123456789ab");
    let crashes = state.join("crashes");
    fs::create_dir_all(&version).unwrap();
    fs::create_dir_all(&crashes).unwrap();
    fs::copy(library(), version.join("act.so")).unwrap();
    fs::write(crashes.join("20261124-1.json"), report.to_string()).unwrap();
    fs::write(crashes.join("20261124-1.workload"), &workload).unwrap();
    for path in [&state, &crashes] {
        chown(path, Some(65534), Some(65534)).unwrap();
    }
    let done = place.ask("root", &["crashes", "replay", "20261124-1"]);
    assert_eq!(done.code(), Some(0), "{done:?}");
    assert!(done.err().contains("runs as user nobody (uid 65534)"), "{done:?}");
    assert_eq!(notes.metadata().unwrap().uid(), 65534);
}
