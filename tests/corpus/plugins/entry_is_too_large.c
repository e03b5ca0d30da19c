// The right magic on something larger: an entry of another abi_stable.
// expect: exports entry_is_too_large as an entry of 512 bytes, which has … here; build it with the gm-plugin-api of this release
char entry_is_too_large[512] = "abi stable library for Rust     ";
