// The planned entry for C, on a manager that does not load it yet.
// expect: exports entry_for_c as an entry for C, which this gm-native does not support; a newer one may
#include "entry.h"
EXPORT struct entry entry_for_c = {"gm-native plugin entry for C    ", 1, 0, {0}};
