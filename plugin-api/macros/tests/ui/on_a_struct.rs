#![allow(unused)]

use gm_plugin_api::function;

#[function]
struct Sum {
    total: u64,
}

fn main() {}
