//! P32: the report of a crash names the line.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::crashes::report;
use crate::fixture::{Job, wait_serving};
use crate::support::build;
use crate::support::gearmand::Gearmand;
use crate::support::manager::{Manager, Setup};
use crate::support::plugins;

/// Crashes where a comment says so. Its functions are not inlined into each other, even with optimisation.
const RUST: &str = r#"
    use gm_plugin_api::{Job, JobResult, Log, function};
    use std::hint::black_box;

    mod parser {
        use std::hint::black_box;

        #[inline(never)]
        pub fn parse_header(at: usize) -> u8 {
            unsafe { black_box(std::ptr::without_provenance::<u8>(at)).read_volatile() } // null
        }

        #[inline(always)]
        fn parse_part(at: usize) -> u8 {
            unsafe { black_box(std::ptr::without_provenance::<u8>(at)).read_volatile() + 1 } // inlined
        }

        #[inline(never)]
        pub fn parse_body(at: usize) -> u8 {
            black_box(parse_part(at) ^ 7)
        }
    }

    #[inline(never)]
    extern "C" fn on_element(text: &str) -> u32 {
        let number: u32 = text.parse().expect("a number"); // panic
        black_box(number) + 1
    }

    #[inline(never)]
    fn descend(depth: u32) -> u32 {
        if depth == 0 {
            return u32::from(parser::parse_header(8));
        }
        black_box(descend(depth - 1)) + 1 // recursion
    }

    #[inline(never)]
    fn wait_in_vain() -> u32 {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(3600)); // sleep
        }
    }

    fn remove_own_file() {
        let mappings = std::fs::read_to_string("/proc/self/maps").unwrap();
        let path = mappings.lines().find(|line| line.ends_with("/act.so")).and_then(|line| line.split(' ').next_back());
        std::fs::remove_file(path.unwrap()).unwrap();
    }

    #[function]
    fn act(job: &Job, _log: &mut Log) -> JobResult {
        let how = std::str::from_utf8(job.workload()).unwrap_or_default();
        let value = match how {
            "null" => parser::parse_header(8).into(),
            "inlined" => parser::parse_body(8).into(),
            "panic" => on_element("x"),
            "recursion" => descend(300),
            "thread" => std::thread::spawn(|| u32::from(parser::parse_header(8))).join().unwrap_or(0),
            "sleep" => wait_in_vain(),
            "removed" => {
                remove_own_file();
                parser::parse_header(8).into()
            }
            _ => 0,
        };
        Ok(black_box(value).to_string().into())
    }
"#;

/// C++ behind it.
const LINKED: &str = r#"
    use gm_plugin_api::{Job, JobResult, Log, function};
    unsafe extern "C" {
        fn act_in_cpp(how: i32) -> i32;
    }
    #[function]
    fn act(job: &Job, _log: &mut Log) -> JobResult {
        let how = std::str::from_utf8(job.workload()).unwrap_or_default().parse().unwrap_or(0);
        Ok(unsafe { act_in_cpp(how) }.to_string().into())
    }
"#;

const CPP: &str = r#"
#include <cstdlib>
#include <stdexcept>
#include <vector>

namespace image {
struct Reader {
    std::vector<int> sizes;
    __attribute__((noinline)) int next(volatile int *from) {
        sizes.push_back(1);
        return *from + (int)sizes.size(); // null
    }
};

__attribute__((noinline)) int check(int value) {
    if (value > 1) throw std::range_error("no such size"); // exception
    return value;
}

__attribute__((noinline)) void release(void *block) {
    std::free(block); // free
}
}

extern "C" int act_in_cpp(int how) noexcept {
    image::Reader reader;
    switch (how) {
    case 1: return reader.next((volatile int *)8);
    case 2: return image::check(how);
    case 3: {
        char *volatile block = (char *)std::malloc(100);
        image::release(block + 16);
        return (int)(block == nullptr);
    }
    }
    return 0;
}
"#;

/// The number of the line whose comment is this.
#[track_caller]
fn line(source: &str, comment: &str) -> u64 {
    let comment = format!("// {comment}");
    let at = source.lines().position(|line| line.ends_with(&comment));
    at.unwrap_or_else(|| panic!("no line ends with {comment}")) as u64 + 1
}

struct Served {
    gearmand: Gearmand,
    manager: Manager,
}

impl Served {
    #[track_caller]
    fn new(library: &Path, beside: &[PathBuf], ini: &str) -> Self {
        let gearmand = Gearmand::start();
        let setup = Setup::new(&[&gearmand.server()]).plugin("act", library);
        for library in beside {
            fs::copy(library, setup.dir().join("workers").join(library.file_name().unwrap())).unwrap();
        }
        let manager = setup.ini(&format!("on_crash = fail\nbackoff_max = 10ms\n{ini}")).start();
        wait_serving(&manager, "act");
        Self { gearmand, manager }
    }

    /// The event and the report of a job that crashes so.
    #[track_caller]
    fn crash(&self, how: &str) -> (Value, Value) {
        Job::act(&self.gearmand, how, how).failure();
        let found = report(&self.manager, how);
        wait_serving(&self.manager, "act");
        found
    }
}

/// The frames of functions whose names end so.
fn frames<'a>(report: &'a Value, function: &str) -> Vec<&'a Value> {
    let all = report["frames"].as_array().unwrap().iter();
    all.filter(|frame| frame["function"].as_str().is_some_and(|name| name.ends_with(function))).collect()
}

/// The log and the report name this line, and the place where that was called.
#[track_caller]
fn assert_place(found: &(Value, Value), function: &str, file: &str, line: u64, caller: &str) {
    let (examined, report) = found;
    let (place, called_from) =
        (examined["place"].as_str().unwrap_or(""), examined["called_from"].as_str().unwrap_or(""));
    let expected = format!("{file}:{line}");
    assert!(place.contains(function) && place.contains(&expected), "{function} {expected}: {examined}\n{report:#}");
    assert!(called_from.contains(caller), "{caller}: {examined}\n{report:#}");
    let text = examined["text"].as_str().unwrap();
    assert!(text.contains(place), "{text}");
    let named = frames(report, function);
    assert!(named.iter().any(|frame| frame["line"] == line && frame["own"] == true), "{report:#}");
}

/// With line tables, as `make build` and a release build them.
const DIST: &str = "[profile.dev]\nopt-level = 3\nlto = \"fat\"\ncodegen-units = 1\ndebug = \"line-tables-only\"\n";

#[test]
fn the_line_of_a_crash_in_rust_is_named() {
    for (profile, manifest_end) in [("debug", ""), ("dist", DIST)] {
        println!("{profile}");
        let library = plugins::rust_with("act", RUST, manifest_end);
        let served = Served::new(&library, &[], "");
        let found = served.crash("null");
        assert_place(&found, "parser::parse_header", "src/lib.rs", line(RUST, "null"), "act (src/lib.rs");
        let found = served.crash("inlined");
        assert_place(&found, "parse_part", "src/lib.rs", line(RUST, "inlined"), "parse_body (src/lib.rs");
        assert_eq!(frames(&found.1, "parse_part")[0]["inlined"], true, "{profile}: {:#}", found.1);
        let found = served.crash("panic");
        // The stack is unwound as far as that function; the message has the line of the panic itself.
        assert!(found.0["place"].as_str().unwrap().contains("on_element (src/lib.rs"), "{}", found.0);
        served.manager.wait_log(&format!("panicked at src/lib.rs:{}:", line(RUST, "panic")));
        let found = served.crash("thread");
        assert_place(&found, "parser::parse_header", "src/lib.rs", line(RUST, "null"), "");
        assert_eq!(found.1["snapshot"]["is_main_thread"], false);
        let found = served.crash("recursion");
        assert_place(&found, "parser::parse_header", "src/lib.rs", line(RUST, "null"), "descend (src/lib.rs");
        assert_eq!(found.1["frames"].as_array().unwrap().len(), 200);
        assert!(
            found.1["frames_note"].as_str().unwrap().contains("more calls are left out"),
            "{}",
            found.1["frames_note"]
        );
    }
}

#[test]
fn a_library_without_line_tables_gives_the_function_or_the_place_in_the_file() {
    let whole = plugins::rust_with("act", RUST, DIST);
    let dir = tempfile::tempdir().unwrap();
    let library = dir.path().join("act.so");
    for (option, expected) in [("--strip-debug", "act::parser::parse_header"), ("--strip-all", "act.so")] {
        let stripped = Command::new("strip").arg(option).arg("-o").args([&library, &whole]).status().unwrap();
        assert!(stripped.success(), "{option}");
        let served = Served::new(&library, &[], "");
        let (examined, report) = served.crash("null");
        let frame = &report["frames"][0];
        let offset = if option == "--strip-all" { &frame["offset"] } else { &frame["function_offset"] };
        let place = match offset.as_u64().unwrap_or_else(|| panic!("{examined}\n{report:#}")) {
            0 => expected.to_owned(),
            offset => format!("{expected}+{offset:#x}"),
        };
        assert!(examined["place"].as_str().unwrap().starts_with(&place), "{place}: {report:#}");
        assert!(frame["own"] == true && frame["module"].as_str().unwrap().ends_with("/act.so"), "{frame}");
        // The stack is unwound all the same, into the program.
        assert!(!frames(&report, "gm_native::worker::job::run").is_empty(), "{report:#}");
    }
}

#[test]
fn a_library_that_was_removed_has_no_names_and_the_report_says_so() {
    let served = Served::new(&plugins::rust("act", RUST), &[], "");
    Job::act(&served.gearmand, "removed", "removed").failure();
    let (examined, report) = report(&served.manager, "removed");
    assert!(examined["place"].as_str().unwrap().starts_with("act.so (deleted)+0x"), "{examined}");
    let note = report["frames_note"].as_str().unwrap_or("");
    assert!(note.contains("/act.so (deleted) was removed or replaced since"), "{report:#}");
}

#[test]
fn where_a_job_past_its_timeout_is_is_named() {
    let library = plugins::rust("act", RUST);
    let served = Served::new(&library, &[], "timeout = 200ms\ntimeout_grace = 100ms");
    let found = served.crash("sleep");
    assert_place(&found, "wait_in_vain", "src/lib.rs", line(RUST, "sleep"), "act (src/lib.rs");
    assert_eq!(found.0["timed_out"], true);
}

/// In C++ and behind glibc's checks. What an exception says is in the output.
#[test]
fn the_line_of_a_crash_in_cpp_is_named() {
    let linked = build::cpp("libbtpart.so", CPP, &["-shared", "-fPIC"]);
    let library = plugins::rust_linked("act", LINKED, "btpart", &linked);
    let served = Served::new(&library, &[linked], "");
    let found = served.crash("1");
    assert_place(&found, "image::Reader::next(int volatile*)", "source.cc", line(CPP, "null"), "act_in_cpp (");
    let found = served.crash("2");
    assert_place(&found, "image::check(int)", "source.cc", line(CPP, "exception"), "act_in_cpp (");
    let output = found.1["output"].to_string();
    assert!(output.contains("std::range_error") && output.contains("no such size"), "{output}");
    let found = served.crash("3");
    assert_place(&found, "image::release(void*)", "source.cc", line(CPP, "free"), "act_in_cpp (");
    assert_eq!(found.1["end"], "killed by SIGABRT");
    assert!(frames(&found.1, "abort").iter().all(|frame| frame["own"] == false), "{:#}", found.1);
}

#[test]
fn call_prints_the_backtrace() {
    let library = plugins::rust("act", RUST);
    let called = Command::new(env!("CARGO_BIN_EXE_gm-native")).arg("call").arg(&library).arg("null").output().unwrap();
    let err = String::from_utf8(called.stderr).unwrap();
    let expected = format!("act::parser::parse_header (src/lib.rs:{}:", line(RUST, "null"));
    assert!(err.contains(&expected) && err.contains("killed by SIGSEGV in the job"), "{err}");
}
