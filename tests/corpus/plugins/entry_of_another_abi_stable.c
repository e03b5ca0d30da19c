// Magic and size of an entry, but of an abi_stable whose types are others.
// expect: …
#include "entry.h"
EXPORT struct entry entry_of_another_abi_stable = {"abi stable library for Rust     ", 0, 10, {0}};
