// The right size, in .bss.
// expect: exports entry_is_zeros as a variable of zeros, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
#include "entry.h"
EXPORT struct entry entry_is_zeros;
