#![allow(unused)]

use gm_plugin_api::{Job, JobResult, function};

#[function]
fn reverse(job: &Job) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
