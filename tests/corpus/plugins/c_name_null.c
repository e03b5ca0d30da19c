// No name.
// expect: exports c_name_null as an entry that has a name that points to no text: write it with GM_FUNCTION or GM_OBJECT
#include "../../../plugin-api/include/gm_plugin.h"
static int run(void *state, gm_job *job) {
    (void)state;
    return gm_result(job, NULL, 0);
}
GM_EXPORT extern const gm_plugin c_name_null;
const gm_plugin c_name_null = {GM_MAGIC, sizeof(gm_plugin), 1, 0, NULL, "1", "cc", NULL, run, NULL};
