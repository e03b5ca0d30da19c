//! Functions in C, through the loader: every call of `gm_plugin.h`, and what C lets a function do wrong.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run_gm_native;
use crate::support::build::{self, repository};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::program::Finished;

const SOURCE: &str = include_str!("c/functions.c");

/// The library, under the name of one of its functions.
fn library(function: &str) -> PathBuf {
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    build::c(
        &format!("{function}.so"),
        SOURCE,
        &["-std=c99", "-shared", "-fPIC", "-pthread", "-D_GNU_SOURCE", &include],
    )
}

fn call(function: &str, args: &[&str]) -> Finished {
    let library = library(function).display().to_string();
    let all: Vec<&str> = ["call", &library].into_iter().chain(args.iter().copied()).collect();
    run_gm_native(&all, b"")
}

/// What is wrong with the job, as `call` says it.
fn failure(workload: &str) -> String {
    let failed = call("c_wrong", &[workload]);
    assert_eq!((failed.code(), failed.out().as_str()), (Some(1), ""), "{}", failed.err());
    let err = failed.err();
    err.rsplit_once("c_wrong.so: ").unwrap_or_else(|| panic!("{err}")).1.trim_end().to_owned()
}

#[test]
fn a_function_reports_and_answers() {
    let talk = call("c_talk", &[]);
    assert_eq!((talk.code(), talk.out().as_str()), (Some(0), "111 c_talk H:call:1"));
    assert_eq!(talk.err(), "status  1 of 2\ndata    4 bytes: part\nwarning careful\nERROR   an error 7\n");
    assert_eq!(call("c_echo", &["text"]).out(), "text");
    assert_eq!(call("c_echo", &[]).out(), "");
    assert_eq!(call("c_twice", &["ab", "--repeat", "3"]).out(), "abab");
    assert_eq!(call("c_twice", &[]).out(), "");
}

#[test]
fn check_names_version_and_compiler() {
    let path = library("c_object").display().to_string();
    let checked = run_gm_native(&["check", &path], b"").out();
    assert!(checked.contains("serves c_object\n"), "{checked}");
    for part in ["3.2.1", "gcc ", "c_echo, c_object, c_talk, c_twice, c_wrong"] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
}

#[test]
fn a_job_fails_with_its_reason() {
    for (workload, reason) in [
        ("f", "the job failed: row 7 is missing"),
        ("F", "the job failed: first"),
        ("e", "the job failed with an exception: {\"code\":7}"),
        ("7", "the job failed: it returned 7"),
        ("2", "the job failed: it gave its job two results"),
        ("n", "the job failed: gm_result was given NULL and a size of 3 bytes"),
        (
            "m",
            "the job failed: gm_result was given a size of 18446744073709551615 bytes, which is negative or too large",
        ),
    ] {
        assert_eq!(failure(workload), reason, "{workload}");
    }
}

#[test]
fn what_is_no_job_is_refused_and_said_once() {
    let stray = "was called with a pointer that is NULL or no longer valid, or on another thread than run's";
    for (workload, result, lines) in
        [("N", "survived", 0), ("w", "refused", 1), ("t", "from run", 1), ("0", "", 0), ("k", "", 0)]
    {
        let called = call("c_wrong", &[workload]);
        assert_eq!((called.code(), called.out().as_str()), (Some(0), result), "{workload}: {}", called.err());
        assert_eq!(called.err().matches(stray).count(), lines, "{workload}: {}", called.err());
    }
}

#[test]
fn state_is_made_once_and_destroyed() {
    let jobs = call("c_object", &["--repeat", "3", "--setting", "greeting=hello"]);
    assert_eq!(jobs.out(), "hello 3", "{}", jobs.err());
    assert_eq!(jobs.err().matches("destroyed\n").count(), 1);
    let missing = call("c_object", &[]);
    assert_eq!(missing.code(), Some(1));
    assert!(missing.err().contains("its create failed: setting.greeting is missing"), "{}", missing.err());
    let code = call("c_object", &["--setting", "greeting=x", "--setting", "return=1"]);
    assert!(code.err().contains("its create failed: it returned 3"), "{}", code.err());
    let unread = call("c_object", &["--setting", "greeting=x", "--setting", "retrun=1"]);
    assert!(unread.err().contains("setting.retrun is never read; did you mean setting.return?"), "{}", unread.err());
    let all = call("c_object", &["--setting", "all=1", "--setting", "greeting=x"]);
    assert_eq!((all.code(), all.err().contains("never read")), (Some(0), false), "{}", all.err());
    let plain = call("c_echo", &["--setting", "x=1"]);
    assert!(plain.err().contains("setting.x is never read"), "{}", plain.err());
}

/// A job that is over keeps its struct for a while, so whoever still has a pointer to it is refused.
#[test]
fn it_is_served_like_any_other() {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("c_wrong", &library("c_wrong"));
    let setup = setup.plugin("c_object", &library("c_object")).plugin("c_twice", &library("c_twice"));
    let manager = setup.ini("count = 1\n[c_object]\nsetting.greeting = hi").start();
    for function in ["c_wrong", "c_object", "c_twice"] {
        gearmand.wait_workers(function, 1);
    }
    assert_eq!(gearman(&gearmand, &["-f", "c_object"], b"").out(), "hi 1");
    assert_eq!(gearman(&gearmand, &["-f", "c_object"], b"").out(), "hi 2");
    assert_eq!(gearman(&gearmand, &["-f", "c_wrong"], b"k").code(), Some(0));
    assert_eq!(gearman(&gearmand, &["-f", "c_wrong"], b"l").out(), "0 1");
    manager.wait_log("was called with a pointer that is NULL or no longer valid");
    let failed = gearman(&gearmand, &["-f", "c_wrong"], b"f");
    assert_eq!(failed.code(), Some(1));
    assert!(failed.err().contains("row 7 is missing"), "{}", failed.err());
    // More than a socket takes at once: the rest is sent from the library's memory later.
    let large = vec![b'x'; 5 << 20];
    assert_eq!(gearman(&gearmand, &["-f", "c_twice"], &large).stdout.len(), 2 * large.len());
}

/// The listings of the page, compiled as strictly as anybody does: each function runs a job, and its test, if it has one.
#[test]
fn the_listings_of_the_documentation_work() {
    let page = fs::read_to_string(repository().join("docs/writing-plugins-c.md")).unwrap();
    let listings = || page.split("\n```").filter(|block| block.contains("#include <gm_"));
    let mut results = Vec::new();
    let mut tests = 0;
    for block in listings().filter(|block| !block.contains("GM_TESTED")) {
        let (language, source) = block.split_once('\n').unwrap();
        let name = source.split_once("\nGM_").unwrap().1.split(['(', ')', ',']).nth(1).unwrap();
        let library = listing(language, &format!("{name}.so"), source, &["-shared", "-fPIC"]).display().to_string();
        let mut args = vec!["call", &library, "three short words"];
        if source.contains("\"greeting\"") {
            args.extend(["--setting", "greeting=hello"]);
        }
        let called = run_gm_native(&args, b"");
        assert_eq!(called.code(), Some(0), "{name}: {}", called.err());
        results.push(called.out());
        if let Some(test) = listings().find(|block| block.contains(&format!("GM_TESTED({name});"))) {
            let test = test.split_once('\n').unwrap().1;
            let program = listing(language, &format!("test_{name}"), &format!("{source}\n{test}"), &[]);
            build::command(&mut Command::new(program));
            tests += 1;
        }
    }
    assert_eq!(
        (results, tests),
        (["3", "hello, job 1", "THREE SHORT WORDS", "hello, job 1"].map(String::from).to_vec(), 2)
    );
}

fn listing(language: &str, output: &str, source: &str, args: &[&str]) -> PathBuf {
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    let args = [&["-Wpedantic", "-Werror", &include], args].concat();
    match language {
        "c" => build::c(output, source, &[&["-std=c99"], &args[..]].concat()),
        _ => build::cpp(output, source, &[&["-std=c++17"], &args[..]].concat()),
    }
}
