#![allow(unused)]
use gm_plugin_api::{Context, Job, JobResult, Log, function};

struct Greeter<'a> {
    word: &'a str,
}

#[function]
impl<'a> Greeter<'a> {
    fn new(cx: &'a Context) -> Self {
        Self { word: cx.setting("word").unwrap_or("Hello") }
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> JobResult {
        Ok(format!("{}, {}", self.word, job.text()?).into())
    }
}

fn main() {}
