// Linked so that its stack would have to be executable.
// build: cc -shared -fPIC -z execstack -o $OUT $SRC
// expect: requires an executable stack; link it with -z noexecstack (assembly files need a .note.GNU-stack section)
#include "entry.h"
ENTRY(executable_stack);
