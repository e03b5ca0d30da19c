// A struct of another gm_plugin.h.
// expect: exports c_size as an entry that gives its size as 80 bytes instead of 88: build it with the gm_plugin.h of this release
#include "../../../plugin-api/include/gm_plugin.h"
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
GM_EXPORT extern const gm_plugin c_size;
const gm_plugin c_size = {GM_MAGIC, 80, 1, 0, "c_size", "1", "cc", NULL, run, NULL};
