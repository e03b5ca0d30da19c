#![allow(unused)]

use gm_plugin_api::{Job, JobResult, Log, function};

#[function]
fn longest(job: &Job, log: &mut Log) -> JobResult {
    let words: Vec<String> = job.json()?;
    Ok(words.into_iter().max_by_key(String::len).unwrap_or_default().into())
}

fn main() {}
