// One per thread is none that can be found.
// expect: exports entry_is_thread_local as a thread-local variable, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
#include "entry.h"
EXPORT __thread struct entry entry_is_thread_local = {"abi stable library for Rust     ", 0, 0, {0}};
