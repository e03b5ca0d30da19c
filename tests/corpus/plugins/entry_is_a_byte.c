// A variable of the right name.
// expect: exports entry_is_a_byte as a variable of 1 byte, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
char entry_is_a_byte = 1;
