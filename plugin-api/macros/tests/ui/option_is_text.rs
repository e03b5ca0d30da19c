#![allow(unused)]
use gm_plugin_api::{Job, JobResult, Log, function};

#[function("reverse")]
fn turn(job: &Job, log: &mut Log) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
