// The right size, another magic.
// expect: exports entry_is_of_another_kind as a variable of 152 bytes that begins with another thing …, not as the entry of a function; put #[function] on it and build with gm-plugin-api, or use GM_FUNCTION in C
#include "entry.h"
EXPORT struct entry entry_is_of_another_kind = {"another thing entirely", 0, 11, {0}};
