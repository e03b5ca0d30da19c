//! What a job can be asked to do: well-behaved work, and what plugins do wrong.

use std::hash::{DefaultHasher, Hasher};
use std::hint::black_box;
use std::time::Duration;

use gm_plugin_api::{Failure, Job, JobResult, Log, Output};

use crate::record::Run;

unsafe extern "C" {
    fn fork() -> i32;
    fn close(descriptor: i32) -> i32;
    fn _exit(code: i32) -> !;
}

/// Does what the first line of the workload says.
///
/// | step | what it does |
/// |---|---|
/// | `take US` | takes so many microseconds |
/// | `size N` | its result is followed by N bytes |
/// | `print N`, `log N` | so many lines to standard output, or to the log |
/// | `data N` | N pieces of data of 10,000 bytes |
/// | `fork` | leaves a child that holds all descriptors for a while |
/// | `fail`, `panic` | the job ends so |
/// | `crash`, `segv`, `overflow` (of the stack), `exit` | the worker ends so |
/// | `once STEP` | the step, but only in the first run |
/// | `hang` | never ends by itself |
/// | `polite` | ends when the worker is asked to stop |
/// | `leak MIB` | memory that is written to and never given back |
/// | `closefds` | every descriptor from 3 on is closed |
pub(crate) fn act(job: &Job, log: &mut Log, run: &Run) -> JobResult {
    let workload = job.workload();
    let line = workload.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let mut result = format!("{} {:016x}\n", job.unique(), fingerprint(workload)).into_bytes();
    let room = step(std::str::from_utf8(line)?, job, log, run)?;
    result.resize(result.len() + room, b'.');
    Ok(Output::from(result))
}

/// As the ledger has it.
fn fingerprint(workload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    hasher.write(workload);
    hasher.finish()
}

/// Returns by how much the result is to grow.
fn step(line: &str, job: &Job, log: &mut Log, run: &Run) -> Result<usize, Failure> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "take" => std::thread::sleep(Duration::from_micros(rest.parse()?)),
        "size" => return Ok(rest.parse()?),
        "print" => (0..rest.parse::<u32>()?).for_each(|line| println!("line {line} of {}", job.unique())),
        "log" => (0..rest.parse::<u32>()?).for_each(|line| log.info(format_args!("line {line}"))),
        "data" => {
            // What cannot be sent is not this job's fault.
            for _ in 0..rest.parse::<u32>()? {
                job.data([b'd'; 10_000]);
            }
        }
        "fork" => leave_child(run),
        "fail" => return Err("as asked".into()),
        "panic" => panic!("as asked"),
        "crash" => std::process::abort(),
        // SAFETY: none: nothing is mapped there, which is the point.
        "segv" => unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) },
        "overflow" => drop(overflow(0)),
        "exit" => std::process::exit(0),
        "once" if run.is_first() => return step(rest, job, log, run),
        "once" => {}
        "hang" => loop {
            std::thread::sleep(Duration::from_secs(1));
        },
        "polite" => {
            while !job.stopping() {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        "leak" => std::mem::forget(vec![1_u8; rest.parse::<usize>()? << 20]),
        "closefds" => {
            for descriptor in 3..256 {
                // SAFETY: a job that harms its worker is what is wanted.
                unsafe { close(descriptor) };
            }
        }
        _ => return Err(format!("no such step: {line}").into()),
    }
    Ok(0)
}

/// Calls itself until the stack is full.
#[allow(unconditional_recursion)] // The stack is to be full.
fn overflow(depth: u64) -> u64 {
    let room = black_box([depth; 64]);
    overflow(depth.wrapping_add(1)).wrapping_add(room[0])
}

/// A child in the worker's group that holds everything but the job's lock.
fn leave_child(run: &Run) {
    // SAFETY: the worker has one thread, so the child may do what it likes.
    if unsafe { fork() } == 0 {
        // SAFETY: the child closes its own copy.
        unsafe { close(run.descriptor()) };
        std::thread::sleep(Duration::from_millis(300));
        // SAFETY: it ends the process, and touches nothing of it.
        unsafe { _exit(0) };
    }
}
