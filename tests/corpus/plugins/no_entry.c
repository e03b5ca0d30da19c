// A library that exports nothing of ours.
// expect: does not export no_entry; it exports no function at all: put #[function] on one and build a cdylib, or use GM_FUNCTION in C
int something_else(void) { return 1; }
