#![allow(unused)]

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

struct Sum<T>(T);

#[function]
impl<T> Sum<T> {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Err("none")?
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        Ok(job.workload().into())
    }
}

fn main() {}
