#![allow(unused)]

use gm_plugin_api::{Job, JobResult, function};

#[function]
fn reverse(job: &Job, log: &mut String) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
