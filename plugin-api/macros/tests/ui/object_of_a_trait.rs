#![allow(unused)]

use gm_plugin_api::function;

struct Sum;

#[function]
impl Default for Sum {
    fn default() -> Self {
        Self
    }
}

fn main() {}
