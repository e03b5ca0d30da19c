// A constructor that is ended as the kernel ends one for lack of memory.
// expect: was killed while it was looked at, probably for lack of memory
#include <signal.h>
#include "entry.h"
ENTRY(kills_itself);
AT_LOAD end(void) { raise(SIGKILL); }
