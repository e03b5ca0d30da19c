// A constructor that divides by zero, with the signal raised by hand where the machine does not.
// expect: crashed with SIGFPE while loading (in a constructor, or it is damaged); try it under a debugger
#include <signal.h>
#include "entry.h"
ENTRY(divides_by_zero);
AT_LOAD crash(void) {
    volatile int zero = 0, one = 1;
    one /= zero;
    raise(SIGFPE);
}
