//! Functions for the tests of behaviour: a job's workload says what to do, also to the worker itself.
//!
//! Tests find it as `libgm_test_jobs.so` beside themselves: cargo builds it where it is a dev-dependency.
#![allow(unsafe_code)] // What must not happen in a worker is done here by hand.

mod crashing;
mod floods;
mod forking;
mod hostile;
mod parting;
mod starting;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gm_plugin_api::{Failure, Job, JobResult, Log, Output, function};

/// Between two looks for what a job waits for.
const PAUSE: Duration = Duration::from_millis(2);

unsafe extern "C" {
    fn fork() -> i32;
    fn setsid() -> i32;
    fn getpgid(process: i32) -> i32;
    fn _exit(code: i32) -> !;
}

/// Does what the workload says, one step a line; the last one's output is the result.
///
/// | step | what it does |
/// |---|---|
/// | `say TEXT` | nothing; its output is TEXT |
/// | `size N` | nothing; its output are N bytes, each the low byte of its place |
/// | `pid` | nothing; its output is the worker's process id |
/// | `when` | nothing; its output is the worker's process id and the time in nanoseconds |
/// | `fail TEXT`, `exception TEXT`, `panic TEXT` | the job ends so |
/// | `talk` | progress, data and a warning |
/// | `print TEXT`, `log TEXT` | one line to standard output, or to the log |
/// | `tick PATH` | a thread prints lines until there is such a file |
/// | `note PATH` | a line with the job's unique at the end of that file |
/// | `take MS` | takes so long |
/// | `spin US` | uses the processor for so many microseconds |
/// | `leak MIB` | memory that is written to and never given back |
/// | `wait PATH` | until there is such a file |
/// | `stopping` | until the worker is asked to leave |
/// | `first PATH STEP` | the step, but only in the first job that comes here |
/// | `uncured PATH STEP` | the step, until there is such a file |
/// | `alone PATH STEP` | the step, while there is such a file; the job fails where another has made it |
/// | `abort`, `segv`, `exit N`, `_exit N` | the process ends so |
/// | `crash HOW` | the process crashes in one of the ways of `crashing.rs` |
/// | `cores PATH` | core dumps are allowed, and go to that directory |
/// | `childcrash` | a forked child crashes; its output is the signal that ended it |
/// | `fork PATH` | leaves a process that holds all descriptors until there is such a file, and is in no group of ours |
/// | `split HOW` | from here on two processes do the steps; HOW is `fork`, `_Fork` or `clone` |
/// | `inchild STEP`, `inparent STEP` | the step, in one of them |
/// | `ended` | waits for the other one; its output is how that ended |
/// | `asks PATH` | progress, data, a warning and whether to stop; the answers go into that file |
/// | `dispositions PATH` | which signals are blocked, ignored and caught goes into that file |
/// | `system PATH`, `command PATH` | that of a program that C or Rust starts; it is the output, too |
/// | `brokenpipe` | writes to a pipe that nobody reads; its output is what comes of that |
/// | `chatter` | a thread of its own sends data as fast as it can, to the job's end |
/// | `wake` | writes to every eventfd of this process |
/// | `stuckonusr2` | SIGUSR2 runs a handler that never returns, from now on |
/// | `nonewfiles` | the process gets no more descriptors, from now on |
/// | `deaf` | SIGTERM and SIGINT are ignored and blocked from now on |
/// | `blockall` | every signal is blocked from now on |
/// | `secede` | this process leads a session of its own, and its group is another |
/// | `wander` | directory, umask, environment and locale change, and `setsid` is tried |
/// | `regroup` | this process joins the manager's process group |
/// | `become UID` | this process is another user's |
/// | `closefds`, `closesockets` | every descriptor from 3 on, or every TCP connection, is closed |
/// | `closechannel` | the channel to the manager is closed |
/// | `shutsockets` | every TCP connection is shut down |
/// | `coversockets WITH` | in place of every TCP connection there is this file, or a `socket` that takes all |
/// | `doomed MS` | the worker is killed, so many milliseconds after the function has returned |
/// | `scribble SEED`, `haunt SEED` | the worker's page is filled with random bytes, once or a thousand times a second |
/// | `forge HANDLE` | the worker's page names another job |
/// | `status DONE OF`, `statuses N` | progress, once or N times |
/// | `data N` | N bytes of data; its output says whether they were sent |
/// | `warn N` | a warning of N bytes; its output says whether it was sent |
/// | `huge KIND N` | the job ends by an `exception`, a `panic` or a `fail` with N bytes |
/// | `unheard` | until an order waits that the worker has not read, although it has just looked |
/// | `flow N` | a thread sends data, N bytes at a time, for as long as it may; the next step comes while it sends |
/// | `pour WHAT PATH` | `short`, `long`, `empty` lines, `log` records, `words` or `descriptors` to the manager, until there is such a file |
/// | `descriptors N` | so many messages to the manager, each with 200 descriptors |
/// | `heir WHAT PATH` | leaves processes in no group of ours that pour so, and aborts |
/// | `keep`, `late` | the job's reporter is kept, or a kept one used; its output is what that returned |
/// | `child PATH` | the same, in the worker's group |
#[function]
fn act(job: &Job, log: &mut Log) -> JobResult {
    let mut output = Vec::new();
    for line in job.text()?.lines() {
        output = step(line, job, log)?;
    }
    Ok(Output::from(output))
}

fn step(line: &str, job: &Job, log: &mut Log) -> Result<Vec<u8>, Failure> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "say" => return Ok(rest.into()),
        "size" => return Ok(pattern(rest.parse()?)),
        "pid" => return Ok(std::process::id().to_string().into()),
        "when" => {
            let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos();
            return Ok(format!("{} {now}", std::process::id()).into());
        }
        "fail" => return Err(rest.into()),
        "exception" => return Err(Failure::exception(rest)),
        "panic" => panic!("{rest}"),
        "talk" => {
            let sent = [job.status(1, 2), job.data(b"part \0 one"), job.warning("careful\n")];
            return Ok(if sent == [true; 3] { "sent".into() } else { "refused".into() });
        }
        "print" => println!("{rest}"),
        "log" => log.info(rest),
        "tick" => {
            let until = rest.to_owned();
            std::thread::spawn(move || {
                while !Path::new(&until).exists() {
                    println!("tick");
                    std::thread::sleep(10 * PAUSE);
                }
            });
        }
        "pour" => {
            let (what, until) = rest.split_once(' ').ok_or("pour WHAT PATH")?;
            floods::pour(what, until, log)?;
        }
        "descriptors" => floods::descriptors(rest.parse()?)?,
        "heir" => {
            let (what, until) = rest.split_once(' ').ok_or("heir WHAT PATH")?;
            for _ in 0..4 {
                leave_behind(true, || drop(floods::pour(what, until, log)));
            }
            std::process::abort();
        }
        "note" => {
            let mut file = OpenOptions::new().append(true).create(true).open(rest)?;
            file.write_all(format!("{}\n", job.unique()).as_bytes())?;
        }
        "take" => std::thread::sleep(Duration::from_millis(rest.parse()?)),
        "spin" => {
            let (begin, long) = (Instant::now(), Duration::from_micros(rest.parse()?));
            while begin.elapsed() < long {}
        }
        "leak" => std::mem::forget(vec![1_u8; rest.parse::<usize>()? << 20]),
        "wait" => wait(|| Path::new(rest).exists()),
        "crash" => crashing::crash(rest)?,
        "cores" => crashing::allow_core_dumps(rest)?,
        "childcrash" => return Ok(crashing::child_crashes()),
        "stopping" => wait(|| job.stopping()),
        "first" => {
            let (path, rest) = rest.split_once(' ').ok_or("first PATH STEP")?;
            if OpenOptions::new().write(true).create_new(true).open(path).is_ok() {
                return step(rest, job, log);
            }
        }
        "uncured" => {
            let (path, rest) = rest.split_once(' ').ok_or("uncured PATH STEP")?;
            if !Path::new(path).exists() {
                return step(rest, job, log);
            }
        }
        "alone" => {
            let (path, rest) = rest.split_once(' ').ok_or("alone PATH STEP")?;
            let made = OpenOptions::new().write(true).create_new(true).open(path);
            made.map_err(|error| format!("another job runs: {error}"))?;
            let output = step(rest, job, log);
            std::fs::remove_file(path)?;
            return output;
        }
        _ => {
            if let Some(output) = forking::step(verb, rest, job, |rest| step(rest, job, log))? {
                return Ok(output);
            }
            match hostile::step(verb, rest, job)? {
                Some(output) => return Ok(output),
                None => end(verb, rest)?,
            }
        }
    }
    Ok(Vec::new())
}

fn pattern(size: usize) -> Vec<u8> {
    let round: Vec<u8> = (0..=255).collect();
    let mut all = round.repeat(size.div_ceil(round.len()));
    all.truncate(size);
    all
}

fn wait(mut until: impl FnMut() -> bool) {
    while !until() {
        std::thread::sleep(PAUSE);
    }
}

/// Leaves a process behind that does something. One that secedes has left this one's group when this returns: before, it
/// would be killed with that.
fn leave_behind(secedes: bool, does: impl FnOnce()) {
    // SAFETY: the worker has one thread, so the child may do what it likes.
    let child = unsafe { fork() };
    if child == 0 {
        if secedes {
            // SAFETY: it changes this process's group and nothing else.
            unsafe { setsid() };
        }
        does();
        // SAFETY: it ends the process, and touches nothing of it.
        unsafe { _exit(0) };
    }
    // SAFETY: it only asks.
    wait(|| !secedes || unsafe { getpgid(child) } == child);
}

/// Steps after which this process is not what it was.
fn end(verb: &str, rest: &str) -> Result<(), Failure> {
    match verb {
        "abort" => std::process::abort(),
        // SAFETY: none: nothing is mapped there, which is the point.
        "segv" => unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) },
        "exit" => std::process::exit(rest.parse()?),
        // SAFETY: it ends the process, and touches nothing of it.
        "_exit" => unsafe { _exit(rest.parse()?) },
        "fork" | "child" => leave_behind(verb == "fork", || wait(|| Path::new(rest).exists())),
        _ => return Err(format!("no such step: {verb}").into()),
    }
    Ok(())
}
