// A constructor that stops the process.
// expect: did not load within … s: one of its constructors does not return; fix it, or raise probe_timeout
#include <signal.h>
#include "entry.h"
ENTRY(stops_itself);
AT_LOAD stop(void) { raise(SIGSTOP); }
