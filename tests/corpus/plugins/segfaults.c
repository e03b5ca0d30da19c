// A constructor that writes to nowhere.
// expect: crashed with SIGSEGV while it was loaded, in one of its constructors; try it under a debugger
#include "entry.h"
ENTRY(segfaults);
AT_LOAD crash(void) { *(volatile int *)8 = 1; }
