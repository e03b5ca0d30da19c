//! A layout says of which package its types are. Those here are gm-plugin-api's, as they once were.

fn main() {
    println!("cargo::rustc-env=CARGO_PKG_NAME=gm-plugin-api");
    println!("cargo::rerun-if-changed=build.rs");
}
