// A constructor that aborts.
// expect: crashed with SIGABRT while it was loaded, in one of its constructors; try it under a debugger
#include <stdlib.h>
#include "entry.h"
ENTRY(aborts);
AT_LOAD end(void) { abort(); }
