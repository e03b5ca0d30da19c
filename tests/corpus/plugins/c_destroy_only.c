// A destroy without a create.
// expect: exports c_destroy_only as an entry that has a destroy and no create: without state both are NULL
#include "../../../plugin-api/include/gm_plugin.h"
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
static void destroy(void *state) { (void)state; }
GM_EXPORT extern const gm_plugin c_destroy_only;
const gm_plugin c_destroy_only = {GM_MAGIC, sizeof(gm_plugin), 1, 0, "c_destroy_only", "1", "cc", NULL, run, destroy};
