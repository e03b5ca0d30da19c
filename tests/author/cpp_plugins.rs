//! Functions in C++, through the loader: what `gm_plugin.hpp` makes of results and of whatever a function throws.

use std::path::PathBuf;

use nix::sys::signal::Signal;

use crate::run_gm_native;
use crate::support::build::{self, repository};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::program::Finished;

const SOURCE: &str = include_str!("c/functions.cc");

/// The library, under the name of one of its functions.
fn library(function: &str) -> PathBuf {
    let include = format!("-I{}", repository().join("plugin-api/include").display());
    let args = ["-std=c++17", "-shared", "-fPIC", "-pthread", &include];
    let built = build::cpp("functions.so", SOURCE, &args);
    let named = built.with_file_name(format!("{function}.so"));
    match std::fs::hard_link(&built, &named) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{}: {error}", named.display()),
        _ => named,
    }
}

fn call(function: &str, args: &[&str]) -> Finished {
    let library = library(function).display().to_string();
    let all: Vec<&str> = ["call", &library].into_iter().chain(args.iter().copied()).collect();
    run_gm_native(&all, b"")
}

#[test]
fn a_function_reports_and_answers() {
    let talk = call("cpp_talk", &[]);
    assert_eq!((talk.code(), talk.out().as_str()), (Some(0), "cpp_talk H:call:1 sent"), "{}", talk.err());
    assert_eq!(talk.err(), "status  1 of 2\ndata    4 bytes: part\nwarning careful\nERROR   an error\n");
}

#[test]
fn everything_that_can_be_returned_arrives() {
    let large = "x".repeat(100_000);
    for (way, result) in [
        ("nothing", ""),
        ("literal", "a literal"),
        ("view", "a text that is gone"),
        ("empty", ""),
        ("empty vector", ""),
        ("short", "short"),
        ("owned", "of malloc"),
        ("bytes", "ok"),
        ("large vector", "v".repeat(300_000).as_str()),
        (large.as_str(), "s".repeat(200_000).as_str()),
    ] {
        let called = call("cpp_return", &[way]);
        assert!(called.code() == Some(0) && called.out() == result, "{way:.20}: {:.200}", called.err());
    }
    // Each is freed by its address, among others that are not.
    let again = call("cpp_return", &[&large, "--repeat", "20"]);
    assert_eq!((again.code(), again.stdout.len()), (Some(0), 200_000));
}

/// What the message says of an exception.
#[test]
fn whatever_is_thrown_fails_the_job_with_its_type_and_words() {
    let long = format!("std::runtime_error: {}end", "l".repeat(5000));
    let deep = format!(
        "{}; caused by more",
        (12..=20).rev().map(|level| format!("level {level}")).collect::<Vec<_>>().join("; caused by ")
    );
    for (what, reason) in [
        ("runtime", "std::runtime_error: row 7 is missing"),
        ("failure", "row 8 is missing"),
        ("memory", "std::bad_alloc"),
        ("system", "std::system_error: the disk: No space left on device"),
        ("template", "(anonymous namespace)::Outer<int>::Inner: inside a template"),
        ("silent", "(anonymous namespace)::Silent"),
        ("int", "int"),
        ("text", "char const*: a text"),
        ("null", "char const*: NULL"),
        ("string", "std::string: a std::string's"),
        ("mine", "(anonymous namespace)::Mine"),
        ("nested", "level 2; caused by level 1; caused by level 0; caused by std::out_of_range: the innermost"),
        ("deep", &deep),
        ("half", "std::runtime_error: after its result"),
        ("long", &long),
    ] {
        let failed = call("cpp_throw", &[what]);
        assert_eq!((failed.code(), failed.out().as_str()), (Some(1), ""), "{what}: {}", failed.err());
        let err = failed.err();
        let said = err.rsplit_once("the job failed: ").unwrap_or_else(|| panic!("{what}: {err}")).1;
        assert_eq!(said.trim_end(), reason, "{what}");
    }
    let at = call("cpp_throw", &["at"]);
    assert!(at.err().contains("the job failed: std::out_of_range: vector::_M_range_check"), "{}", at.err());
    let exception = call("cpp_throw", &["exception"]);
    assert!(exception.err().contains("the job failed with an exception: {\"code\":7}"), "{}", exception.err());
    assert_eq!(call("cpp_throw", &["no"]).out(), "nothing was thrown");
}

#[test]
fn an_object_is_made_once_and_destroyed() {
    let greeting = ["--setting", "greeting=hello"];
    let with = |args: &[&str]| call("cpp_counter", &[args, &greeting].concat());
    let jobs = with(&["--repeat", "3", "--setting", "step=2"]);
    assert_eq!((jobs.out().as_str(), jobs.err().matches("destroyed\n").count()), ("hello 6", 1), "{}", jobs.err());
    for (args, reason) in [
        (&["--setting", "throw=int"][..], "its create failed: int"),
        (&["--setting", "throw=1"], "its create failed: std::invalid_argument: the constructor does not like it"),
        (&["--setting", "step=2x"], "its create failed: setting.step = 2x is no whole number, or too large"),
        (&["--setting", "step=99999999999999999999"], "setting.step = 99999999999999999999 is no whole number"),
    ] {
        let failed = with(args);
        assert_eq!(failed.code(), Some(1), "{args:?}");
        assert!(failed.err().contains(reason) && !failed.err().contains("destroyed"), "{args:?}: {}", failed.err());
    }
    let missing = call("cpp_counter", &[]);
    assert!(missing.err().contains("its create failed: setting.greeting is missing"), "{}", missing.err());
    assert_eq!(with(&["--setting", "all=1"]).out(), "hello 1");
    assert!(call("cpp_plain", &[]).err().contains("data    3 bytes"));
}

#[test]
fn check_names_version_and_compiler() {
    let path = library("cpp_counter").display().to_string();
    let checked = run_gm_native(&["check", &path], b"").out();
    for part in ["serves cpp_counter\n", "4.5.6", "gcc ", "cpp_counter, cpp_plain, cpp_return, cpp_talk"] {
        assert!(checked.contains(part), "{part}: {checked}");
    }
}

/// On a real job server: failures leave the object as it is; what escapes ends the worker, and the log says why.
#[test]
fn it_is_served_like_any_other() {
    let gearmand = Gearmand::start();
    let mut setup = Setup::new(&[&gearmand.server()]);
    let functions = ["cpp_counter", "cpp_return", "cpp_throw", "cpp_throws_late"];
    for function in functions {
        setup = setup.plugin(function, &library(function));
    }
    let mut manager = setup.ini("count = 1\non_crash = fail\n[cpp_counter]\nsetting.greeting = hi").start();
    for function in functions {
        gearmand.wait_workers(function, 1);
    }
    let ask = |function: &str, workload: &[u8]| gearman(&gearmand, &["-f", function], workload);
    assert_eq!(ask("cpp_counter", b"").out(), "hi 1");
    let failed = ask("cpp_counter", b"throw");
    assert!(failed.code() == Some(1) && failed.err().contains("std::runtime_error: job 2"), "{}", failed.err());
    assert_eq!(ask("cpp_counter", b"").out(), "hi 3");
    // More than a socket takes at once: the rest is sent from the library's memory later.
    let large = vec![b'x'; 5 << 20];
    assert_eq!(ask("cpp_return", &large).stdout.len(), 2 * large.len());
    assert_eq!(ask("cpp_throws_late", b"").out(), "served");
    // No handler can catch what another thread throws.
    assert_eq!(ask("cpp_throw", b"thread").code(), Some(1));
    manager.wait_log("terminate called after throwing an instance of 'std::runtime_error'");
    manager.wait_log("in a thread");
    gearmand.wait_workers("cpp_throw", 1);
    assert_eq!(ask("cpp_throw", b"no").out(), "nothing was thrown");
    manager.signal(Signal::SIGTERM);
    manager.wait_exit();
    assert!(manager.log().contains("in a destructor"), "{}", manager.log());
}
