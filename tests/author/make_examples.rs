//! The examples that a Makefile builds, in other languages than Rust: each is tested by its own test, and served.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::run_gm_native;
use crate::support::build::{self, alone, build_dir, repository};
use crate::support::callers::gearman;
use crate::support::gearmand::Gearmand;
use crate::support::manager::Setup;
use crate::support::program::run;
use crate::support::wait::DEADLINE;

/// Builds a copy of an example and runs its test. `None` if `probe`, lines for a shell, fails: something is not installed.
#[track_caller]
fn made(name: &str, probe: &str, missing: &str) -> Option<PathBuf> {
    let found = run(Command::new("sh").args(["-c", probe]), b"", DEADLINE).unwrap();
    if found.code() != Some(0) {
        eprintln!("skipped: {name} needs {missing}");
        return None;
    }
    let home = build_dir().join("examples").join(name);
    alone(|| {
        let _ = fs::remove_dir_all(&home);
        fs::create_dir_all(&home).unwrap();
        for entry in fs::read_dir(repository().join("plugins-example").join(name)).unwrap() {
            let file = entry.unwrap().path();
            if file.is_file() {
                fs::copy(&file, home.join(file.file_name().unwrap())).unwrap();
            }
        }
        let include = format!("GM_INCLUDE={}", repository().join("plugin-api/include").display());
        let zig = format!("GM_ZIG={}", repository().join("plugin-api/zig/gm.zig").display());
        let package = format!("GM_GO={}", repository().join("plugin-api/go/gm").display());
        for target in ["test", "CPPFLAGS=-Wpedantic -Werror"] {
            build::make(&home, &[&include, &package, &zig, target]);
        }
    });
    Some(home.join(format!("{name}.so")))
}

#[test]
fn a_hash_in_c_reports_its_progress() {
    let probe = "echo '#include <xxhash.h>' | cc -E - > /dev/null 2>&1";
    let Some(library) = made("xxh3", probe, "xxhash (Debian: libxxhash-dev)") else { return };
    let gearmand = Gearmand::start();
    let _manager = Setup::new(&[&gearmand.server()]).plugin("xxh3", &library).start();
    gearmand.wait_workers("xxh3", 1);
    assert_eq!(gearman(&gearmand, &["-f", "xxh3"], b"abc").out(), "06b05ab6733a618578af5f94892f3950");
    let large = tempfile::NamedTempFile::new().unwrap();
    fs::write(large.path(), vec![0; 9 << 20]).unwrap();
    let submitted =
        run_gm_native(&["submit", "-h", &gearmand.server(), "xxh3", &format!("@{}", large.path().display())], b"");
    assert_eq!((submitted.code(), submitted.out().len()), (Some(0), 32), "{}", submitted.err());
    let called = run_gm_native(&["call", library.to_str().unwrap(), &format!("@{}", large.path().display())], b"");
    assert_eq!(called.out(), submitted.out());
    assert!(called.err().contains("status  4194304 of 9437184\n"), "{}", called.err());
}

#[test]
fn an_object_in_go_transforms_json() {
    let Some(library) = made("json_pick", "go version", "Go (Debian: golang)") else { return };
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("json_pick", &library);
    let _manager = setup.ini("count = 1\n[json_pick]\nsetting.fields = id,name").start();
    gearmand.wait_workers("json_pick", 1);
    let picked = gearman(&gearmand, &["-f", "json_pick"], br#"[{"name":"a","secret":"s","id":1},{}]"#);
    assert_eq!(picked.out(), r#"[{"id":1,"name":"a"},{}]"#, "{}", picked.err());
    let wrong = gearman(&gearmand, &["-f", "json_pick"], b"7");
    assert!(wrong.code() == Some(1) && wrong.err().contains("the workload is no object"), "{}", wrong.err());
}

#[test]
fn a_function_in_zig_computes() {
    let probe = if build::zig().is_some() { "true" } else { "false" };
    let Some(library) = made("statistics", probe, "Zig (pip install ziglang)") else { return };
    let gearmand = Gearmand::start();
    let _manager = Setup::new(&[&gearmand.server()]).plugin("statistics", &library).start();
    gearmand.wait_workers("statistics", 1);
    let computed = gearman(&gearmand, &["-f", "statistics"], b"3 1 2");
    assert_eq!(computed.out(), "count 3, mean 2, deviation 1, median 2, least 1, most 3", "{}", computed.err());
    let wrong = gearman(&gearmand, &["-f", "statistics"], b"1 two");
    assert!(wrong.code() == Some(1) && wrong.err().contains("two is no number"), "{}", wrong.err());
}

#[test]
fn an_object_in_cpp_keeps_a_compiled_pattern() {
    let probe = "echo '#include <re2/re2.h>' | c++ -E -x c++ - > /dev/null 2>&1";
    let Some(library) = made("redact", probe, "RE2 (Debian: libre2-dev)") else { return };
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("redact", &library);
    let manager =
        setup.ini("count = 1\n[redact]\nsetting.pattern = \\d{4}-\\d{4}\nsetting.replacement = (card)").start();
    gearmand.wait_workers("redact", 1);
    assert_eq!(gearman(&gearmand, &["-f", "redact"], b"pay 1234-5678 now").out(), "pay (card) now");
    assert_eq!(gearman(&gearmand, &["-f", "redact"], b"1234-5678, 1111-2222").out(), "(card), (card)");
    manager.wait_log("2 replaced, 3 so far");
    let wrong = run_gm_native(&["call", library.to_str().unwrap(), "x", "--setting", "pattern=("], b"");
    assert!(wrong.err().contains("its create failed: setting.pattern: missing ): ("), "{}", wrong.err());
}
