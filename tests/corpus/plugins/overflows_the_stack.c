// A constructor that recurses without end. On the main thread Rust's own handler makes an abort of it.
// build: cc -shared -fPIC -O0 -o $OUT $SRC
// expect: crashed with SIG… while loading (in a constructor, or it is damaged); try it under a debugger
#include "entry.h"
ENTRY(overflows_the_stack);
static int deeper(volatile char *above) {
    volatile char here[4096];
    here[0] = above[0];
    return deeper(here) + here[1];
}
AT_LOAD crash(void) {
    char first[1] = {0};
    deeper(first);
}
