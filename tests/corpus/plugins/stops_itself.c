// A constructor that stops the process.
// expect: was not loaded within … s: one of its constructors does not return; mend it, or raise probe_timeout
#include <signal.h>
#include "entry.h"
ENTRY(stops_itself);
AT_LOAD stop(void) { raise(SIGSTOP); }
