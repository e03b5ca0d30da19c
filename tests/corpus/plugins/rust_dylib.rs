// A crate built for other Rust crates to link to.
// build: rustc --crate-type dylib -o $OUT $SRC
// expect: is a Rust dylib or procedural macro; set crate-type = ["cdylib"] in its Cargo.toml and build it again
#[unsafe(no_mangle)]
pub extern "C" fn rust_dylib() {}
