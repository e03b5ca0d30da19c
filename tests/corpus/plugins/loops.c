// A constructor that never returns.
// expect: did not load within … s: one of its constructors does not return; fix it, or raise probe_timeout
#include "entry.h"
ENTRY(loops);
AT_LOAD loop(void) {
    for (volatile int i = 0;; i++) {
    }
}
