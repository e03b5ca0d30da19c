//! What users get wrong: one sentence that names the file and the reason, the rest runs, and nothing hangs.

use std::fs;
use std::path::Path;

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::fixture::{Job, acting, background, gm_native, library, lines, of, path, wait_done, wait_serving};
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::plugins::{self, example};
use crate::support::program::Finished;

/// A start that failed with this code and one sentence, which has all of these in it.
#[track_caller]
fn assert_error(finished: &Finished, code: i32, parts: &[&str]) {
    let stderr = finished.err();
    assert_eq!(finished.code(), Some(code), "{finished:?}");
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    assert!(stderr.starts_with("gm-native: "), "{stderr}");
    for part in parts {
        assert!(stderr.contains(part), "there is no {part:?} in {stderr}");
    }
}

/// An ini file in a directory, tried.
#[track_caller]
fn start_with(dir: &Path, ini: &[u8]) -> Finished {
    fs::write(dir.join("gm.ini"), ini).unwrap();
    gm_native(dir, &["-c", "gm.ini"])
}

#[test]
fn a_configuration_that_is_not_there_or_no_file() {
    let dir = tempfile::tempdir().unwrap();
    mkfifo(&dir.path().join("fifo"), Mode::S_IRWXU).unwrap();
    for (name, reason) in
        [("nowhere.ini", "No such file or directory"), (".", "has to be a regular file"), ("fifo", "a regular file")]
    {
        let finished = gm_native(dir.path(), &["-c", name]);
        assert_error(&finished, 2, &[name, reason]);
    }
    // A command that looks for its manager reports the same.
    assert_error(&gm_native(dir.path(), &["status", "-c", "nowhere.ini"]), 2, &["nowhere.ini", "No such file"]);
}

#[test]
fn a_configuration_with_errors_reports_all_of_them_with_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    let ini = b"[GearmanManager]\ncount = many\ntimeout = soon\nno key\n[broken\n";
    let finished = start_with(dir.path(), ini);
    assert_eq!(finished.code(), Some(2), "{finished:?}");
    for line in ["gm.ini:2: ", "gm.ini:3: ", "gm.ini:4: ", "gm.ini:5: "] {
        assert!(finished.err().contains(line), "nothing of {line}: {}", finished.err());
    }
}

#[test]
fn a_wrong_option() {
    let dir = tempfile::tempdir().unwrap();
    for args in [&["--nope"][..], &["-D", "many"], &["-h"], &["dance"]] {
        let finished = gm_native(dir.path(), args);
        assert_eq!(finished.code(), Some(2), "{args:?}: {finished:?}");
        assert!(!finished.err().is_empty(), "{args:?}");
    }
    assert_error(&gm_native(dir.path(), &["-D", "-1"]), 2, &["option -D: count: \"-1\" is not a whole number"]);
    assert_error(&gm_native(dir.path(), &["-u", ""]), 2, &["option -u: user: nothing is given"]);
}

/// A warning may be what explains an error: all are printed, in the order of the file.
#[test]
fn errors_do_not_hide_warnings() {
    let dir = tempfile::tempdir().unwrap();
    let worker_dir = dir.path().join("workers");
    let ini = |worker_dir: &str, more: &str| {
        let text = format!("[GearmanManager]\ncuont = 3\nworker_dir = {worker_dir}\n{more}");
        std::fs::write(dir.path().join("gm.ini"), text).unwrap();
    };
    let lines = |args: &[&str]| {
        let finished = gm_native(dir.path(), &[&["-c", "gm.ini"], args].concat());
        assert_eq!(finished.code(), Some(2), "{finished:?}");
        finished.err().lines().map(str::to_owned).collect::<Vec<_>>()
    };
    let starts_with = |lines: &[String], starts: &[&str]| {
        let as_expected = lines.len() == starts.len() && lines.iter().zip(starts).all(|(a, b)| a.starts_with(b));
        assert!(as_expected, "{lines:#?}");
    };
    std::fs::create_dir(&worker_dir).unwrap();
    ini("workers", "count = many\n[act]\ndedicated_cuont = 1\n");
    for args in [&["-Z"][..], &[]] {
        let starts = ["gm-native: warning: gm.ini:2: ", "gm-native: gm.ini:4: count", "gm-native: warning: gm.ini:6: "];
        starts_with(&lines(args), &starts);
    }
    // What is wrong outside of the file hides none either.
    ini("nowhere", "");
    starts_with(&lines(&["-Z"]), &["gm-native: warning: gm.ini:2: ", "gm-native: gm.ini:3: worker_dir "]);
}

/// What only shows outside the file is reported with the value's place too, by a start and by `-Z`.
#[test]
fn what_the_file_names_and_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("workers")).unwrap();
    let begin = "[GearmanManager]\nstate_dir = state\n";
    for (line, parts, checked) in [
        ("user = no-such-user-here", &["there is no user"][..], true),
        (
            "worker_dir = nowhere",
            &["worker_dir nowhere (from the working directory ", ") does not exist: create it"],
            true,
        ),
        (
            "log_file = nowhere/gm.log",
            &["cannot open log file nowhere/gm.log (from the working directory ", "create its directory"],
            false,
        ),
        (
            "pid_file = nowhere/gm.pid",
            &["cannot write pid file nowhere/gm.pid (from the working directory ", "create its directory"],
            false,
        ),
    ] {
        let finished = start_with(dir.path(), format!("{begin}{line}\n").as_bytes());
        assert_error(&finished, if checked { 2 } else { 1 }, parts);
        assert!(finished.err().starts_with("gm-native: gm.ini:3: "), "{}", finished.err());
        if checked {
            assert_eq!(gm_native(dir.path(), &["-c", "gm.ini", "-Z"]).err(), finished.err());
        }
    }
    let both = start_with(dir.path(), format!("{begin}worker_dir = nowhere\nuser = no-such-user-here\n").as_bytes());
    let finished = both.err();
    assert!(
        finished.lines().count() == 2 && finished.contains("gm.ini:3: ") && finished.contains("gm.ini:4: "),
        "{finished}"
    );
}

/// The file of a running manager was broken: commands still find the manager, and report what is wrong as well.
#[test]
fn a_command_finds_its_manager_by_a_broken_file() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).start();
    wait_serving(&manager, "act");
    manager.configure("count = many");
    let finished = manager.command("status", &["--check"]);
    assert_eq!(finished.code(), Some(0), "{finished:?}");
    assert!(finished.out().starts_with("OK: ") && finished.err().contains("warning: "), "{finished:?}");
    assert!(finished.err().contains("gm.ini:5: count in [GearmanManager]: \"many\""), "{finished:?}");
    let wrong = manager.command("status", &["--control", ""]);
    assert!(wrong.code() == Some(2) && wrong.err().contains("option --control"), "{wrong:?}");
}

#[test]
fn a_worker_dir_that_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("file"), "").unwrap();
    for (name, what) in [("nowhere", "does not exist"), ("file", "is not a directory")] {
        let ini = format!("[GearmanManager]\nworker_dir = {name}\nstate_dir = state\n");
        let from = format!("worker_dir {name} (from the working directory {}) {what}", dir.path().display());
        assert_error(&start_with(dir.path(), ini.as_bytes()), 2, &[&from, "-w DIR"]);
    }
    assert!(!dir.path().join("state").exists(), "nothing is made for a start that cannot be");
}

/// One of several: those that are there are served, and the other is named.
#[test]
fn one_worker_dir_of_two_that_is_not_there() {
    let gearmand = Gearmand::start();
    let setup = acting(&[&gearmand]);
    let missing = setup.dir().join("missing").display().to_string();
    let dirs = format!("worker_dir = {}/workers,{missing}", setup.dir().display());
    let manager = setup.ini(&dirs).start();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    let line = manager.wait_log(&missing);
    assert!(line.contains("does not exist"), "{line}");
}

/// It waits for libraries; one that is copied there is served, and one that is taken away is served no more.
#[test]
fn a_worker_dir_with_nothing_in_it() {
    let gearmand = Gearmand::start();
    let mut manager = Setup::new(&[&gearmand.server()]).args(&["-d"]).prepared();
    let finished = manager.run_to_end();
    let sentence = format!("no library in {} yet: copy one there and it is served", manager.worker_dir().display());
    assert!(finished.code() == Some(0) && finished.err().contains(&sentence), "{finished:?}");
    manager.wait_log(&sentence);
    let notes = path(&manager, "notes");
    background(&gearmand, "early", &format!("note {notes}"));

    manager.install("act", &library());
    wait_done(&gearmand);
    assert_eq!(lines(&notes), ["early"]);
    manager.remove("act");
    manager.wait_log("WARN   act: its library ");
    gearmand.wait_workers("act", 0);
    manager.wait_status("no function", |status| status["functions"].as_array()?.is_empty().then_some(()));
    manager.install("act", &library());
    assert_eq!(Job::act(&gearmand, "", "say again").result(), b"again");
    manager.signal(nix::sys::signal::Signal::SIGTERM);
    manager.wait_gone();
}

/// Where events do not come (a network's file system, say), the scan is the net.
#[test]
fn a_worker_dir_that_fills_later_is_scanned_again() {
    let gearmand = Gearmand::start();
    let manager = Setup::new(&[&gearmand.server()]).ini("rescan_interval = 100ms").start();
    manager.wait_log("no library in");
    // The name is not looked at until it is a library's.
    fs::copy(library(), manager.worker_dir().join("act.so.part")).unwrap();
    fs::rename(manager.worker_dir().join("act.so.part"), manager.worker_dir().join("act.so")).unwrap();
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
}

#[test]
fn an_empty_worker_dir_without_a_watcher() {
    let setup = Setup::new(&["127.0.0.1"]).ini("auto_update = 0");
    let dir = setup.dir().join("workers").display().to_string();
    assert_error(&setup.run_to_end(), 1, &["no library in", &dir, "auto_update is 0"]);
}

/// Each file that is no plugin has its sentence in the log and in the status; the good one is served, at once.
#[test]
fn files_that_are_no_plugins_are_named_and_the_rest_runs() {
    let gearmand = Gearmand::start();
    let manager = acting(&[&gearmand]).prepared();
    let workers = manager.worker_dir();
    let place = |name: &str| workers.join(name).display().to_string();
    fs::write(workers.join("text.so"), "hello, I am a text\n").unwrap();
    fs::write(workers.join("empty.so"), "").unwrap();
    let whole = fs::read(library()).unwrap();
    fs::write(workers.join("short.so"), &whole[..whole.len() / 2]).unwrap();
    fs::copy(plugins::c("no_entry", "int none(void) { return 1; }\n"), workers.join("no_entry.so")).unwrap();
    fs::copy(example("gm_plugin_fixtures"), workers.join("newer.so")).unwrap();
    fs::copy(example("gm_plugin_fixtures"), workers.join("other_layout.so")).unwrap();
    let refused = [
        ("text.so", "not a library"),
        ("empty.so", "is empty"),
        ("short.so", "was cut short"),
        ("no_entry.so", "does not export no_entry"),
        ("newer.so", "is built for interface 1.3, this manager knows 1.0"),
        ("other_layout.so", "differs from interface 1.0"),
    ];
    let mut manager = manager;
    manager.start_again();
    wait_serving(&manager, "act");
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
    for (name, reason) in refused {
        let (function, path) = (name.trim_end_matches(".so"), place(name));
        let event = manager.wait_event("library_refused", |event| event["function"] == function);
        assert_eq!(event["path"], path.as_str());
        let found = event["reason"].as_str().unwrap();
        assert!(found.contains(reason), "{name}: no {reason:?} in {found:?}");
        let line = manager.wait_log(&format!("{path} cannot be used"));
        assert!(line.contains(found), "{line}");
        let status = manager.status();
        assert_eq!(of(&status, "refused", "path", &path).expect(&path)["reason"], found);
    }
    assert_eq!(manager.status()["functions"].as_array().unwrap().len(), 1);
}

/// One line at -vv for each file that is not even tried, with the reason.
#[test]
fn files_whose_names_are_no_librarys_are_passed_over_aloud() {
    let gearmand = Gearmand::start();
    let mut manager = acting(&[&gearmand]).prepared();
    let workers = manager.worker_dir();
    fs::write(workers.join("README"), "").unwrap();
    fs::create_dir(workers.join("directory.so")).unwrap();
    mkfifo(&workers.join("fifo.so"), Mode::S_IRWXU).unwrap();
    std::os::unix::fs::symlink("/nowhere", workers.join("dangling.so")).unwrap();
    fs::write(workers.join("new\nline.so"), "").unwrap();
    manager.start_again();
    wait_serving(&manager, "act");
    let dir = workers.display();
    // What has the name of a function's library is missed.
    for (name, level, reason) in [
        ("README", " PROC ", ""),
        ("directory.so", " WARN ", "is a directory"),
        ("fifo.so", " WARN ", "is a FIFO"),
        ("dangling.so", " WARN ", "/nowhere, which does not exist"),
        ("new\\nline.so", " PROC ", ""),
    ] {
        let line = manager.wait_log(&format!("{dir}/{name} "));
        assert!(line.contains(level) && line.contains(reason), "{line}");
    }
    assert_eq!(Job::act(&gearmand, "", "say here").result(), b"here");
}

/// A start with nothing but such files waits for better ones, and says so; with `strict` one of them ends it, and so does
/// `auto_update = 0`, with which none would be seen.
#[test]
fn nothing_but_files_that_are_no_plugins() {
    let gearmand = Gearmand::start();
    for (setup, code, words) in [
        (Setup::new(&[&gearmand.server()]), 0, "can be served yet"),
        (acting(&[&gearmand]).args(&["--strict"]), 1, "strict is set"),
        (Setup::new(&[&gearmand.server()]).ini("auto_update = 0"), 1, "can be served"),
    ] {
        let mut manager = setup.args(&["-d"]).prepared();
        let text = manager.worker_dir().join("text.so");
        fs::write(&text, "hello\n").unwrap();
        let finished = manager.run_to_end();
        assert!(finished.code() == Some(code) && finished.err().contains(words), "{finished:?}");
        assert!(
            finished.err().contains(&text.display().to_string()) && finished.err().contains("not a library"),
            "{finished:?}"
        );
        assert!(manager.log().contains(words));
        if code == 0 {
            manager.install("act", &library());
            assert_eq!(Job::act(&gearmand, "", "say served").result(), b"served");
            manager.signal(nix::sys::signal::Signal::SIGTERM);
        }
        manager.wait_gone();
    }
}

/// Places that cannot be written to.
#[test]
fn a_place_that_is_not_there() {
    let setup = without_any_job_server();
    let nowhere = setup.dir().join("nowhere");
    let at = |name: &str| nowhere.join(name).display().to_string();
    assert_error(&setup.log(&at("gm.log")).run_to_end(), 1, &["nowhere/gm.log", "No such file or directory"]);
    let setup = without_any_job_server();
    fs::write(setup.dir().join("file"), "").unwrap();
    let state = setup.dir().join("file/state").display().to_string();
    assert_error(&setup.args(&["--state-dir", &state]).run_to_end(), 1, &[&state, "state"]);
}

/// It has no job server and needs none.
fn without_any_job_server() -> Setup {
    Setup::new(&["127.0.0.1:1"]).plugin("act", &library())
}
