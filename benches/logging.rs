//! `make bench-logging`: what the log costs. The rate of small jobs at each verbosity as a share of the rate without
//! logging, all measured in turn in one run; less than four fifths at -v is exit code 1.
//!
//! The real gearmand, one worker that runs jobs that were queued before, the log a file.

#![allow(dead_code, reason = "it uses a part of what tests stand on")]
#![allow(clippy::unwrap_used, reason = "a bench ends by panicking")]

#[path = "../tests/support/mod.rs"]
mod support;

use std::fs;
use std::process::ExitCode;
use std::time::Instant;

use gm_native::gearman::packet::{Priority, Submission};

use support::gearmand::Gearmand;
use support::manager::Setup;
use support::plugins;
use support::wait::{DEADLINE, wait_for};

const JOBS: u32 = 20_000;
const ROUNDS: usize = 5;
/// By what a user types; the first is what the others are compared with.
const VERBOSITIES: [&str; 5] = ["", "-v", "-vv", "-vvv", "-vvvv"];
/// What -v has to keep.
const SHARE: f64 = 0.8;

fn main() -> ExitCode {
    let mut best = [0.0_f64; VERBOSITIES.len()];
    for _ in 0..ROUNDS {
        for (best, verbosity) in best.iter_mut().zip(VERBOSITIES) {
            *best = best.max(rate(verbosity));
        }
    }
    println!("{JOBS} jobs, the best of {ROUNDS} rounds:");
    for (rate, verbosity) in best.iter().zip(VERBOSITIES) {
        println!("{verbosity:>6} {rate:>8.0} jobs/s {:>5.1} %", 100.0 * rate / best[0]);
    }
    if best[1] < SHARE * best[0] {
        eprintln!("at -v less than {SHARE} of the rate without logging is left");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Jobs a second, from the moment the worker is let go.
fn rate(verbosity: &str) -> f64 {
    let gearmand = Gearmand::start();
    let setup = Setup::new(&[&gearmand.server()]).plugin("act", &plugins::example("gm_test_jobs"));
    let manager = setup.verbosity(verbosity).start();
    let gate = manager.dir().join("gate");
    let mut client = gearmand.client();
    let mut submit = |workload: &str| {
        client.submit(Submission::Background(Priority::Normal), b"act", b"", workload.as_bytes()).unwrap();
    };
    submit(&format!("wait {}", gate.display()));
    wait_for("the worker to wait", DEADLINE, || gearmand.status("act").filter(|status| status.running == 1));
    (0..JOBS).for_each(|_| submit("say done"));
    let begin = Instant::now();
    fs::write(gate, "").unwrap();
    wait_for("all jobs to be done", DEADLINE, || {
        gearmand.status("act").is_none_or(|status| status.total == 0).then_some(())
    });
    f64::from(JOBS) / begin.elapsed().as_secs_f64()
}
