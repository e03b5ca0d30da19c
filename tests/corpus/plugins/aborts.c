// A constructor that aborts.
// expect: crashed with SIGABRT while it was loaded (a constructor, or a damaged file); load it under a debugger
#include <stdlib.h>
#include "entry.h"
ENTRY(aborts);
AT_LOAD end(void) { abort(); }
