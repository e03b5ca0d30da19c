// Linked to a library that is not on this machine.
// build: cc -shared -fPIC -x c /dev/null -Wl,-soname,libnot_here.so.7 -o $TMP/libnot_here.so
// build: cc -shared -fPIC -o $OUT $SRC -L$TMP -Wl,--no-as-needed -lnot_here
// build: rm $TMP/libnot_here.so
// expect: needs libnot_here.so.7, which this machine does not have; install it, or link it statically
#include "entry.h"
ENTRY(missing_library);
