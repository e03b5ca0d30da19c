//! Functions for the ledger: each writes down when a job starts and ends, and holds the job's lock meanwhile.
//!
//! Tests find it as `libgm_test_ledger.so` beside themselves: cargo builds it where it is a dev-dependency.
#![allow(unsafe_code)] // What must not happen in a worker is done here by hand.

mod record;
mod steps;

use std::hint::black_box;

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

use record::Run;

/// After the mark eight bytes of a version and eight of a mood, both filled up with spaces. Moods: `good`, `crash` and
/// `fail` in a job, `new` (which fails) and `slow` (which takes two seconds) in `new`.
static STAMP: [u8; 38] = *b"gm-native ledger st.: 0       good    ";

fn stamp(place: usize) -> String {
    // Not to be known to the compiler: the bytes are changed in the finished library.
    let stamp = black_box(&STAMP);
    String::from_utf8_lossy(&stamp[place..place + 8]).trim_end().to_owned()
}

/// Answers with the job's unique and a fingerprint of its workload.
///
/// The workload's first line is a step of [`steps`]; what follows only takes up room.
fn answer(job: &Job, log: &mut Log) -> JobResult {
    let run = Run::start(&job.unique(), &stamp(22), &stamp(30))?;
    let mood = stamp(30);
    if mood == "crash" {
        std::process::abort();
    }
    let done = if mood == "fail" { Err("this version fails".into()) } else { steps::act(job, log, &run) };
    run.end(match &done {
        Ok(_) => "done",
        Err(_) => "failed",
    })?;
    done
}

struct Ledger;

impl Ledger {
    fn make() -> Result<Self, Failure> {
        match stamp(30).as_str() {
            "new" => return Err("this version cannot be made".into()),
            "slow" => std::thread::sleep(std::time::Duration::from_secs(2)),
            _ => {}
        }
        Ok(Self)
    }
}

macro_rules! functions {
    ($($object:ident $name:literal)*) => { $(
        struct $object(#[allow(dead_code)] Ledger);

        #[function(name = $name)]
        impl $object {
            fn new(_cx: &Context) -> Result<Self, Failure> {
                Ok(Self(Ledger::make()?))
            }

            fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
                answer(job, log)
            }
        }
    )* };
}

functions! { Orders "orders" Mails "mails" Images "images" }
