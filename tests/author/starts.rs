//! P10 and P18: a `new` that fails, panics, hangs, exits or crashes affects only its own function.

use serde_json::Value;

use crate::library;
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins::{self, example};

fn note(status: &Value, function: &str) -> Option<String> {
    let functions = status["functions"].as_array()?;
    let function = functions.iter().find(|found| found["name"] == function)?;
    Some(function["note"].as_str()?.to_owned())
}

#[track_caller]
fn wait_note(manager: &Manager, function: &str, text: &str) {
    manager.wait_status(&format!("{function} to be shown as {text:?}"), |status| {
        note(status, function).filter(|note| note.contains(text))
    });
}

/// All in the same workers, so that every start meets all of them.
#[test]
fn a_failing_new_does_not_affect_other_functions() {
    let bad = [
        ("NewFails", "its new() failed: no database"),
        ("NewPanics", "its new() failed: panicked at "),
        ("NewExits", "a worker exited with code 3 in its new()"),
        ("NewCrashes", "a worker was killed by SIGABRT in its new()"),
        ("NewHangs", "not ready within start_timeout, but still in its new()"),
        ("NewGivesUp", "its new() exited with code 125, which asks not to be started again"),
    ];
    let gearmand = Gearmand::start();
    let mut setup = Setup::new(&[&gearmand.server()]).plugin("reverse_string", &example("reverse_string"));
    for (name, _) in bad {
        setup = setup.plugin(name, &library());
    }
    let manager = setup.ini("count = 2\nstart_timeout = 2").start();
    for (name, note) in bad {
        wait_note(&manager, name, note);
    }
    gearmand.wait_workers("reverse_string", 2);
    assert_eq!(gearman(&gearmand, &["-f", "reverse_string"], b"abc").out(), "cba");
    assert_eq!(note(&manager.status(), "reverse_string"), None);
    for (name, _) in bad {
        assert!(gearmand.status(name).is_none_or(|status| status.workers == 0), "{name} is offered");
    }
    let backing_off: Vec<Value> =
        manager.events().into_iter().filter(|event| event["event"] == "backing_off").collect();
    assert!(backing_off.iter().all(|event| event["function"] != "reverse_string"), "{backing_off:?}");
}

#[test]
fn a_function_that_asks_not_to_be_restarted_waits_for_another_library() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("reverse_string", &example("reverse_string"));
    let setup = setup.plugin("NewGivesUp", &library()).plugin("NewExits", &library());
    let mut manager = setup.ini("count = 1\nbackoff_max = 0.1").start();
    let gave_up = manager.wait_event("not_restarted", |event| event["function"] == "NewGivesUp");
    wait_note(&manager, "NewGivesUp", "code 125");
    // The other is tried again and again meanwhile.
    for _ in 0..4 {
        manager.mark();
        manager.wait_event("worker_died", |event| event["at"] == "new" && event["function"] == "NewExits");
    }
    let events = manager.events();
    let at = events.iter().position(|event| *event == gave_up).unwrap();
    let serves = |event: &Value| event["functions"].as_array().is_some_and(|all| all.contains(&"NewGivesUp".into()));
    let started = events[at..].iter().filter(|event| event["event"] == "worker_started");
    assert_eq!(started.filter(|event| serves(event)).count(), 0, "started again");
    assert_eq!(events.iter().filter(|event| event["event"] == "not_restarted").count(), 1);
    let source = "use gm_plugin_api::{function, Job, Log};\n\
                  #[function(name = \"NewGivesUp\")]\nfn mended(_: &Job, _: &mut Log) -> &'static str {\n    \"mended\"\n}\n";
    manager.install("NewGivesUp", &plugins::rust("mended", source));
    gearmand.wait_workers("NewGivesUp", 1);
    assert_eq!(gearman(&gearmand, &["-f", "NewGivesUp"], b"").out(), "mended");
}

/// The everyday call, for a shared or dedicated plan.
fn daemon(gearmand: &Gearmand, ini: &str, bad: &[&str], args: &[&str]) -> Manager {
    let mut setup = Setup::new(&[&gearmand.server()]).plugin("reverse_string", &example("reverse_string"));
    for name in bad {
        setup = setup.plugin(name, &library());
    }
    setup.ini(ini).args(&["-d"]).args(args).prepared()
}

/// M18: the start is reported in time, with every function that is not served and why.
#[test]
fn a_start_reports_which_functions_are_not_served() {
    let bad = [
        ("NewFails", "its new() failed: no database"),
        ("NewExits", "exited with code 3 in its new()"),
        ("NewHangs", "not ready within start_timeout, but still in its new()"),
        ("NewGivesUp", "exited with code 125"),
    ];
    for ini in ["count = 0\nstart_timeout = 2", "count = 2\nstart_timeout = 2"] {
        let gearmand = Gearmand::start();
        let manager = daemon(&gearmand, ini, &bad.map(|(name, _)| name), &[]);
        let finished = manager.run_to_end();
        assert_eq!(finished.code(), Some(0), "{finished:?}");
        for (name, why) in bad {
            let line = finished
                .err()
                .lines()
                .find(|line| line.starts_with(&format!("{name} is not served: ")))
                .map(str::to_owned);
            let line = line.unwrap_or_else(|| panic!("{ini}: nothing of {name}: {}", finished.err()));
            // One that came after one that hangs may not have had its turn yet.
            assert!(
                line.contains(why) || line.contains("starting") || line.contains("its worker is in"),
                "{ini}: {line}"
            );
        }
        assert_eq!(manager.status()["state"], "running");
        gearmand.wait_workers("reverse_string", if ini.starts_with("count = 2") { 2 } else { 1 });
        for (name, why) in bad {
            wait_note(&manager, name, why);
        }
        assert_eq!(gearman(&gearmand, &["-f", "reverse_string"], b"abc").out(), "cba");
    }
}

#[test]
fn a_strict_start_fails_where_a_function_is_not_served() {
    let gearmand = Gearmand::start();
    for ini in ["count = 0", "count = 1"] {
        let mut manager = daemon(&gearmand, ini, &["NewFails"], &["--strict"]);
        let finished = manager.run_to_end();
        assert_eq!(finished.code(), Some(1), "{finished:?}");
        let sentence = "strict is set, and not every function can be served: NewFails is not served: its new() failed: no database";
        assert!(finished.err().contains(sentence), "{finished:?}");
        manager.wait_gone();
    }
}
