//! Functions in Go, through the loader: what package gm makes of results, errors and panics, and that a library in Go never
//! shares a process. Without Go these tests are skipped. P31 of docs/reliability.md.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::run_gm_native;
use crate::support::build::{self, alone, build_dir, command, fingerprint, repository};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;
use crate::support::program::Finished;

const SOURCE: &str = include_str!("go/functions.go");

/// The library, under the name of one of its functions; `None` where there is no Go.
fn library(function: &str) -> Option<PathBuf> {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: there is no Go here");
        return None;
    }
    Some(alone(|| built(function)))
}

#[track_caller]
fn built(function: &str) -> PathBuf {
    let of_package = |dir: &str| {
        let dir = repository().join("plugin-api").join(dir);
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).filter(|file| file.is_file()).collect::<Vec<_>>()
    };
    let mut files = of_package("go/gm");
    files.push(repository().join("plugin-api/include/gm_plugin.h"));
    files.sort();
    let contents: Vec<Vec<u8>> = files.iter().map(|file| fs::read(file).unwrap()).collect();
    let home = build_dir().join(fingerprint((SOURCE, &contents)));
    let (built, named) = (home.join("functions.so"), home.join(format!("{function}.so")));
    if !built.exists() {
        fs::create_dir_all(home.join("gm")).unwrap();
        for file in &files {
            fs::copy(file, home.join("gm").join(file.file_name().unwrap())).unwrap();
        }
        fs::write(home.join("go.mod"), "module gm.local/functions\n\ngo 1.19\n").unwrap();
        fs::write(home.join("functions.go"), SOURCE).unwrap();
        let mut go = Command::new("go");
        go.args(["build", "-buildmode=c-shared", "-o", "part", "."]).current_dir(&home);
        go.env("GOCACHE", build_dir().join("go-cache")).env("GOFLAGS", "-mod=mod").env("CGO_ENABLED", "1");
        command(&mut go);
        fs::rename(home.join("part"), &built).unwrap();
    }
    fs::copy(&built, &named).unwrap();
    named
}

/// The listings of the page: each function runs a job, after its test, if it has one.
#[test]
fn the_listings_of_the_page_work() {
    if Command::new("go").arg("version").output().is_err() {
        eprintln!("skipped: there is no Go here");
        return;
    }
    let page = fs::read_to_string(repository().join("docs/writing-plugins-go.md")).unwrap();
    let listings: Vec<&str> = page.split("\n```").filter_map(|block| block.strip_prefix("go\n")).collect();
    let home = build_dir().join("listings-go");
    let mut results = Vec::new();
    for source in listings.iter().filter(|source| source.contains("GM_GO_")) {
        let name = source.split_once("GM_GO_").unwrap().1.split(['(', ')']).nth(1).unwrap();
        let dir = home.join(name);
        let library = alone(|| {
            let _ = fs::remove_dir_all(&dir);
            fs::create_dir_all(&home).unwrap();
            let new = ["new", "--lang", "go", "--object", name];
            command(Command::new(env!("CARGO_BIN_EXE_gm-native")).args(new).current_dir(&home));
            fs::write(dir.join(format!("{name}.go")), source).unwrap();
            let is_test = |other: &&&str| other.contains("testing.T") && other.contains(&format!("gm.local/{name}/"));
            let test = listings.iter().find(is_test).copied().unwrap_or("package main\n");
            fs::write(dir.join(format!("{name}_test.go")), test).unwrap();
            for target in ["test", "all"].map(|target| target.replace("all", &format!("{name}.so"))) {
                build::make(&dir, &[&target]);
            }
            dir.join(format!("{name}.so"))
        });
        let called = call(&library, &["three short words", "--setting", "greeting=hello"]);
        results.push(called.out());
    }
    assert_eq!(results, ["THREE SHORT WORDS", "hello, job 1"]);
}

fn call(library: &Path, args: &[&str]) -> Finished {
    let path = library.display().to_string();
    let all: Vec<&str> = ["call", &path].into_iter().chain(args.iter().copied()).collect();
    run_gm_native(&all, b"")
}

#[test]
fn a_function_in_go_reports_answers_and_fails() {
    let Some(library) = library("go_act") else { return };
    let talk = call(&library, &["talk"]);
    assert_eq!(talk.out(), "[true true true] go_act H:call:1", "{}", talk.err());
    assert_eq!(talk.err(), "status  1 of 2\ndata    4 bytes: part\nwarning careful\nERROR   an error 7\n");
    for (workload, result) in [("abc", "abc"), ("", ""), ("nothing", ""), ("goroutines", "true")] {
        let called = call(&library, &[workload]);
        assert_eq!((called.code(), called.out().as_str()), (Some(0), result), "{workload}: {}", called.err());
    }
    assert_eq!(call(&library, &["large"]).stdout.len(), 5 << 20);
    for (workload, reason) in [
        ("error", "the job failed: row 7 is missing"),
        ("panic", "the job failed: panic: on purpose"),
        ("nil", "the job failed: panic: runtime error: invalid memory address or nil pointer dereference"),
        ("index", "the job failed: panic: runtime error: index out of range [5] with length 5"),
        ("exception", "the job failed with an exception: {\"code\":7}"),
    ] {
        let failed = call(&library, &[workload]);
        assert_eq!((failed.code(), failed.out().as_str()), (Some(1), ""), "{workload}: {}", failed.err());
        assert!(failed.err().trim_end().ends_with(reason), "{workload}: {}", failed.err());
        let has_trace = failed.err().contains("functions.go:");
        assert_eq!(has_trace, reason.contains("panic"), "{workload}: {}", failed.err());
    }
    let path = library.with_file_name("go_unregistered.so");
    fs::copy(&library, &path).unwrap();
    assert!(call(&path, &["x"]).err().contains("gm.Function was not called for go_unregistered"));
    let checked = run_gm_native(&["check", library.to_str().unwrap()], b"").out();
    for part in ["serves go_act\n", "6.7.8", "runtime    Go's, so it gets workers of its own"] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
}

#[test]
fn an_object_in_go_is_made_once_and_closed() {
    let Some(library) = library("go_object") else { return };
    let greeting = ["--setting", "greeting=hello"];
    let with = |args: &[&str]| call(&library, &[args, &greeting].concat());
    let jobs = with(&["--repeat", "3", "--setting", "first=4"]);
    assert_eq!(jobs.out(), "hello 7", "{}", jobs.err());
    assert_eq!(jobs.err().matches("closed\n").count(), 1, "{}", jobs.err());
    assert!(jobs.err().contains("too late"), "{}", jobs.err());
    for (args, reason) in [
        (&["--setting", "first=x"][..], "its create failed: setting.first = x is no whole number, or too large"),
        (&["--setting", "panic=1"], "its create failed: panic: in New"),
    ] {
        let failed = with(args);
        assert!(failed.code() == Some(1) && failed.err().contains(reason), "{args:?}: {}", failed.err());
    }
    assert!(call(&library, &[]).err().contains("its create failed: setting.greeting is missing"));
    assert!(with(&["--setting", "frist=1"]).err().contains("setting.frist is never read; did you mean setting.first?"));
    assert!(with(&["panic"]).err().contains("the job failed: panic: in Run"));
}

/// The functions of each worker.
fn served(manager: &Manager) -> Vec<Vec<String>> {
    let status = manager.status();
    let functions = |worker: &Value| -> Vec<String> {
        let names = worker["functions"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned());
        names.collect::<BTreeSet<_>>().into_iter().collect()
    };
    let mut all: Vec<_> = status["workers"].as_array().unwrap().iter().map(functions).collect();
    all.sort();
    all
}

#[test]
fn libraries_in_go_never_share_a_process() {
    let (Some(act), Some(object)) = (library("go_act"), library("go_object")) else { return };
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("go_act", &act).plugin("go_object", &object);
    let setup = setup.plugin("reverse_string", &plugins::example("reverse_string"));
    let setup = setup.plugin("Sum", &plugins::example("Sum"));
    let mut manager = setup.ini("count = 1\n[go_object]\nsetting.greeting = hi").start();
    let expected = [vec!["Sum", "reverse_string"], vec!["go_act"], vec!["go_object"]];
    for again in [false, true] {
        if again {
            // The stored versions are served before anything is probed.
            manager.signal(Signal::SIGTERM);
            manager.wait_exit();
            manager.start_again();
        }
        for function in ["go_act", "go_object", "reverse_string", "Sum"] {
            gearmand.wait_workers(function, 1);
        }
        assert_eq!(served(&manager), expected);
        assert_eq!(gearman(&gearmand, &["-f", "go_object"], b"").out(), "hi 1");
        assert_eq!(gearman(&gearmand, &["-f", "go_act"], b"large").stdout.len(), 5 << 20);
    }
    manager.wait_event("function_has_go", |event| event["function"] == "go_act");
}

#[test]
fn a_worker_in_go_drains_times_out_and_dies_like_any_other() {
    let Some(library) = library("go_act") else { return };
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("go_act", &library);
    let ini = "count = 1\non_crash = fail\non_timeout = fail\ntimeout = 1s\ntimeout_grace = 100ms";
    let mut manager = setup.ini(ini).start();
    gearmand.wait_workers("go_act", 1);
    let ask = |workload: &[u8]| gearman(&gearmand, &["-f", "go_act"], workload);
    assert_eq!(ask(b"abc").out(), "abc");
    // Past its timeout it is asked to stop first.
    assert_eq!(ask(b"slow").out(), "stopped early");
    assert_eq!(ask(b"stuck").code(), Some(1));
    manager.wait_log("killed");
    for (workload, sign) in
        [(&b"exit"[..], "exited with code 3"), (b"fatal", "panic: in a goroutine"), (b"crash", "SIGSEGV")]
    {
        assert_eq!(ask(workload).code(), Some(1), "{}", manager.log());
        manager.wait_log(sign);
    }
    assert_eq!(ask(b"abc").out(), "abc");
    manager.signal(Signal::SIGTERM);
    assert_eq!(manager.wait_exit().code(), Some(0), "{}", manager.log());
}
