#![allow(unused)]

use gm_plugin_api::{Job, JobResult, Log, function};

struct Sum;

#[function]
impl Sum {
    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        Ok(job.workload().into())
    }
}

fn main() {}
