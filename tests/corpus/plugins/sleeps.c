// A constructor that waits for something that does not come, with every signal blocked.
// expect: did not load within … s: one of its constructors does not return; fix it, or raise probe_timeout
#include <signal.h>
#include <unistd.h>
#include "entry.h"
ENTRY(sleeps);
AT_LOAD wait_for_ever(void) {
    sigset_t all;
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, 0);
    for (;;)
        pause();
}
