// Built on a system with a glibc that does not exist yet.
// build: echo 'GLIBC_2.99 { from_the_future; and_another; };' > $TMP/map
// build: echo 'int from_the_future(void) { return 1; } int and_another(void) { return 2; }' > $TMP/lib.c
// build: cc -shared -fPIC -nostdlib -o $TMP/libc.so.6 $TMP/lib.c -Wl,-soname,libc.so.6 -Wl,--version-script=$TMP/map
// build: cc -shared -fPIC -nostdlib -o $OUT $SRC $TMP/libc.so.6
// expect: needs glibc 2.99 (for …), but this machine has …; build it on a system with glibc … or older
#include "entry.h"
ENTRY(newer_glibc);
extern int from_the_future(void), and_another(void);
EXPORT int call(void) { return from_the_future() + and_another(); }
