// A constructor that is ended as the kernel ends one for lack of memory.
// expect: was killed during the check, probably for lack of memory
#include <signal.h>
#include "entry.h"
ENTRY(kills_itself);
AT_LOAD end(void) { raise(SIGKILL); }
