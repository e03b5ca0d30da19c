//! Functions for the tests of the author's side. A job's workload says what to do.
//!
//! Tests find it as `libgm_test_author.so` beside themselves: cargo builds it where it is a dev-dependency.
#![allow(unsafe_code)] // One of them writes where nothing is.

use std::io::Write;
use std::time::Duration;

use gm_plugin_api::{Failure, Job, JobResult, Log, function};

mod objects;

/// Every kind of report, in one job.
#[function]
fn talk(job: &Job, log: &mut Log) -> JobResult {
    let sent = [job.status(1, 2), job.data("part \0 one"), job.warning("careful\n")];
    log.error("an error");
    log.warn("a warning");
    log.push("all\nis well");
    log.debug("a detail");
    log::info!(target: "elsewhere", "from log");
    log::trace!("the smallest");
    tracing::warn!(number = 7, "from tracing");
    println!("from println");
    eprintln!("from eprintln");
    Ok(format!("{sent:?}").into())
}

/// The workload back, or what it asks for: `fail TEXT`, `exception TEXT`, `panic TEXT`.
#[function]
fn answer(job: &Job, _log: &mut Log) -> JobResult {
    let text = String::from_utf8_lossy(job.workload());
    match text.split_once(' ') {
        Some(("fail", why)) => Err(why.into()),
        Some(("exception", payload)) => Err(Failure::exception(payload)),
        Some(("panic", why)) => panic!("{why}"),
        _ => Ok(job.workload().into()),
    }
}

/// Ends the process: `segv`, `abort`, `overflow`, `exit N`.
#[function]
fn crash(job: &Job, log: &mut Log) -> JobResult {
    log.push("still here");
    end_process(job.text()?)
}

/// Ends the process as the words say.
pub(crate) fn end_process(how: &str) -> JobResult {
    match how.split_once(' ') {
        // SAFETY: none; that nothing is there is the point. A null pointer would be an ordinary panic in debug builds.
        None if how == "segv" => unsafe { std::ptr::with_exposed_provenance_mut::<u8>(8).write_volatile(1) },
        None if how == "abort" => std::process::abort(),
        None if how == "overflow" => println!("{}", deeper(1)),
        Some(("exit", code)) => std::process::exit(code.parse()?),
        _ => {}
    }
    Err(format!("not a way to end: {how}").into())
}

fn deeper(depth: u64) -> u64 {
    let room = std::hint::black_box([depth; 64]);
    if depth == 0 { 0 } else { deeper(depth + 1) + room[0] }
}

/// Works until it is asked to leave; with the workload `deaf` for ever.
#[function]
fn patient(job: &Job, _log: &mut Log) -> JobResult {
    job.status(1, 2);
    while !job.stopping() || job.workload() == b"deaf" {
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok("asked to leave".into())
}

/// Prints too much: `endless N` bytes without a line end, `lines N` records, `forged` ones, `flood` until it is to leave.
#[function]
fn noise(job: &Job, log: &mut Log) -> JobResult {
    let mut out = std::io::stdout().lock();
    match job.text()?.split_once(' ') {
        Some(("endless", bytes)) => {
            let block = [b'x'; 64 * 1024];
            for _ in 0..bytes.parse::<usize>()? / block.len() {
                out.write_all(&block)?;
            }
            out.write_all(b"\n")?;
        }
        Some(("lines", count)) => {
            (0..count.parse::<u64>()?).for_each(|number| log.push(format_args!("line {number} of many")));
        }
        None if job.workload() == b"forged" => {
            let forged = "\r[2026-11-24 12:00:00.123456]  1 ERROR  forged\n[2026-11-24] \u{1b}[2J\0 end";
            log.push(forged);
            println!("{forged}");
        }
        _ => {
            while !job.stopping() {
                out.write_all(&[b'x'; 64 * 1024])?;
                log.push("a line of a flood");
            }
        }
    }
    Ok("logged".into())
}
