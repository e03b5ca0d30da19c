// Calls a C function that is named as its entry is: what binds a C library of that name would be such a one.
// expect: calls a C function calls_its_own_name, but its entry has the same name: the call would run
// expect: into the entry and crash; give the Gearman function another name
#include "entry.h"
ENTRY(calls_its_own_name);
extern int named_alike(void) __asm__("calls_its_own_name");
EXPORT int call(void) { return named_alike(); }
