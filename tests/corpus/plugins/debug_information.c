// What objcopy --only-keep-debug leaves.
// build: cc -shared -fPIC -g -o $TMP/whole.so $SRC
// build: objcopy --only-keep-debug $TMP/whole.so $OUT
// expect: contains only debug information; copy the library itself
#include "entry.h"
ENTRY(debug_information);
