#![allow(unused)]

use gm_plugin_api::{Job, JobResult, Log, function};

mod first {
    use super::*;

    #[function]
    fn reverse(job: &Job, log: &mut Log) -> JobResult {
        Ok(job.workload().into())
    }
}

#[function(name = "reverse")]
fn turn(job: &Job, log: &mut Log) -> JobResult {
    Ok(job.workload().into())
}

fn main() {}
