#![allow(unused)]

use gm_plugin_api::{Context, Job, Log, function};

struct Sum;

#[function]
impl Sum {
    fn new(cx: &Context) -> Self {
        Self
    }

    fn run(&mut self, job: &Job, log: &mut Log) -> u64 {
        1
    }
}

fn main() {}
