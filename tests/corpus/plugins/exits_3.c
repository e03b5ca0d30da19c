// A constructor that ends the process with exit(3).
// expect: exited with code 3 while loading; a constructor must return, not exit
#include <stdlib.h>
#include "entry.h"
ENTRY(exits_3);
AT_LOAD end(void) { exit(3); }
