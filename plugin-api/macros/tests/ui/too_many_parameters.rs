#![allow(unused)]

use gm_plugin_api::{Job, JobResult, Log, function};

#[function]
fn reverse(job: &Job, log: &mut Log, times: usize) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
