//! `include/gm_testing.h`: a function under test behaves as in a worker, and a sanitizer sees what it does to memory.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]

#[path = "c/compiler.rs"]
mod compiler;

use std::fs;
use std::path::Path;
use std::process::Command;

use compiler::{compile, is_installed, place, try_compile};

const SANITIZERS: [&str; 2] = ["-fsanitize=address,undefined", "-fno-sanitize-recover"];

/// Whether programs with sanitizers can be made and run here.
fn has_sanitizers() -> bool {
    let (source, program) = (place("sanitizers.c"), place("sanitizers"));
    fs::write(&source, "int main(void) { return 0; }\n").unwrap();
    let made = try_compile("cc", &SANITIZERS, &[&source], &program).is_ok();
    let works = made && Command::new(&program).status().unwrap().success();
    if !works {
        eprintln!("skipped: sanitizers do not work here");
    }
    works
}

/// Runs a program to its end; its words if it fails.
fn run(program: &Path, args: &[&str]) -> Result<(), String> {
    let done = Command::new(program).args(args).output().unwrap();
    done.status.success().then_some(()).ok_or_else(|| String::from_utf8_lossy(&done.stderr).into_owned())
}

#[test]
fn a_function_under_test_behaves_as_in_a_worker() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c");
    let (functions, c, cpp) = (dir.join("functions.c"), dir.join("testing.c"), dir.join("testing.cc"));
    let as_c = [functions.as_path(), c.as_path()];
    let sanitizers: &[&str] = if has_sanitizers() { &SANITIZERS } else { &[] };
    for (index, (compiler, args, sources)) in [
        ("cc", &["-std=c99"][..], &as_c[..]),
        ("c++", &["-x", "c++", "-std=c++17"], &as_c),
        ("c++", &["-std=c++17"], &[&cpp]),
        ("clang", &["-std=c99"], &as_c),
        ("clang++", &["-std=c++20"], &[&cpp]),
    ]
    .into_iter()
    .enumerate()
    {
        if compiler.starts_with("clang") && !is_installed(compiler) {
            eprintln!("skipped: {compiler} is not installed");
            continue;
        }
        let program = place(&format!("testing_{index}"));
        compile(compiler, &[args, sanitizers, &["-g", "-pthread"]].concat(), sources, &program);
        assert_eq!(run(&program, &[]), Ok(()), "{compiler} {args:?}");
        if index == 0 && !sanitizers.is_empty() {
            // It reads the byte behind its workload.
            let words = run(&program, &["b"]).unwrap_err();
            assert!(words.contains("heap-buffer-overflow"), "{words}");
        }
    }
}
