#![allow(unused)]

use gm_plugin_api::{Context, Failure, function};

struct Sum;

#[function]
impl Sum {
    fn new(cx: &Context) -> Result<Self, Failure> {
        Ok(Self)
    }
}

fn main() {}
