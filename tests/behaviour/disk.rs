//! Files of the manager that change while it runs: its program, its state, its store.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::fixture::{Job, acting, library, of, pid, served, wait_serving, workers};
use crate::support::gearmand::Gearmand;
use crate::support::program::write_program;

/// What a process runs, also when that has no name any more.
fn program(process: Pid) -> (u64, u64) {
    let meta = fs::metadata(format!("/proc/{process}/exe")).unwrap();
    (meta.dev(), meta.ino())
}

/// M10: the manager's commands are of the new version then, so only its events are asked.
#[test]
fn a_program_replaced_or_removed_keeps_running_as_it_is() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]).ini("backoff_max = 10ms");
    let installed = setup.dir().join("gm-native");
    write_program(&installed, &fs::read(env!("CARGO_BIN_EXE_gm-native")).unwrap());
    let mut manager = setup.program(installed.clone()).start();
    wait_serving(&manager, "act");
    let mut worker = workers(&manager)[0];
    let running = program(manager.pid());
    assert_eq!(program(worker), running);
    let changes: [fn(&Path); 2] = [
        |installed| {
            let new = installed.with_extension("new");
            write_program(&new, b"#!/bin/sh\nexit 3\n");
            fs::rename(new, installed).unwrap();
        },
        |installed| fs::remove_file(installed).unwrap(),
    ];
    for (number, change) in changes.iter().enumerate() {
        change(&installed);
        manager.mark();
        kill(worker, Signal::SIGKILL).unwrap();
        worker = pid(&manager.wait_event("worker_serving", |_| true));
        assert_eq!(program(worker), running);
        assert_eq!(Job::act(&gearmand, "", "pid").result(), worker.to_string().into_bytes());
        // A library is checked by the program that runs, too.
        let name = format!("new{number}");
        manager.install(&name, &library());
        manager.wait_event("library_refused", |event| event["function"] == *name);
    }
}

/// Every file below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// M11.
#[test]
fn damaged_state_or_state_of_a_later_version_is_recreated() {
    type Damage = fn(&[u8]) -> Vec<u8>;
    let damages: [(&str, Damage); 4] = [
        ("truncated", |old| old[..old.len() / 2].to_vec()),
        ("emptied", |_| Vec::new()),
        ("random", |old| old.iter().map(|byte| byte.wrapping_mul(167).wrapping_add(91)).collect()),
        ("later", |_| br#"{"format": 99, "content": {"all": ["is", "different"]}}"#.to_vec()),
    ];
    let (gearmand, mut manager) = served("");
    // So that there is something in each of them.
    manager.install("other", &library());
    manager.wait_event("library_refused", |event| event["function"] == "other");
    let state = manager.dir().join("state");
    for (name, damage) in damages {
        manager.signal(Signal::SIGTERM);
        assert_eq!(manager.wait_exit().code(), Some(0), "{name}");
        let json: Vec<PathBuf> =
            files(&state).into_iter().filter(|path| path.extension() == Some("json".as_ref())).collect();
        assert!(json.iter().any(|path| path.ends_with("versions.json")), "{json:?}");
        for path in json.iter().chain([&state.join("lock"), &manager.dir().join("gm.pid")]) {
            let old = fs::read(path).unwrap_or_default();
            fs::write(path, damage(&old)).unwrap();
        }
        manager.start_again();
        wait_serving(&manager, "act");
        assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well", "{name}");
        for path in json {
            manager.wait_log(&format!("{} is ignored, and a new one is started", path.display()));
            assert!(path.with_extension("json.unreadable").exists(), "{name}: {}", path.display());
        }
        assert!(state.join("versions.json").exists(), "{name}: it is not written again");
    }
}

/// M12.
#[test]
fn a_stored_library_that_was_changed_is_not_loaded_but_made_again() {
    type Change = fn(&Path);
    let changes: [(&str, Change); 4] = [
        ("truncated", |path| fs::File::options().write(true).open(path).unwrap().set_len(4096).unwrap()),
        ("replaced", |path| {
            fs::remove_file(path).unwrap();
            fs::copy(crate::support::plugins::example("gm_test_author"), path).unwrap();
        }),
        ("removed", |path| fs::remove_file(path).unwrap()),
        ("touched", |path| {
            let file = fs::File::open(path).unwrap();
            file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        }),
    ];
    let (gearmand, mut manager) = served("backoff_max = 10ms");
    let status = manager.status();
    let version = of(&status, "functions", "name", "act").unwrap()["version"].as_str().unwrap().to_owned();
    let stored = manager.dir().join(format!("state/store/{version}/act.so"));
    let content = fs::read(&stored).unwrap();
    for (name, change) in changes {
        manager.mark();
        fs::set_permissions(&stored, fs::Permissions::from_mode(0o700)).unwrap();
        let before = workers(&manager)[0];
        change(&stored);
        // It may have died of it.
        let _ = kill(before, Signal::SIGKILL);
        manager.wait_event("worker_died", |event| event["pid"] == before.as_raw());
        manager.wait_event("worker_serving", |event| event["pid"] != before.as_raw());
        assert_eq!(Job::act(&gearmand, "", "say well").result(), b"well", "{name}");
        assert!(fs::read(&stored).unwrap() == content, "{name}: it is not what it was");
        wait_serving(&manager, "act");
        assert_eq!(of(&manager.status(), "functions", "name", "act").unwrap()["version"], *version);
        if name != "touched" {
            let reported = manager.wait_event("manager_error", |_| true);
            assert!(reported["text"].as_str().unwrap().contains("was changed in the store"), "{name}: {reported}");
        }
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "cannot_serve"));
}
