// A constructor that never returns.
// expect: was not loaded within … s: one of its constructors does not return; mend it, or raise probe_timeout
#include "entry.h"
ENTRY(loops);
AT_LOAD loop(void) {
    for (volatile int i = 0;; i++) {
    }
}
