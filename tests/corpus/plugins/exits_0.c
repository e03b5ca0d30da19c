// A constructor that ends the process with exit(0).
// expect: ended the process with exit code 0 while it was loaded; a constructor must return, not exit
#include <stdlib.h>
#include "entry.h"
ENTRY(exits_0);
AT_LOAD end(void) { exit(0); }
