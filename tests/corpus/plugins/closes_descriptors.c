// A constructor that closes every descriptor, as daemons do.
// expect: closed descriptors that are not its own while it was loaded; a constructor may use only what it opened
#include <unistd.h>
#include "entry.h"
ENTRY(closes_descriptors);
AT_LOAD tidy(void) {
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
}
