//! The ledger: thousands of jobs with unique ids while everything breaks, and an account of what became of each.

#![allow(clippy::unwrap_used, reason = "a test ends by panicking")]
#![allow(missing_docs, reason = "the fields of a record are named like what they hold")]

mod chaos;
mod checker;
mod clients;
mod history;
mod jobs;
mod machine;
mod outsiders;
mod prober;
mod proxy;
mod resolver;
mod run;
#[path = "../support/mod.rs"]
mod support;
mod world;

/// Short by itself; `make soak` makes it long.
#[test]
fn nothing_is_lost_whatever_breaks() {
    // Only this thread, and what it starts, has the mounts of the run.
    let done = std::thread::scope(|scope| scope.spawn(|| run::run(run::Plan::from_environment())).join());
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
}
