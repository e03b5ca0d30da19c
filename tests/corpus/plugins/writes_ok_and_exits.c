// A constructor that claims success on every descriptor and ends the process with success.
// expect: wrote to descriptors that are not its own while it was loaded; a constructor may use only what it opened
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
