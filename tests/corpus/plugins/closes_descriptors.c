// A constructor that closes every descriptor, as daemons do.
// expect: closed file descriptors that it did not open; a constructor may use only its own
#include <unistd.h>
#include "entry.h"
ENTRY(closes_descriptors);
AT_LOAD tidy(void) {
    for (int fd = 0; fd < 1024; fd++)
        close(fd);
}
