// The entry is there, but not exported.
// expect: does not export entry_is_hidden; it exports no function at all: put #[function] on one and build a cdylib, or use GM_FUNCTION in C
#include "entry.h"
__attribute__((visibility("hidden"))) struct entry entry_is_hidden = {"abi stable library for Rust     ", 0, 0, {0}};
