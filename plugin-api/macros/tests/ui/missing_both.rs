#![allow(unused)]

use gm_plugin_api::{JobResult, function};

#[function]
fn reverse() -> JobResult {
    Ok(().into())
}

fn main() {}
