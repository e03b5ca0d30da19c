// Built on Alpine.
// build: cc -shared -fPIC -nostdlib -x c /dev/null -Wl,-soname,libc.musl-x86_64.so.1 -o $TMP/libmusl_corpus.so
// build: cc -shared -fPIC -nostdlib -o $OUT $SRC -L$TMP -Wl,--no-as-needed -lmusl_corpus
// expect: is built for musl (libc.musl-x86_64.so.1), but gm-native runs on glibc; build it with --target …
#include "entry.h"
ENTRY(built_for_musl);
