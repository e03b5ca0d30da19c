#![allow(unused)]

use gm_plugin_api::{JobResult, Log, function};

#[function]
fn reverse(workload: &[u8], log: &mut Log) -> JobResult {
    Ok(workload.into())
}

fn main() {}
