//! P17: after a panic the object is dropped and made again; where that fails, the worker is replaced.

use std::fs;

use nix::sys::signal::Signal;

use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::wait::{DEADLINE, wait_for};
use crate::{call, library};

fn served() -> (Gearmand, Manager) {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("Fragile", &library());
    let path = |name: &str| setup.dir().join(name).display().to_string();
    let settings = format!("[Fragile]\nsetting.mark = {}\nsetting.journal = {}", path("mark"), path("journal"));
    let manager = setup.ini("backoff_max = 0.1").ini(&settings).start();
    gearmand.wait_workers("Fragile", 1);
    (gearmand, manager)
}

/// How many jobs the object has done, and in which process.
fn count(gearmand: &Gearmand) -> (u64, u64) {
    let out = gearman(gearmand, &["-f", "Fragile"], b"").out();
    let (jobs, pid) = out.split_once(" of ").unwrap_or_else(|| panic!("{out}"));
    (jobs.parse().unwrap(), pid.parse().unwrap())
}

#[test]
fn a_panic_costs_the_object_and_not_the_worker() {
    let (gearmand, manager) = served();
    let (first, pid) = count(&gearmand);
    assert_eq!((first, count(&gearmand)), (1, (2, pid)));
    let panicked = gearman(&gearmand, &["-f", "Fragile"], b"panic");
    assert_eq!(panicked.code(), Some(1));
    assert!(panicked.err().contains("panicked at ") && panicked.err().contains(": asked to"), "{}", panicked.err());
    assert_eq!(count(&gearmand), (1, pid), "a new object in the same worker");
    let journal = fs::read_to_string(manager.dir().join("journal")).unwrap();
    assert_eq!(journal, "made\ndropped\nmade\n");
}

#[test]
fn where_no_object_can_be_made_the_worker_is_replaced() {
    let (gearmand, manager) = served();
    let (_, pid) = count(&gearmand);
    let mark = manager.dir().join("mark");
    gearman(&gearmand, &["-f", "Fragile"], format!("panic {}", mark.display()).as_bytes());
    std::thread::scope(|scope| {
        // Never begun, so it is not failed: it waits for a worker that has an object.
        let next = scope.spawn(|| count(&gearmand));
        manager.wait_log("after a panic the object could not be created again: there is a mark");
        manager.wait_event("worker_died", |event| event["pid"] == pid);
        manager.wait_event("cannot_serve", |event| event["reason"] == "its new() failed: there is a mark");
        fs::remove_file(mark).unwrap();
        let (jobs, successor) = next.join().unwrap();
        assert_eq!(jobs, 1);
        assert_ne!(successor, pid);
    });
}

/// Three workers find the same; a configuration that was read again may have repaired it.
#[test]
fn a_setting_that_is_never_read_is_warned_of_once() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("Fragile", &library());
    let ini = "dedicated_count = 3\n[Fragile]\nsetting.makr = /nowhere";
    let manager = setup.ini(ini).start();
    gearmand.wait_workers("Fragile", 3);
    let warnings = |manager: &Manager| {
        let warned = manager.events().into_iter().filter(|event| event["event"] == "library_warning");
        warned.map(|event| event["text"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    let text = "Fragile: setting.makr is never read; did you mean setting.mark?";
    assert_eq!(warnings(&manager), [text]);
    manager.signal(Signal::SIGHUP);
    manager.wait_event("reloaded", |_| true);
    wait_for("the warning again", DEADLINE, || (warnings(&manager).len() == 2).then_some(()));

    let called = call("Fragile", &["--setting", "makr=/nowhere"]);
    assert_eq!(called.err(), "WARN    setting.makr is never read; did you mean setting.mark?\n");
    let called = call("answer", &["x", "--setting", "makr=/nowhere"]);
    assert_eq!(called.err(), "WARN    setting.makr is never read: a function without new() has no settings\n");
}
