// A constructor that ends the process with exit(0).
// expect: exited with code 0 while loading; a constructor must return, not exit
#include <stdlib.h>
#include "entry.h"
ENTRY(exits_0);
AT_LOAD end(void) { exit(0); }
