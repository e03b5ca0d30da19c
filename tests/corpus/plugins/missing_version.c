// Linked to a newer version of a library than is there, as happens with libstdc++.
// build: echo 'OURS_1.0 { old; }; OURS_2.0 { new; };' > $TMP/map
// build: echo 'int old(void) { return 1; } int new(void) { return 2; }' > $TMP/lib.c
// build: cc -shared -fPIC -o $TMP/libours_corpus.so $TMP/lib.c -Wl,--version-script=$TMP/map
// build: cc -shared -fPIC -o $OUT $SRC -L$TMP -lours_corpus -Wl,-rpath,$TMP
// build: echo 'OURS_1.0 { old; };' > $TMP/map
// build: echo 'int old(void) { return 1; }' > $TMP/lib.c
// build: cc -shared -fPIC -o $TMP/libours_corpus.so $TMP/lib.c -Wl,--version-script=$TMP/map
// expect: needs version OURS_2.0 of …libours_corpus.so, which is older here; install a newer one, or build on this system
#include "entry.h"
ENTRY(missing_version);
extern int new(void);
EXPORT int call(void) { return new(); }
