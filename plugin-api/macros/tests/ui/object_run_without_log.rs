#![allow(unused)]

use gm_plugin_api::{Context, Failure, Job, JobResult, function};

struct Sum;

#[function]
impl Sum {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self)
    }

    fn run(&mut self, job: &Job) -> JobResult {
        Ok(job.workload().into())
    }
}

fn main() {}
