#![allow(unused)]

use gm_plugin_api::{Failure, Job, Log, function};

#[function]
fn count(job: &Job, log: &mut Log) -> Result<usize, Failure> {
    Ok(job.text()?.len())
}

fn main() {}
