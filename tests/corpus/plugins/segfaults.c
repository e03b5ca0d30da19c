// A constructor that writes to nowhere.
// expect: crashed with SIGSEGV while loading (in a constructor, or it is damaged); try it under a debugger
#include "entry.h"
ENTRY(segfaults);
AT_LOAD crash(void) { *(volatile int *)8 = 1; }
