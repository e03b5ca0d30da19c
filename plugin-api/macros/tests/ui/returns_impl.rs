#![allow(unused)]

use gm_plugin_api::{Job, Log, function};

#[function]
fn count(job: &Job, log: &mut Log) -> impl Into<Vec<u8>> {
    job.workload().to_vec()
}

fn main() {}
