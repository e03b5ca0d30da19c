#![allow(unused)]

use gm_plugin_api::{Job, Log, function};

#[function]
fn count(job: &Job, log: &mut Log) -> usize {
    job.workload().len()
}

fn main() {}
