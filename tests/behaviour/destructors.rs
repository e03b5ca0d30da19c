//! P11: ends of objects, threads and processes that go wrong.

use nix::sys::signal::Signal;

use crate::fixture::{library, wait_serving, workers};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};

/// A manager whose worker for `parting` ends so. Only what hangs is to come to `stop_timeout`.
fn parting(gearmand: &Gearmand, how: &str) -> Manager {
    let most = if how == "hang" { "300ms" } else { "1h" };
    let setup = Setup::new(&[&gearmand.server()]).plugin("parting", &library());
    let ini = format!("stop_timeout = {most}\ngraceful_shutdown_wait_time = 1h\n[parting]\nsetting.how = {how}");
    let manager = setup.ini(&ini).start();
    wait_serving(&manager, "parting");
    manager
}

/// A destructor of an object has `stop_timeout`; those of threads and of statics are not run.
#[test]
fn no_destructor_holds_up_a_drain() {
    for (how, note) in [("hang", Some("killed by SIGKILL in its destructors")), ("panic", None), ("static", None)] {
        let gearmand = Gearmand::start();
        let mut manager = parting(&gearmand, how);
        let [worker] = workers(&manager)[..] else { panic!("one worker was planned") };
        let served = gearman(&gearmand, &["-f", "parting"], b"").out();
        assert_eq!(served, worker.to_string(), "{how}");
        // Its place is taken meanwhile.
        manager.signal(Signal::SIGHUP);
        let left = manager.wait_event("worker_exited", |event| event["pid"] == worker.as_raw());
        match note {
            Some(note) => assert!(left["note"].as_str().is_some_and(|words| words.contains(note)), "{how}: {left}"),
            None => assert_eq!(left["note"], serde_json::Value::Null, "{how}: {left}"),
        }
        wait_serving(&manager, "parting");
        assert_ne!(gearman(&gearmand, &["-f", "parting"], b"").out(), served, "{how}");
        manager.signal(Signal::SIGTERM);
        assert_eq!(manager.wait_exit().code(), Some(0), "{how}");
        manager.wait_gone();
        assert!(!manager.log().contains("worker_died"), "{how}");
    }
}
