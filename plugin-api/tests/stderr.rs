//! What a panic prints: nothing where it becomes a job's failure, all of it where the process ends.
//!
//! Standard error belongs to the whole process, so each case runs in a process of its own: this test again, with a variable set.
#![allow(clippy::unwrap_used)] // Helpers of tests.

use std::process::{Command, Output};

use gm_plugin_api::testing::TestJob;
use gm_plugin_api::{Job, Log};

const CASE: &str = "GM_TEST_CASE";

/// Does nothing unless a variable names the case.
#[test]
fn a_case() {
    let run = |function: fn(&Job, &mut Log)| TestJob::new("").run(function);
    match std::env::var(CASE).as_deref() {
        Ok("caught") => {
            assert_eq!(run(|_, _| panic!("caught one")).failure().message, "caught one");
        }
        Ok("thread") => {
            run(|_, _| drop(std::thread::spawn(|| panic!("in a thread")).join()));
        }
        Ok("twice") => {
            run(|_, _| {
                struct Another;
                impl Drop for Another {
                    fn drop(&mut self) {
                        panic!("the second");
                    }
                }
                let _another = Another;
                panic!("the first");
            });
        }
        Ok("outside") => panic!("outside of a job"),
        _ => {}
    }
}

fn run(case: &str) -> (Output, String) {
    run_with(case, "0")
}

fn run_with(case: &str, backtrace: &str) -> (Output, String) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["a_case", "--exact", "--nocapture"])
        .env(CASE, case)
        .env("RUST_BACKTRACE", backtrace)
        .env_remove("RUST_LIB_BACKTRACE")
        .output()
        .unwrap();
    let printed = String::from_utf8_lossy(&output.stderr).into_owned();
    (output, printed)
}

#[test]
fn a_caught_panic_prints_nothing() {
    let (output, printed) = run("caught");
    assert!(output.status.success());
    assert_eq!(printed, "");
    let (output, printed) = run_with("caught", "1");
    assert!(output.status.success());
    assert!(printed.contains("caught one") && printed.contains("stderr::a_case"), "{printed}");
}

#[test]
fn a_panic_that_nobody_here_catches_is_printed() {
    let (output, printed) = run("thread");
    assert!(output.status.success());
    assert!(printed.contains("in a thread"), "{printed}");
    let (output, printed) = run("outside");
    assert!(!output.status.success());
    assert!(printed.contains("outside of a job"), "{printed}");
}

#[test]
fn two_at_once_end_the_process_and_both_are_printed() {
    let (output, printed) = run("twice");
    assert!(!output.status.success());
    assert!(printed.contains("the first") && printed.contains("the second"), "{printed}");
}
