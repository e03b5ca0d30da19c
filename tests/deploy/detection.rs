//! Every way in which a file is added, changed and removed.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use crate::fixture::{
    Job, QUICK, ask, command, count_events, file, hash, of, put, rename_over, served, strict_gearmand, version,
    wait_all, wait_deployed, wait_quiet,
};
use crate::support::manager::Setup;

#[test]
fn written_in_place_renamed_over_unlinked_first_and_linked() {
    let (gearmand, manager) = served("");
    let (at, new) = (file(&manager), manager.dir().join("new"));
    let next = |name: &str| fs::write(&new, version(name)).unwrap();
    next("cp");
    command("cp", &[&new, &at]);
    wait_deployed(&gearmand, &manager, "cp");
    next("mv");
    command("mv", &[&new, &at]);
    wait_deployed(&gearmand, &manager, "mv");
    // Takes the old file away before it makes the new one.
    next("install");
    command("install", &[&new, &at]);
    wait_deployed(&gearmand, &manager, "install");
    next("hardlink");
    command("ln", &[Path::new("-f"), &new, &at]);
    wait_deployed(&gearmand, &manager, "hardlink");
    let linked = manager.dir().join("linked");
    fs::write(&linked, version("symlink")).unwrap();
    command("ln", &[Path::new("-sf"), &linked, &at]);
    wait_deployed(&gearmand, &manager, "symlink");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 5, "one rollout for each");
    assert_eq!(count_events(&manager, "function_removed", "stamped"), 0, "it was there all the time");
}

/// What is written slowly may be looked at on the way: it is refused then, and taken when it is whole.
#[test]
fn in_several_chunks() {
    let (gearmand, manager) = served("settle_time = 10ms");
    let bytes = version("v2");
    let mut target = File::create(file(&manager)).unwrap();
    for chunk in bytes.chunks(bytes.len() / 3) {
        target.write_all(chunk).unwrap();
        assert_eq!(ask(&gearmand, "stamped"), "v1");
        if (target.metadata().unwrap().len() as usize) < bytes.len() {
            manager.wait_event("library_refused", |event| {
                event["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.contains(&format!("after {} bytes", target.metadata().unwrap().len())))
            });
        }
    }
    drop(target);
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 1);
}

/// `cp -p` of an older file: back to the version before, by file.
#[test]
fn an_older_time_is_a_change_too() {
    let (gearmand, manager) = served("");
    let old = manager.dir().join("old");
    fs::write(&old, version("v1")).unwrap();
    let past = SystemTime::now() - Duration::from_secs(86_400);
    File::options().write(true).open(&old).unwrap().set_modified(past).unwrap();
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    command("cp", &[Path::new("-p"), &old, &file(&manager)]);
    wait_deployed(&gearmand, &manager, "v1");
    let at = fs::metadata(file(&manager)).unwrap().modified().unwrap();
    assert!(at < SystemTime::now() - Duration::from_secs(3600), "the time is the old one");
}

#[test]
fn a_touch_and_an_equal_file_change_nothing() {
    let (gearmand, manager) = served("");
    let before = manager.status()["workers"].clone();
    File::options().write(true).open(file(&manager)).unwrap().set_modified(SystemTime::now()).unwrap();
    fs::set_permissions(file(&manager), fs::Permissions::from_mode(0o755)).unwrap();
    rename_over(&manager, &version("v1"));
    // What comes after it shows that it was looked at.
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    wait_quiet(&manager, 2);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 0);
    let after = manager.status();
    let pid = &before[0]["pid"];
    assert!(after["workers"].as_array().unwrap().iter().any(|worker| worker["pid"] == *pid), "the worker stays");
}

#[test]
fn a_swapped_link_and_a_directory_made_again() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    let root = setup.dir().to_owned();
    for name in ["v1", "v2"] {
        fs::create_dir_all(root.join("releases").join(name)).unwrap();
        fs::write(root.join(format!("releases/{name}/stamped.so")), version(name)).unwrap();
    }
    fs::remove_dir(root.join("workers")).unwrap();
    symlink("releases/v1", root.join("workers")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));

    symlink("releases/v2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("workers")).unwrap();
    wait_deployed(&gearmand, &manager, "v2");
    // And what is behind the new link is watched.
    fs::write(root.join("releases/v2/stamped.so"), version("v3")).unwrap();
    wait_deployed(&gearmand, &manager, "v3");

    let release = root.join("releases/v2");
    fs::rename(&release, root.join("releases/gone")).unwrap();
    manager.wait_event("directory_failed", |event| event["reason"].as_str().unwrap().contains("does not exist"));
    assert_eq!(ask(&gearmand, "stamped"), "v3", "what it held goes on");
    fs::create_dir(&release).unwrap();
    fs::write(release.join("stamped.so"), version("v4")).unwrap();
    wait_deployed(&gearmand, &manager, "v4");
    fs::write(release.join("stamped.so"), version("v5")).unwrap();
    wait_deployed(&gearmand, &manager, "v5");
    assert_eq!(count_events(&manager, "function_removed", "stamped"), 0);
}

/// As releases do: the link is above worker_dir.
#[test]
fn a_swapped_link_to_a_parent() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    let root = setup.dir().to_owned();
    for name in ["v1", "v2"] {
        fs::create_dir_all(root.join(format!("releases/{name}/workers"))).unwrap();
        fs::write(root.join(format!("releases/{name}/workers/stamped.so")), version(name)).unwrap();
    }
    fs::remove_dir(root.join("workers")).unwrap();
    symlink("current/workers", root.join("workers")).unwrap();
    symlink("releases/v1", root.join("current")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));
    symlink("releases/v2", root.join("next")).unwrap();
    fs::rename(root.join("next"), root.join("current")).unwrap();
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(
        [count_events(&manager, "rollout_started", "stamped"), count_events(&manager, "function_removed", "stamped")],
        [1, 0]
    );
}

/// The directory goes with those above it, and they are made again one by one.
#[test]
fn a_directory_made_again_with_its_parents() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK);
    let root = setup.dir().to_owned();
    let deep = root.join("app/current/workers");
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("stamped.so"), version("v1")).unwrap();
    fs::remove_dir(root.join("workers")).unwrap();
    symlink("app/current/workers", root.join("workers")).unwrap();
    let manager = setup.start();
    wait_all(&manager, "stamped", &version("v1"));
    fs::remove_dir_all(root.join("app")).unwrap();
    manager.wait_event("directory_failed", |event| event["reason"].as_str().unwrap().contains("does not exist"));
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("stamped.so"), version("v2")).unwrap();
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(count_events(&manager, "function_removed", "stamped"), 0);
}

/// Everything is taken away for a moment, as `rsync --delete` and `rm -r` before a copy do.
#[test]
fn an_emptied_directory_keeps_what_it_held() {
    let (gearmand, manager) = served("");
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    fs::remove_dir_all(manager.worker_dir()).unwrap();
    manager.wait_event("directory_failed", |event| event["reason"].as_str().unwrap().contains("does not exist"));
    fs::create_dir(manager.worker_dir()).unwrap();
    manager.wait_event("directory_emptied", |_| true);
    assert_eq!([ask(&gearmand, "stamped"), ask(&gearmand, "f00")], ["v1", "v1"]);
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    // What did not come back with the others was meant to go.
    manager.wait_event("function_removed", |event| event["function"] == "f00");
    assert_eq!(
        [count_events(&manager, "function_removed", "stamped"), count_events(&manager, "function_removed", "f00")],
        [0, 1]
    );
}

/// The only library: it may be meant to go, and may be half of a copy. It has longer to come back, and that is logged.
#[test]
fn a_directory_with_one_function_emptied_for_a_moment_keeps_it() {
    let (gearmand, mut manager) = served("settle_time = 100ms");
    fs::remove_file(file(&manager)).unwrap();
    let event = manager.wait_event("directory_emptied", |_| true);
    assert_eq!(event["seconds"], 2.0);
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(count_events(&manager, "function_removed", "stamped"), 0);
    manager.mark();
    fs::remove_file(file(&manager)).unwrap();
    manager.wait_event("directory_emptied", |_| true);
    manager.wait_event("function_removed", |event| event["function"] == "stamped");
    gearmand.wait_workers("stamped", 0);
}

#[test]
fn a_directory_that_cannot_be_read_keeps_what_it_held() {
    let (gearmand, manager) = served("");
    let aside = manager.dir().join("aside");
    // No mode keeps root out: a file in the directory's place does.
    fs::rename(manager.worker_dir(), &aside).unwrap();
    fs::write(manager.worker_dir(), "").unwrap();
    let failed =
        manager.wait_event("directory_failed", |event| event["reason"].as_str().unwrap().contains("not a directory"));
    assert_eq!(failed["text"].as_str().unwrap().matches("worker_dir").count(), 1, "{failed}");
    assert_eq!(ask(&gearmand, "stamped"), "v1");
    fs::remove_file(manager.worker_dir()).unwrap();
    fs::rename(aside, manager.worker_dir()).unwrap();
    rename_over(&manager, &version("v2"));
    wait_deployed(&gearmand, &manager, "v2");
}

#[test]
fn names_of_editors_and_rsync_are_passed_over_and_named() {
    let (gearmand, manager) = served("");
    let names =
        [".stamped.so.Xa3b9Q", ".stamped.so.swp", "stamped.so~", "#stamped.so#", "stamped.so.part", "notes.txt"];
    for name in names {
        fs::write(manager.worker_dir().join(name), version("wrong")).unwrap();
        let path = manager.worker_dir().join(name).canonicalize().unwrap();
        let event = manager.wait_event("file_skipped", |event| event["path"] == path.to_str().unwrap());
        assert!(!event["reason"].as_str().unwrap().is_empty(), "{event}");
    }
    // What rsync does at its end.
    fs::write(manager.worker_dir().join(names[0]), version("v2")).unwrap();
    fs::rename(manager.worker_dir().join(names[0]), file(&manager)).unwrap();
    wait_deployed(&gearmand, &manager, "v2");
    assert_eq!(count_events(&manager, "rollout_started", "stamped"), 1);
    assert_eq!(manager.status()["functions"].as_array().unwrap().len(), 1);
}

/// As long as there are two files, NOTE, the JSON and `check` show which of them is served.
#[test]
fn two_files_of_one_function_are_a_warning_until_one_goes() {
    let other = tempfile::tempdir().unwrap();
    let setup =
        Setup::new(&["127.0.0.1:1"]).plugin("reverse_string", &crate::support::plugins::example("reverse_string"));
    let dirs = format!("worker_dir = {},{}", setup.dir().join("workers").display(), other.path().display());
    let manager = setup.ini(&dirs).start();
    let shadowing = other.path().join("libreverse_string.so");
    // A directory that is emptied is another warning, for a while.
    fs::copy(crate::support::plugins::example("Sum"), other.path().join("Sum.so")).unwrap();
    fs::copy(manager.worker_dir().join("reverse_string.so"), &shadowing).unwrap();
    let first = manager.worker_dir().canonicalize().unwrap().join("reverse_string.so");
    let (first, shadowing_name) =
        (first.display().to_string(), shadowing.canonicalize().unwrap().display().to_string());
    let sentence = format!(
        "reverse_string: {shadowing_name} is served, not {first}: the later worker_dir wins; remove one of them"
    );
    manager.wait_event("file_warning", |event| event["text"] == *sentence);
    let status = manager.wait_status("both files", |status| {
        let function = of(status, "functions", "name", "reverse_string")?;
        (function["ignored_files"] == serde_json::json!([first])).then(|| status.clone())
    });
    assert_eq!(status["warnings"], serde_json::json!([sentence]));
    let note = of(&status, "functions", "name", "reverse_string").unwrap()["note"].as_str().unwrap().to_owned();
    assert!(note.contains(&format!("not served: {first}, which holds it too")), "{note}");
    let check = manager.command("status", &["--check"]).out();
    assert!(check.contains(&sentence), "{check}");
    fs::remove_file(&shadowing).unwrap();
    manager.wait_status("one file", |status| {
        let function = of(status, "functions", "name", "reverse_string")?;
        let warnings = status["warnings"].as_array()?;
        (function["ignored_files"] == serde_json::json!([]) && warnings.is_empty()).then_some(())
    });
    // Something of a library's name that is none is a warning, too.
    symlink("nowhere", manager.worker_dir().join("absent.so")).unwrap();
    manager.wait_status("a link to nothing", |status| {
        let warnings = status["warnings"].as_array()?;
        warnings.iter().any(|text| text.as_str().unwrap().contains("/absent.so is a link")).then_some(())
    });
}

/// The real one: to a hidden name and a rename, and over the old file in place. Times are ignored, since these come
/// within a second of each other.
#[test]
fn by_rsync() {
    let (gearmand, manager) = served("");
    let new = manager.dir().join("new");
    for (name, how) in [("rsync", "--delay-updates"), ("renamed", "--whole-file"), ("inplace", "--inplace")] {
        fs::write(&new, version(name)).unwrap();
        command("rsync", &[Path::new("-aI"), Path::new(how), &new, &file(&manager)]);
        wait_deployed(&gearmand, &manager, name);
    }
    assert_eq!(count_events(&manager, "function_removed", "stamped"), 0);
    assert_eq!(count_events(&manager, "rollout_stopped", "stamped"), 0);
}

#[test]
fn functions_are_added_removed_and_renamed() {
    let (gearmand, manager) = served("");
    put(&manager, "f00", &version("v1"));
    wait_all(&manager, "f00", &version("v1"));
    assert_eq!(ask(&gearmand, "f00"), "v1");
    assert_eq!(count_events(&manager, "rollout_started", "f00"), 0, "nothing to compare it with");

    // The job in hand is finished, another function's workers stay.
    let gate = manager.dir().join("gate");
    let job = Job::start(&gearmand, "f00", "", &format!("wait {}", gate.display()));
    manager.wait_status("the job to run", |status| of(status, "workers", "state", "busy").map(drop));
    manager.remove("f00");
    manager.wait_event("function_removed", |event| event["function"] == "f00");
    fs::write(&gate, "").unwrap();
    assert_eq!(job.result(), b"v1");
    gearmand.wait_workers("f00", 0);
    assert_eq!(ask(&gearmand, "stamped"), "v1");

    put(&manager, "f01", &version("v1"));
    wait_all(&manager, "f01", &version("v1"));
    let dir = manager.worker_dir();
    fs::rename(dir.join("f01.so"), dir.join("f02.so")).unwrap();
    wait_all(&manager, "f02", &version("v1"));
    assert_eq!(ask(&gearmand, "f02"), "v1");
    gearmand.wait_workers("f01", 0);
    assert!(of(&manager.status(), "functions", "name", "f01").is_none());
}

/// A worker for all functions carries every library: fifty changed files are one canary, and one change of workers.
#[test]
fn fifty_files_at_once_are_one_rollout() {
    let gearmand = strict_gearmand();
    let setup = Setup::new(&[&gearmand.server()]).ini(QUICK).ini("count = 2\nsettle_time = 500ms");
    let names: Vec<String> = (0..50).map(|number| format!("f{number:02}")).collect();
    let place = |name: &String| setup.dir().join(format!("workers/{name}.so"));
    let places: Vec<_> = names.iter().map(place).collect();
    places.iter().for_each(|path| fs::write(path, version("v1")).unwrap());
    let manager = setup.start();
    let wait_both = |name: &str| {
        manager.wait_status(&format!("two workers, all in version {name}"), |status| {
            let functions = status["functions"].as_array()?;
            let all = functions.iter().all(|about| about["version"] == *hash(&version(name)));
            let workers = status["workers"].as_array()?;
            (all && functions.len() == 50 && workers.len() == 2 && workers.iter().all(|w| w["state"] == "idle"))
                .then_some(())
        });
    };
    wait_both("v1");
    let started = |manager: &crate::support::manager::Manager| {
        manager.events().iter().filter(|event| event["event"] == "worker_started").count()
    };
    let before = started(&manager);
    let next = manager.dir().join("next");
    fs::create_dir(&next).unwrap();
    names.iter().for_each(|name| fs::write(next.join(name), version("v2")).unwrap());
    names.iter().zip(&places).for_each(|(name, path)| fs::rename(next.join(name), path).unwrap());
    wait_both("v2");
    names.iter().for_each(|name| assert_eq!(count_events(&manager, "rollout_started", name), 1, "{name}"));
    assert_eq!(ask(&gearmand, "f49"), "v2");
    assert!(started(&manager) - before <= 4, "{} workers were started", started(&manager) - before);
}

#[test]
fn the_newest_of_changes_during_a_rollout_wins() {
    let (gearmand, manager) = served("canary_seconds = 1h\ncanary_jobs = 1");
    for name in ["v2", "v3"] {
        rename_over(&manager, &version(name));
        manager.wait_event("rollout_started", |event| event["to"] == *hash(&version(name)));
    }
    rename_over(&manager, &version("v4"));
    manager.wait_event("rollout_started", |event| event["to"] == *hash(&version("v4")));
    // Only jobs promote it.
    while manager.status()["functions"][0]["version"] != *hash(&version("v4")) {
        ask(&gearmand, "stamped");
    }
    wait_deployed(&gearmand, &manager, "v4");
    let promoted: Vec<_> = manager.events().into_iter().filter(|event| event["event"] == "rollout_promoted").collect();
    assert_eq!(promoted.last().unwrap()["version"], *hash(&version("v4")));
    // Back to what is served while another is tried: nothing is left to try.
    rename_over(&manager, &version("v5"));
    manager.wait_event("rollout_started", |event| event["to"] == *hash(&version("v5")));
    rename_over(&manager, &version("v4"));
    manager.wait_status("one worker", |status| (status["workers"].as_array()?.len() == 1).then_some(()));
    assert_eq!(ask(&gearmand, "stamped"), "v4");
}

/// Everything that a link in a library's place leads through is watched: no re-scan at all.
#[test]
fn a_rebuild_behind_a_link_is_a_deploy() {
    let (gearmand, manager) = served("rescan_interval = 0");
    let root = manager.dir().to_owned();
    let build = |place: &str, name: &str| {
        fs::create_dir_all(root.join(place)).unwrap();
        fs::write(root.join("part"), version(name)).unwrap();
        fs::rename(root.join("part"), root.join(place).join("libstamped.so")).unwrap();
    };
    let link = |target: &str, at: &str| {
        symlink(target, root.join("link")).unwrap();
        fs::rename(root.join("link"), root.join(at)).unwrap();
    };
    build("target/1/debug", "v2");
    link("1", "target/current");
    link("target/current/debug/libstamped.so", "hop");
    link("../hop", "workers/stamped.so");
    wait_deployed(&gearmand, &manager, "v2");
    build("target/1/debug", "v3");
    wait_deployed(&gearmand, &manager, "v3");
    fs::write(root.join("target/1/debug/libstamped.so"), version("v4")).unwrap();
    wait_deployed(&gearmand, &manager, "v4");
    build("target/2/debug", "v5");
    link("2", "target/current");
    wait_deployed(&gearmand, &manager, "v5");
    // What is behind the new one is followed as well, and a directory in the middle that is swapped.
    build("target/2/debug", "v6");
    wait_deployed(&gearmand, &manager, "v6");
    build("target/3/debug", "v7");
    fs::rename(root.join("target/2"), root.join("target/old")).unwrap();
    fs::rename(root.join("target/3"), root.join("target/2")).unwrap();
    wait_deployed(&gearmand, &manager, "v7");
    // Dangling for a while: what is served goes on until there is something new.
    link("4", "target/current");
    manager.wait_event("library_refused", |event| event["reason"].as_str().unwrap().starts_with("is a link to"));
    assert_eq!(ask(&gearmand, "stamped"), "v7");
    build("target/4/debug", "v8");
    wait_deployed(&gearmand, &manager, "v8");
    assert_eq!(count_events(&manager, "function_removed", "stamped"), 0);
}
