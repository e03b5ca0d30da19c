//! gm-native.
fn main() {}
