//! M19: what fails for a transient reason is probed again, until it works or the file changes.

use std::fs;

use crate::fixture::{
    ask, count_events, hash, put, served, stamped, strict_gearmand, version, wait_all, wait_deployed,
};
use crate::support::manager::Setup;

/// Nothing is seen but what is looked at again: no re-scan.
const INI: &str =
    "canary_seconds = 100ms\ncanary_jobs = 1\nrescan_interval = 0\nsettle_time = 20ms\nprobe_timeout = 2s";

/// At boot, where nothing else can be served, and with no change of the file afterwards.
#[test]
fn a_probe_that_is_killed_or_late_at_boot_is_made_again() {
    for (mood, words) in [("killed", "was killed during the check"), ("slow", "did not load within 2 s")] {
        let gearmand = strict_gearmand();
        let setup = Setup::new(&[&gearmand.server()]).ini(INI);
        let hindrance = setup.dir().join("hindrance");
        fs::write(&hindrance, "").unwrap();
        let library = stamped("v1", mood);
        fs::write(setup.dir().join("workers/stamped.so"), &library).unwrap();
        let manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
        let event = manager.wait_event("library_refused", |_| true);
        assert!(event["reason"].as_str().unwrap().contains(words) && event["again"] == 1.0, "{event}");
        let status = manager.status();
        assert!(status["refused"][0]["reason"].as_str().unwrap().contains(words), "it counts as refused: {status}");
        manager.wait_log("next attempt in 1 s");
        fs::remove_file(&hindrance).unwrap();
        wait_all(&manager, "stamped", &library);
        assert_eq!(ask(&gearmand, "stamped"), "v1");
        assert_eq!(manager.status()["refused"].as_array().unwrap().len(), 0);
        assert_eq!(count_events(&manager, "library_refused", "stamped"), 1, "the earlier report still holds");
    }
}

/// A deploy that meets it comes by itself; meanwhile others are deployed, and a change of the file is seen at once.
#[test]
fn a_deploy_whose_probe_is_killed_is_retried_and_delays_nobody() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(INI);
    let hindrance = setup.dir().join("hindrance");
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
    wait_all(&manager, "stamped", &version("v1"));
    fs::write(&hindrance, "").unwrap();
    put(&manager, "stamped", &stamped("v2", "killed"));
    let event = manager.wait_event("library_refused", |_| true);
    assert_eq!(event["serving"], *hash(&version("v1")), "{event}");
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    fs::remove_file(&hindrance).unwrap();
    wait_all(&manager, "stamped", &stamped("v2", "killed"));
    assert_eq!(ask(&gearmand, "stamped"), "v2");

    fs::write(&hindrance, "").unwrap();
    put(&manager, "stamped", &stamped("v3", "killed"));
    manager.wait_event("library_refused", |event| event["serving"] == *hash(&stamped("v2", "killed")));
    put(&manager, "stamped", &version("v4"));
    wait_deployed(&gearmand, &manager, "v4");
}

/// What is wrong with a file is no passing reason.
#[test]
fn a_wrong_file_is_not_probed_again() {
    let (_gearmand, manager) = served("");
    put(&manager, "f01", b"not a library\n");
    let event = manager.wait_event("library_refused", |event| event["function"] == "f01");
    assert!(event["again"].is_null(), "{event}");
}

/// M17: more libraries hang in a constructor than are looked at at once, and all of them stand before the good one.
#[test]
fn libraries_that_hang_in_their_probe_delay_no_other_one() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(&INI.replace("probe_timeout = 2s", "probe_timeout = 1h"));
    let hindrance = setup.dir().join("hindrance");
    fs::write(&hindrance, "").unwrap();
    for name in ["f00", "f01", "f02", "f03", "f04"] {
        fs::write(setup.dir().join(format!("workers/{name}.so")), stamped("v1", "slow")).unwrap();
    }
    fs::write(setup.dir().join("workers/stamped.so"), version("v1")).unwrap();
    let manager = setup.env("GM_TEST_HINDRANCE", &hindrance).start();
    wait_all(&manager, "stamped", &version("v1"));
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    put(&manager, "stamped", &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
}
