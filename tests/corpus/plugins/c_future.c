// An interface that is not made yet.
// expect: is built for interface 1.1, this manager knows …; build it with the gm-plugin-api of this release, or update gm-native
#include "../../../plugin-api/include/gm_plugin.h"
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
GM_EXPORT extern const gm_plugin c_future;
const gm_plugin c_future = {GM_MAGIC, sizeof(gm_plugin), 1, 1, "c_future", "1", "cc", NULL, run, NULL};
