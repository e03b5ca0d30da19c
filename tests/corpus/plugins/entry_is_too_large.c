// The right magic on something larger.
// expect: exports entry_is_too_large as a variable of 512 bytes, not as the entry of a function; put #[function] on it and build with gm-plugin-api
char entry_is_too_large[512] = "abi stable library for Rust     ";
