// A constructor that runs into an illegal instruction.
// expect: crashed with SIGILL while it was loaded, in one of its constructors; try it under a debugger
#include <signal.h>
#include "entry.h"
ENTRY(traps);
AT_LOAD crash(void) { raise(SIGILL); }
