// A constructor that writes to nowhere.
// expect: crashed with SIGSEGV while it was loaded (a constructor, or a damaged file); load it under a debugger
#include "entry.h"
ENTRY(segfaults);
AT_LOAD crash(void) { *(volatile int *)8 = 1; }
