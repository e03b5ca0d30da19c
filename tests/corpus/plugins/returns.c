// Constructors that return, and behind a right magic an entry of an abi_stable that never was.
// expect: differs from interface …, which it claims to be built for; build it with the gm-plugin-api of this release
#include <unistd.h>
#include "entry.h"
ENTRY(returns);
AT_LOAD look_around(void) { getpid(); }
