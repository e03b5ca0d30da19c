// A symbol without a type, as assembly files make them.
// expect: exports entry_is_a_label as a bare label, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
__asm__(".data\n.globl entry_is_a_label\nentry_is_a_label: .quad 1\n");
