// A constructor that runs into an illegal instruction.
// expect: crashed with SIGILL while it was loaded (a constructor, or a damaged file); load it under a debugger
#include <signal.h>
#include "entry.h"
ENTRY(traps);
AT_LOAD crash(void) { raise(SIGILL); }
