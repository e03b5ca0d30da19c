//! A function whose library was removed: nothing of it is served or kept when another of its name is deployed.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::fixture::{
    Job, ask, count_events, file, hash, put, rename_over, served, stamped, version, wait_all, wait_deployed,
};
use crate::support::manager::Manager;
use crate::support::wait::{DEADLINE, wait_for};

/// Where a version of `stamped` is stored.
fn stored(manager: &Manager, bytes: &[u8]) -> PathBuf {
    manager.dir().join("state/store").join(hash(bytes)).join("stamped.so")
}

#[track_caller]
fn wait_collected(manager: &Manager, bytes: &[u8]) {
    wait_for("the removed library to be gone from the store", DEADLINE, || {
        (!stored(manager, bytes).exists()).then_some(())
    });
}

/// Takes `stamped` out of a directory that holds another library, and waits until it is gone.
#[track_caller]
fn remove(manager: &mut Manager) {
    manager.mark();
    manager.remove("stamped");
    manager.wait_event("function_removed", |event| event["function"] == "stamped");
}

#[track_caller]
fn restart(manager: &mut Manager, meanwhile: impl FnOnce(&Manager)) {
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    meanwhile(manager);
    manager.start_again();
}

#[test]
fn one_that_comes_back_is_a_new_function() {
    let (gearmand, mut manager) = served("keep_versions = 9");
    put(&manager, "f00", &version("v1"));
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    // A job in hand keeps its library until it is done.
    let go = manager.dir().join("go");
    let job = Job::start(&gearmand, "stamped", "", &format!("wait {}", go.display()));
    wait_for("the job to run", DEADLINE, || gearmand.status("stamped").filter(|s| s.running == 1));
    remove(&mut manager);
    wait_collected(&manager, &version("v1"));
    assert!(stored(&manager, &version("v2")).exists(), "a worker has it");
    fs::write(go, "").unwrap();
    assert_eq!(job.result(), b"v2");
    wait_collected(&manager, &version("v2"));
    let none = manager.command("rollback", &["stamped"]);
    assert!(none.code() == Some(4) && none.err().contains("there is no function stamped"), "{none:?}");
    let listed = manager.command("versions", &[]);
    assert!(!listed.out().contains("stamped"), "{listed:?}");

    // Bad: nothing is served, and not by the next manager either.
    put(&manager, "stamped", b"not a library\n");
    let event = manager.wait_event("library_refused", |event| event["function"] == "stamped");
    assert!(event["serving"].is_null(), "{event}");
    restart(&mut manager, |_| ());
    let event = manager.wait_event("library_refused", |event| event["function"] == "stamped");
    assert!(event["serving"].is_null(), "{event}");
    wait_all(&manager, "f00", &version("v1"));

    // Good: at once, there being nothing to compare it with.
    rename_over(&manager, &version("v3"));
    wait_deployed(&gearmand, &manager, "v3");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 0);
}

/// A pin and a version that was rejected hold for the function that is gone.
#[test]
fn a_pin_and_a_rejected_version_are_forgotten_with_it() {
    let (gearmand, mut manager) = served("");
    put(&manager, "f00", &version("v1"));
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    manager.command("rollback", &["stamped"]).success();
    wait_all(&manager, "stamped", &version("v1"));
    remove(&mut manager);
    // The version that the pin was set against.
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    rename_over(&manager, &stamped("v3", "new"));
    manager.wait_event("rollout_stopped", |_| true);
    remove(&mut manager);
    let records = fs::read_to_string(manager.dir().join("state/versions.json")).unwrap();
    assert!(!records.contains("stamped"), "{records}");
    rename_over(&manager, &version("v4"));
    wait_deployed(&gearmand, &manager, "v4");
}

/// Removed while no manager ran: the next one collects it, and a bad file that comes later is served by nothing.
#[test]
fn one_that_was_removed_between_two_managers_is_collected_by_the_second() {
    for others in [true, false] {
        let (gearmand, mut manager) = served("");
        if others {
            put(&manager, "f00", &version("v1"));
            wait_all(&manager, "f00", &version("v1"));
        }
        restart(&mut manager, |manager| fs::remove_file(file(manager)).unwrap());
        if others {
            assert_eq!(ask(&gearmand, "f00"), "v1");
        }
        wait_collected(&manager, &version("v1"));
        put(&manager, "stamped", b"not a library\n");
        let event = manager.wait_event("library_refused", |event| event["function"] == "stamped");
        assert!(event["serving"].is_null(), "{event}");
        rename_over(&manager, &version("v2"));
        wait_deployed(&gearmand, &manager, "v2");
    }
}
