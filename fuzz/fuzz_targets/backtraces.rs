#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| gm_native::fuzz::backtraces(data));
