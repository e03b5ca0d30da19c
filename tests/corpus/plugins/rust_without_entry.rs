// A cdylib without #[function]: its function is exported as such.
// build: rustc --crate-type cdylib -C strip=debuginfo -o $OUT $SRC
// expect: exports rust_without_entry as a function, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
#[unsafe(no_mangle)]
pub extern "C" fn rust_without_entry() {}
