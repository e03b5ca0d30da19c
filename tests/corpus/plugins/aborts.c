// A constructor that aborts.
// expect: crashed with SIGABRT while loading (in a constructor, or it is damaged); try it under a debugger
#include <stdlib.h>
#include "entry.h"
ENTRY(aborts);
AT_LOAD end(void) { abort(); }
