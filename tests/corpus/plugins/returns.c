// Constructors that return, and behind a right magic an entry of an abi_stable that never was.
// expect: is served
#include <unistd.h>
#include "entry.h"
ENTRY(returns);
AT_LOAD look_around(void) { getpid(); }
