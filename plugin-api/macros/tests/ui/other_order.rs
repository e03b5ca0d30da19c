#![allow(unused)]

use gm_plugin_api::{Job, JobResult, Log, function};

#[function]
fn reverse(log: &mut Log, job: &Job) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
