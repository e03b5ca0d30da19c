// A constructor that claims success on every descriptor and ends the process with success.
// expect: wrote to file descriptors that it did not open; a constructor may use only its own
#include <stdlib.h>
#include <unistd.h>
#include "entry.h"
ENTRY(writes_ok_and_exits);
AT_LOAD lie(void) {
    for (int fd = 0; fd < 1024; fd++)
        if (write(fd, "ok", 2) < 0)
            continue;
    exit(0);
}
