#![allow(unused)]

use gm_plugin_api::{Job, JobResult, function};

#[function]
fn reverse(job: &mut Job, log: &mut Log) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
