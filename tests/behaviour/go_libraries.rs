//! P31: a library that brings Go's runtime along. Go needs its handlers for `recover`, and passes on what is not its own.

use serde_json::Value;

use crate::crashes::report;
use crate::fixture::{Job, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::{build, plugins};

const GO: &str = r#"package main

// static void crash_in_c(void) { *(volatile int *)8 = 1; }
import "C"

//export go_recover
func go_recover() (result C.int) {
	defer func() {
		if recover() != nil {
			result = 7
		}
	}()
	var nothing *int
	*nothing = 1
	return 0
}

//export go_crash_in_c
func go_crash_in_c() { C.crash_in_c() }

func main() {}
"#;

const PLUGIN: &str = r#"
    use gm_plugin_api::{Job, JobResult, Log, Output, function};
    unsafe extern "C" {
        fn go_recover() -> i32;
        fn go_crash_in_c();
    }
    #[function]
    fn act(job: &Job, _log: &mut Log) -> JobResult {
        let mut recovered = 0;
        match job.text()? {
            "recover" => recovered = unsafe { go_recover() },
            "c" => unsafe { go_crash_in_c() },
            "rust" => unsafe { std::hint::black_box(std::ptr::without_provenance_mut::<u8>(16)).write_volatile(1) },
            other => return Err(other.into()),
        }
        Ok(Output::from(recovered.to_string().into_bytes()))
    }
"#;

fn served() -> Option<(Gearmand, Manager)> {
    let Some(library) = build::go("gopart", GO) else {
        eprintln!("skipped: there is no Go here");
        return None;
    };
    let gearmand = Gearmand::start();
    let plugin = plugins::rust_linked("act", PLUGIN, "gopart", &library);
    let setup = Setup::new(&[&gearmand.server()]).plugin("act", &plugin).ini("on_crash = fail");
    std::fs::copy(&library, setup.dir().join("workers/libgopart.so")).unwrap();
    let manager = setup.start();
    wait_serving(&manager, "act");
    Some((gearmand, manager))
}

#[test]
fn go_recovers_from_its_own_faults() {
    let Some((gearmand, manager)) = served() else { return };
    for _ in 0..3 {
        assert_eq!(Job::act(&gearmand, "", "recover").result(), b"7");
    }
    assert!(!manager.events().iter().any(|event| event["event"] == "worker_died"));
}

#[test]
fn crashes_beside_go_leave_a_snapshot() {
    let Some((gearmand, manager)) = served() else { return };
    for way in ["c", "rust"] {
        Job::act(&gearmand, way, way).failure();
        let (examined, report) = report(&manager, way);
        let found = [&report["end"], &report["snapshot"]["taken"]];
        assert_eq!(found, ["killed by SIGSEGV", "crash"], "{way}: {report}");
        assert_ne!(examined["place"], Value::Null, "{way}: {examined}");
        wait_serving(&manager, "act");
    }
}
