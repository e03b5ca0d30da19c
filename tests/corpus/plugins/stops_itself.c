// A constructor that stops the process.
// expect: did not finish loading within … s: one of its constructors does not return; mend it, or raise probe_timeout
#include <signal.h>
#include "entry.h"
ENTRY(stops_itself);
AT_LOAD stop(void) { raise(SIGSTOP); }
