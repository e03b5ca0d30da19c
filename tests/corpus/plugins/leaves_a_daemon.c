// A constructor that leaves a process behind which holds every descriptor, then crashes. Nobody may wait for an end of
// file. The alarm ends the process it leaves.
// expect: crashed with SIGABRT while loading (in a constructor, or it is damaged); try it under a debugger
#include <stdlib.h>
#include <unistd.h>
#include "entry.h"
ENTRY(leaves_a_daemon);
AT_LOAD fork_off(void) {
    if (fork() == 0) {
        setsid();
        alarm(20);
        for (;;)
            pause();
    }
    abort();
}
