#![allow(unused)]

use gm_plugin_api::{Context, Failure, Job, JobResult, Log, function};

struct Settings {
    word: String,
}

struct Greet(Settings);

#[function]
impl Greet {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self(cx.settings()?))
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        Ok(format!("{}, {}", self.0.word, job.text()?).into())
    }
}

fn main() {}
