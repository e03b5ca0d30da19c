#![allow(unused)]

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

struct Sum;

#[function]
impl Sum {
    fn new(&mut self, cx: &Context) -> Result<(), Failure> {
        Ok(())
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        Ok(job.workload().into())
    }
}

fn main() {}
