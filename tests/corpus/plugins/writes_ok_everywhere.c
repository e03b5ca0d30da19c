// A constructor that writes to every descriptor what might pass for a report.
// expect: wrote to file descriptors that it did not open; a constructor may use only its own
#include <string.h>
#include <unistd.h>
#include "entry.h"
ENTRY(writes_ok_everywhere);
AT_LOAD lie(void) {
    const char *ok = "{\"Report\":{\"nonce\":\"0\",\"result\":{\"Ok\":{}}}}";
    for (int fd = 0; fd < 1024; fd++)
        if (write(fd, ok, strlen(ok)) < 0)
            continue;
}
