// A procedural macro is a shared library too.
// build: rustc --crate-type proc-macro -o $OUT $SRC
// expect: is a Rust dylib or procedural macro; set crate-type = ["cdylib"] in its Cargo.toml and build it again
extern crate proc_macro;
#[proc_macro]
pub fn rust_macro(input: proc_macro::TokenStream) -> proc_macro::TokenStream {
    input
}
