// An archive of object files.
// build: cc -c -fPIC -o $TMP/object.o $SRC
// build: ar rc $OUT $TMP/object.o
// expect: is a static library, not a library; build a cdylib
#include "entry.h"
ENTRY(static_library);
