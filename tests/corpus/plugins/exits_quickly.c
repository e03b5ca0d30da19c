// A constructor that ends the process without a trace.
// expect: exited with code 0 while loading; a constructor must return, not exit
#include <unistd.h>
#include "entry.h"
ENTRY(exits_quickly);
AT_LOAD end(void) { _exit(0); }
