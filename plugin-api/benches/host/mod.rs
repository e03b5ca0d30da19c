//! A worker that does nothing with what a function tells it.

use gm_plugin_api::abi::{Host, RSlice, RStr};

extern "C" fn status(_: u64, _: u64, _: u64) -> bool {
    true
}

extern "C" fn bytes(_: u64, _: RSlice<'_, u8>) -> bool {
    true
}

extern "C" fn log(_: u64, _: u8, _: RStr<'_>, _: RStr<'_>) {}

extern "C" fn stopping(_: u64) -> bool {
    false
}

/// It takes everything.
pub static HOST: Host = Host { size: size_of::<Host>(), status, data: bytes, warning: bytes, log, stopping };
