// Compiled, not linked.
// build: cc -c -fPIC -o $OUT $SRC
// expect: is an object file, not a shared library; link it with -shared
#include "entry.h"
ENTRY(object_file);
