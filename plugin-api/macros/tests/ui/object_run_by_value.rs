#![allow(unused)]

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

struct Sum;

#[function]
impl Sum {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn run(self, job: &Job, log: &mut Log) -> JobResult {
        Ok(job.workload().into())
    }
}

fn main() {}
