// A constructor that runs into an illegal instruction.
// expect: crashed with SIGILL while loading (in a constructor, or it is damaged); try it under a debugger
#include <signal.h>
#include "entry.h"
ENTRY(traps);
AT_LOAD crash(void) { raise(SIGILL); }
