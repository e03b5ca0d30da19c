#![allow(unused)]

use gm_plugin_api::{Job, Log, function};

struct NoError;

#[function]
fn count(job: &Job, log: &mut Log) -> Result<String, NoError> {
    Err(NoError)
}

fn main() {}
