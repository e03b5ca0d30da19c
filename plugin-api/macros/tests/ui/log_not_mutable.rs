#![allow(unused)]

use gm_plugin_api::{Job, JobResult, Log, function};

#[function]
fn reverse(job: &Job, log: &Log) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
