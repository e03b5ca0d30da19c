//! `versions`, `rollback` and `retry`, and what of old versions is kept.

use std::fs;
use std::os::unix::fs::symlink;

use serde_json::Value;

use crate::scene::{ask, hash, put, rename_over, said, served, stamped, version, wait_all, wait_deployed, wait_quiet};
use crate::support::manager::Manager;

/// Hash and state of each version, the newest first, as `versions --json` says.
#[track_caller]
fn versions(manager: &Manager) -> Vec<(String, String)> {
    let all: Vec<Value> = serde_json::from_slice(&manager.command("versions", &["--json"]).success()).unwrap();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let of_stamped = all.iter().filter(|version| version["function"] == "stamped");
    of_stamped.map(|version| (text(&version["version"]), text(&version["state"]))).collect()
}

fn named(states: &[(&str, &str)]) -> Vec<(String, String)> {
    states.iter().map(|(name, state)| (hash(&version(name)), (*state).to_owned())).collect()
}

#[test]
fn rolled_back_until_the_content_changes() {
    let (gearmand, mut manager) = served("keep_versions = 5");
    for name in ["v2", "v3"] {
        rename_over(&manager, &version(name));
        wait_deployed(&gearmand, &manager, name);
    }
    assert_eq!(versions(&manager), named(&[("v3", "serving"), ("v2", "stored"), ("v1", "stored")]));
    let table = manager.command("versions", &[]).out();
    assert!(table.starts_with("FUNCTION") && table.lines().count() == 4, "{table}");
    assert!(table.lines().nth(1).unwrap().contains("serving"), "{table}");

    // Without a hash: the newest earlier one.
    let done = manager.command("rollback", &["stamped"]);
    assert!(done.status.success() && done.out().contains(&hash(&version("v2"))), "{done:?}");
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(versions(&manager), named(&[("v3", "stored"), ("v2", "pinned"), ("v1", "stored")]));
    let note = manager.status()["functions"][0]["note"].as_str().unwrap().to_owned();
    assert!(note.contains("pinned"), "{note}");
    // With one, or its beginning.
    manager.command("rollback", &["stamped", &hash(&version("v1"))[..6]]).success();
    wait_deployed(&gearmand, &manager, "v1");
    assert_eq!(said(&manager, "rolled_back", "stamped"), 2);
    assert_eq!(said(&manager, "rollout_started", "stamped"), 2, "what was good needs no canary");

    // The same content again is no change, and a new manager knows of it.
    rename_over(&manager, &version("v3"));
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    wait_quiet(&manager, 2);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    manager.signal(nix::sys::signal::Signal::SIGTERM);
    manager.wait_exit();
    manager.start_again();
    wait_deployed(&gearmand, &manager, "v1");
    assert!(versions(&manager).contains(&(hash(&version("v1")), "pinned".into())));

    rename_over(&manager, &version("v4"));
    wait_deployed(&gearmand, &manager, "v4");
    assert_eq!(versions(&manager)[0], (hash(&version("v4")), "serving".into()));
}

/// `retry` ends a pin: the file is what is served again.
#[test]
fn retry_ends_a_rollback() {
    let (gearmand, manager) = served("");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    manager.command("rollback", &["stamped"]).success();
    wait_deployed(&gearmand, &manager, "v1");
    manager.command("retry", &["stamped"]).success();
    wait_deployed(&gearmand, &manager, "v2");
}

/// What a file lacks may lie outside of it: it is looked at anew though it has not changed. What it holds counts, not
/// what it held when it was good.
#[test]
fn retry_looks_at_the_file_as_it_is() {
    let (gearmand, mut manager) = served("");
    rename_over(&manager, &stamped("v2", "new"));
    manager.wait_event("rollout_stopped", |_| true);
    let lies_elsewhere = manager.dir().join("elsewhere");
    fs::write(&lies_elsewhere, "not a library\n").unwrap();
    for function in ["stamped", "f00"] {
        let part = manager.dir().join("link");
        symlink(&lies_elsewhere, &part).unwrap();
        fs::rename(part, manager.worker_dir().join(format!("{function}.so"))).unwrap();
        manager.wait_event("library_refused", |event| event["function"] == function);
    }
    manager.mark();
    manager.command("retry", &["stamped"]).success();
    manager.wait_event("library_refused", |event| event["function"] == "stamped");
    assert_eq!(said(&manager, "rollout_started", "stamped"), 1, "of the version that the file holds no more");
    // Behind a link on another file system nobody sees a change.
    fs::write(&lies_elsewhere, version("v3")).unwrap();
    for function in ["stamped", "f00"] {
        manager.command("retry", &[function]).success();
        wait_all(&manager, function, &version("v3"));
        assert_eq!(ask(&gearmand, function), "v3");
    }
}

#[test]
fn what_makes_no_sense_is_refused_in_a_sentence() {
    let (gearmand, manager) = served("");
    for (verb, args, words) in [
        ("rollback", &["stamped"][..], "has no such earlier version"),
        ("rollback", &["stamped", "ffff"], "has no such earlier version"),
        ("rollback", &["nobody"], "no version of nobody is stored"),
        ("retry", &["nobody"], "there is no function nobody"),
    ] {
        let refused = manager.command(verb, args);
        assert_eq!(refused.code(), Some(4), "{refused:?}");
        assert!(refused.err().contains(words), "{refused:?}");
    }
    assert_eq!(ask(&gearmand, "stamped"), "v1");
}

#[test]
fn old_versions_go_from_the_store() {
    let (gearmand, manager) = served("keep_versions = 2");
    for name in ["v2", "v3", "v4", "v5"] {
        rename_over(&manager, &version(name));
        wait_deployed(&gearmand, &manager, name);
    }
    // At the promotion of v5 a worker still had v4: it counts as in use.
    let kept = versions(&manager);
    assert_eq!(kept, named(&[("v5", "serving"), ("v4", "stored"), ("v3", "stored"), ("v2", "stored")]));
    let store = fs::read_dir(manager.dir().join("state/store")).unwrap();
    let hashes = store.filter(|entry| entry.as_ref().unwrap().file_name().len() == 12).count();
    assert_eq!(hashes, kept.len(), "and from the disk");
    assert_eq!(fs::read_dir(manager.dir().join("state/store/incoming")).unwrap().count(), 0);
}
